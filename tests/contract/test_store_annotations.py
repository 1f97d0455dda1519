"""What every store must do: annotations, labels, hits, and the wall around an app."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from postil.store.base import (
    AnnotationListing,
    AnnotationRecord,
    Duplicate,
    InputRecord,
    Missing,
    Store,
    Transaction,
    Vectors,
)
from support.stores import FAILED, Filler, add_inputs, annotation


def test_an_annotation_comes_back_as_it_was_put(store: Store, fill: Filler) -> None:
    app = fill.app()
    a = fill.input(app, "a")
    given = fill.annotation(
        app,
        a,
        "x",
        message=b"\x00\x01",
        status=24151,
        trusted=False,
        user_id="u",
        model_version_id="m",
        workflow_version_id="w",
        task_id="t",
    )
    found = store.read().annotation(app, "a", "x")
    assert found == given
    assert found.trusted is False
    assert found.input_level is False
    assert store.read().annotations(app, [("a", "x"), ("a", "y"), ("b", "x")]) == {("a", "x"): given}
    assert store.read().annotations_by_row([given.row, 10**6]) == {given.row: given}
    assert store.read().annotations_by_row([]) == {}
    assert store.read().annotations(app, []) == {}
    assert [record.id for record in store.read().annotations_of_inputs([a.row])] == ["a-level", "x"]


def test_an_annotation_id_is_unique_in_its_input(store: Store, fill: Filler) -> None:
    app = fill.app()
    a, b = fill.inputs(app, "a", "b")
    fill.annotation(app, a, "x")
    with pytest.raises(Duplicate) as caught:
        fill.annotation(app, a, "x")
    assert caught.value.args[0] == "x"
    fill.annotation(app, b, "x")

    def twice(tx: Transaction) -> None:
        rows = tx.reserve_annotations(2)
        records = [annotation(row, "y", a.row, a.anchor) for row in rows]
        tx.add_annotations(app, records, [])

    with pytest.raises(Duplicate):
        store.write(twice)
    assert store.read().annotation(app, "a", "y") is None


def test_an_annotation_needs_its_input(store: Store, fill: Filler) -> None:
    app, other = fill.app(), fill.app("other")
    a, foreign = fill.input(app, "a"), fill.input(other, "a")
    store.write(lambda tx: tx.delete_inputs(app, [a.row]))
    for target in (a, foreign):
        with pytest.raises(Missing):
            fill.annotation(app, target, "x")


def test_updating_an_annotation_replaces_columns_and_labels(store: Store, fill: Filler) -> None:
    app = fill.app()
    a = fill.input(app, "a")
    cat, dog = fill.concept(app, "cat").row, fill.concept(app, "dog").row
    old = fill.annotation(app, a, "x", {cat: 1.0})
    new = old._replace(message=b"new", status=24157, blank=True, anchor=old.row, modified_us=old.modified_us + 1)
    store.write(lambda tx: tx.update_annotation(new, [(dog, 0.0)]))
    assert store.read().annotation(app, "a", "x") == new
    assert store.read().labelled(app, cat) == []
    assert store.read().labelled(app, dog) == [(old.row, old.row, 0.0)]
    for absent in (new._replace(row=new.row + 1), new._replace(input=a.row + 1)):
        with pytest.raises(Missing):
            _update(store, absent)


def _update(store: Store, record: AnnotationRecord) -> None:
    store.write(lambda tx: tx.update_annotation(record, []))


def test_replacing_a_message_leaves_labels_and_vectors(store: Store, fill: Filler) -> None:
    app = fill.app()
    a = fill.input(app, "a")
    cat, space = fill.concept(app, "cat").row, fill.space(app)
    old = fill.annotation(app, a, "x", {cat: 1.0})
    fill.vectors(app, space, [old.row], [[1, 0]])
    store.write(lambda tx: tx.replace_messages({old.row: b"new"}))
    assert store.read().annotation(app, "a", "x") == old._replace(message=b"new")
    assert len(store.read().labelled(app, cat)) == len(store.read().vectors(space, [old.row]).rows) == 1
    with pytest.raises(Missing):
        store.write(lambda tx: tx.replace_messages({old.row + 1: b"new"}))


def test_deleting_annotations_takes_labels_and_vectors_along(store: Store, fill: Filler) -> None:
    app = fill.app()
    a = fill.input(app, "a")
    cat, space = fill.concept(app, "cat").row, fill.space(app)
    x = fill.annotation(app, a, "x", {cat: 1.0})
    fill.vectors(app, space, [a.anchor, x.row], [[1, 0], [0, 1]])
    store.write(lambda tx: tx.delete_annotations(app, [x.row, x.row, 10**6]))
    assert store.read().annotation(app, "a", "x") is None
    assert store.read().labelled(app, cat) == []
    assert store.read().vectors(space, [a.anchor, x.row]).rows.tolist() == [a.anchor]
    store.write(lambda tx: tx.delete_annotations(app, [x.row]))  # gone already
    with pytest.raises(ValueError, match="input-level"):
        store.write(lambda tx: tx.delete_annotations(app, [a.anchor]))


def test_deleting_inputs_takes_everything_along(store: Store, fill: Filler) -> None:
    app = fill.app()
    a, b = fill.inputs(app, "a", "b")
    cat, space = fill.concept(app, "cat").row, fill.space(app)
    x = fill.annotation(app, a, "x", {cat: 1.0})
    y = fill.annotation(app, b, "y", {cat: 1.0})
    fill.vectors(app, space, [a.anchor, x.row, b.anchor], np.eye(3, 2))
    store.write(lambda tx: tx.delete_inputs(app, [a.row, 10**6]))
    assert set(store.read().inputs(app, ["a", "b"])) == {"b"}
    assert set(store.read().annotations_by_row([a.anchor, x.row, b.anchor, y.row])) == {b.anchor, y.row}
    assert store.read().labelled(app, cat) == [(y.row, b.anchor, 1.0)]
    assert store.read().count_vectors(space) == 1
    assert store.read().hits([a.anchor, x.row]) == []


@dataclass
class _Listed:
    """Two inputs and three annotations with different authors, statuses and tasks."""

    app: int
    store: Store

    def ids(self, offset: int = 0, limit: int = 100, **listing: object) -> list[str]:
        wanted = AnnotationListing(**listing)  # type: ignore[arg-type]
        return [record.id for record in self.store.read().list_annotations(self.app, wanted, offset, limit)]


@pytest.fixture
def listed(store: Store, fill: Filler) -> _Listed:
    app, other = fill.app(), fill.app("other")
    a, b = fill.inputs(app, "a", "b")
    fill.annotation(app, b, "z", status=24151)
    fill.annotation(app, a, "y", user_id="you", task_id="t")
    fill.annotation(app, a, "x", trusted=False, user_id="", model_version_id="m")
    fill.annotation(other, fill.input(other, "a"), "foreign")
    return _Listed(app, store)


def test_annotations_are_listed_oldest_first(listed: _Listed) -> None:
    assert listed.ids() == ["z", "y"]
    assert listed.ids(trusted_only=False) == ["z", "y", "x"]
    assert listed.ids(blanks=True) == ["a-level", "b-level", "z", "y"]
    assert listed.ids(offset=1, limit=1, trusted_only=False) == ["y"]
    assert listed.ids(offset=5) == []


def test_listings_are_narrowed(listed: _Listed) -> None:
    assert listed.ids(input_ids=("a", "nope")) == ["y"]
    assert listed.ids(input_ids=("a",), blanks=True, trusted_only=False) == ["a-level", "y", "x"]
    assert listed.ids(statuses=(24151, 24157)) == ["z"]
    assert listed.ids(task_id="t") == ["y"]
    assert listed.ids(user_ids=("you",)) == ["y"]
    assert listed.ids(user_ids=("you",), model_version_ids=("m",), trusted_only=False) == ["y", "x"]
    assert listed.ids(workflow_version_ids=("w",), trusted_only=False) == []


def test_pairs_are_listed_whatever_else_is_asked(listed: _Listed) -> None:
    pairs = (("a", "x"), ("b", "z"), ("b", "b-level"), ("b", "x"))
    assert listed.ids(pairs=pairs, user_ids=("nobody",)) == ["b-level", "z", "x"]
    assert listed.ids(pairs=pairs, offset=1, limit=1) == ["z"]


def test_the_workers_of_an_app(listed: _Listed) -> None:
    queries = listed.store.read()
    assert queries.annotation_workers(listed.app, trusted_only=True) == [("me", "", ""), ("you", "", "")]
    assert queries.annotation_workers(listed.app, trusted_only=False)[0] == ("", "m", "")


def test_labels_are_counted_by_the_state_of_their_inputs(store: Store, fill: Filler) -> None:
    app = fill.app()
    a, b = fill.input(app, "a"), fill.input(app, "b", status=FAILED)
    cat, dog = fill.concept(app, "cat"), fill.concept(app, "dog")
    fill.annotation(app, a, "1", {cat.row: 1.0})
    fill.annotation(app, a, "2", {cat.row: 0.5, dog.row: 0.0})
    fill.annotation(app, b, "3", {cat.row: 0.0})
    first, second = store.read().tally_concepts(app, 0, 10)
    assert (first.concept, first.positives, first.negatives) == (cat, {a.status: 2}, {b.status: 1})
    assert (second.concept, second.positives, second.negatives) == (dog, {}, {a.status: 1})
    assert [tally.concept for tally in store.read().tally_concepts(app, 1, 1)] == [dog]


def test_who_was_labelled(store: Store, fill: Filler) -> None:
    app, other = fill.app(), fill.app("other")
    a = fill.input(app, "a")
    cat = fill.concept(app, "cat").row
    first = fill.annotation(app, a, "1", {cat: 1.0})
    second = fill.annotation(app, a, "2", {cat: 0.25})
    assert store.read().labelled(app, cat) == [(first.row, a.anchor, 1.0), (second.row, a.anchor, 0.25)]
    assert store.read().labelled(other, cat) == []
    assert store.read().labelled(app, 10**6) == []


def test_hits_are_the_annotations_of_their_anchors(store: Store, fill: Filler) -> None:
    app = fill.app()
    a, b, _ = fill.inputs(app, "a", "b", "c")
    x = fill.annotation(app, a, "x")
    own = store.write(lambda tx: _own_anchor(tx, app, a))
    hits = store.read().hits([b.anchor, own.row, a.anchor, a.anchor, 10**6])
    assert [(hit.anchor, hit.annotation, hit.input) for hit in hits] == [
        (a.anchor, a.anchor, a.row),
        (a.anchor, x.row, a.row),
        (b.anchor, b.anchor, b.row),
        (own.row, own.row, a.row),
    ]
    assert (hits[1].input_message, hits[1].annotation_message) == (b"a", b"x")
    assert store.read().hits([]) == []
    alone = store.read().hits([b.anchor, own.row, a.anchor, a.anchor, x.row, 10**6], alone=True)
    assert alone == [hits[0], hits[2], hits[3]]


def _own_anchor(tx: Transaction, app: int, target: InputRecord) -> AnnotationRecord:
    row = tx.reserve_annotations(1)[0]
    record = annotation(row, "own", target.row, row)
    tx.add_annotations(app, [record], [])
    return record


def test_hits_of_many_anchors_stay_in_order(store: Store, fill: Filler) -> None:
    app = fill.app()
    anchors = [record.anchor for record in fill.inputs(app, *(str(number) for number in range(2500)))]
    assert [hit.anchor for hit in store.read().hits(anchors[::-1])] == anchors


def test_nothing_crosses_the_wall_of_an_app(store: Store, fill: Filler) -> None:
    app, other = fill.app(), fill.app("other")
    a = fill.input(app, "a", url="u", blobs=("d" * 64,), job="j")
    x = fill.annotation(app, a, "x", {fill.concept(app, "cat").row: 1.0})
    fill.space(app)
    store.write(lambda tx: tx.put_job(app, "j"))
    store.write(lambda tx: tx.delete_inputs(other, [a.row]))
    store.write(lambda tx: tx.delete_annotations(other, [x.row]))
    queries = store.read()
    assert queries.annotation(app, "a", "x") == x
    assert queries.input(other, "a") is None
    assert queries.inputs(other, ["a"]) == {}
    assert queries.inputs_by_url(other, ["u"]) == {}
    assert queries.list_inputs(other, [], [], 0, 9) == queries.list_inputs(other, ["a"], [], 0, 9) == []
    assert queries.stream_inputs(other, "", by_id=False, descending=False, limit=9) == []
    assert queries.stream_inputs(other, "a", by_id=True, descending=False, limit=9) == []
    assert queries.count_inputs(other) == {}
    assert queries.annotation(other, "a", "x") is None
    assert queries.annotations(other, [("a", "x")]) == {}
    assert queries.list_annotations(other, AnnotationListing(input_ids=("a",)), 0, 9) == []
    assert queries.list_annotations(other, AnnotationListing(), 0, 9) == []
    assert queries.annotation_workers(other, trusted_only=False) == []
    assert queries.concept(other, "cat") is None
    assert queries.list_concepts(other, "", 0, 9) == queries.search_concepts(other, "*", 0, 9) == []
    assert queries.tally_concepts(other, 0, 9) == []
    assert queries.spaces(other) == []
    assert queries.job(other, "j") is None
    assert queries.jobs(other, 0, 9) == []
    assert queries.pending_of_job(other, "j") == []


def test_deleting_an_app_leaves_nothing_of_it_and_all_of_the_others(open_store: Callable[[], Store]) -> None:
    store = open_store()
    fill = Filler(store)
    kept = _furnish(fill, "kept")
    doomed = _furnish(fill, "doomed")
    before = _everything(store, *kept)
    for row in (doomed[0], 10**6):
        _delete_app(store, row)
    for _ in range(2):
        assert store.read().app("me", "doomed") is None
        assert not any(_everything(store, *doomed))
        assert _everything(store, *kept) == before
        store = open_store()
    assert not any(_everything(store, *_furnish(Filler(store), "doomed", empty=True)))


def _delete_app(store: Store, row: int) -> None:
    store.write(lambda tx: tx.delete_app(row))


def _furnish(fill: Filler, app_id: str, *, empty: bool = False) -> tuple[int, int, str]:
    """An app with one of everything: (its row, its space's row, its blob's digest)."""
    app, digest = fill.app(app_id), app_id[0] * 64
    space = fill.space(app) if not empty else 0
    if not empty:
        fill.store.write(lambda tx: tx.put_job(app, "j"))
        a = fill.input(app, "a", url="u", blobs=(digest,), job="j")
        fill.annotation(app, a, "x", {fill.concept(app, "cat").row: 1.0})
        fill.vectors(app, space, [a.anchor], [[1, 0]])
    return app, space, digest


def _everything(store: Store, app: int, space: int, digest: str) -> tuple[object, ...]:
    queries = store.read()
    return (
        queries.list_inputs(app, [], [], 0, 9),
        queries.list_annotations(app, AnnotationListing(blanks=True), 0, 9),
        queries.list_concepts(app, "", 0, 9),
        queries.spaces(app),
        queries.scan_vectors(space, 0, 9).rows.tolist(),
        queries.jobs(app, 0, 9),
        queries.blob_used(digest),
    )


def test_an_op_that_fails_late_leaves_no_trace(store: Store, fill: Filler) -> None:
    app = fill.app()
    space = fill.space(app)
    committed = store.committed

    def op(tx: Transaction) -> None:
        _, anchors = add_inputs(tx, app, ["a", "b"])
        rows = np.array(anchors, dtype=np.int64)
        tx.put_vectors(app, Vectors(space, rows, np.ones((2, 2), np.float32)))
        tx.put_job(app, "j")
        tx.ensure_concepts(app, {"cat": ""})
        raise LookupError

    with pytest.raises(LookupError):
        store.write(op)
    assert _everything(store, app, space, "") == ([], [], [], store.read().spaces(app), [], [], False)
    assert store.read().spaces(app)[0].unit is True
    assert store.committed == committed
