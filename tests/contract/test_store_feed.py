"""What every store must do: hand over each change in order, and tell the same story again from rows."""

from __future__ import annotations

import contextlib
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from postil.store.base import Change, Duplicate, Store, TooOld, Transaction, Vectors
from support.stores import BACKENDS, Filler, add_inputs, annotation, plain


def replayed(store: Store, since: int = 0) -> list[Change]:
    return list(store.changes(since))


def test_a_change_is_handed_over_before_the_writer_is_answered(store: Store, fill: Filler) -> None:
    app, space = fill.app(), 0
    space = fill.space(app)
    changes: list[Change] = []
    assert store.subscribe(changes.append) == store.committed == 0
    a = fill.input(app, "a")
    fill.vectors(app, space, [a.anchor], [[1, 0]])
    assert [plain(change) for change in changes] == [
        (1, app, [a.anchor], [], (), ()),
        (2, app, [], [], ((space, [a.anchor], [[1.0, 0.0]]),), ()),
    ]
    assert store.committed == 2


def test_a_change_is_durable_before_it_is_handed_over(store: Store, fill: Filler) -> None:
    app = fill.app()
    seen: list[tuple[int, bool]] = []

    def consumer(change: Change) -> None:
        rows = change.touched.tolist()
        seen.append((store.committed, set(store.read().annotations_by_row(rows)) == set(rows)))

    store.subscribe(consumer)
    fill.inputs(app, "a", "b")
    assert seen == [(1, True)]


def test_ops_that_touch_no_annotation_make_no_change(store: Store, fill: Filler) -> None:
    app = fill.app()
    fill.concept(app, "cat")
    fill.space(app)
    store.write(lambda tx: tx.put_job(app, "j"))
    with pytest.raises(ZeroDivisionError):
        store.write(lambda tx: (add_inputs(tx, app, ["a"]), 1 // 0))
    assert store.committed == 0
    assert replayed(store) == []


def test_each_kind_of_write_is_told(store: Store, fill: Filler) -> None:
    app = fill.app()
    space = fill.space(app)
    a, b = fill.inputs(app, "a", "b")
    x = fill.annotation(app, a, "x")
    fill.vectors(app, space, [a.anchor, x.row], np.eye(2))
    changes: list[Change] = []
    store.subscribe(changes.append)

    def told(op: Callable[[Transaction], object]) -> tuple[Any, ...]:
        store.write(op)
        return plain(changes[-1])[2:]

    assert told(lambda tx: tx.update_input(a.row, b"")) == ([a.anchor], [], (), ())
    assert told(lambda tx: tx.update_annotation(x, [])) == ([x.row], [], (), ())
    assert told(lambda tx: tx.replace_messages({x.row: b""})) == ([x.row], [], (), ())
    assert told(lambda tx: tx.delete_vectors(app, [x.row])) == ([x.row], [x.row], (), ())
    assert told(lambda tx: tx.delete_annotations(app, [x.row])) == ([], [x.row], (), ())
    assert told(lambda tx: tx.delete_inputs(app, [a.row])) == ([], [a.anchor], (), ())
    assert told(lambda tx: tx.delete_app(app)) == ([], [b.anchor], (), (space,))
    assert [change.seq for change in changes] == list(range(4, 11))


def test_a_change_is_the_net_effect_of_its_op(store: Store, fill: Filler) -> None:
    app = fill.app()
    space = fill.space(app)
    changes: list[Change] = []
    store.subscribe(changes.append)

    def op(tx: Transaction) -> tuple[int, int]:
        rows, anchors = add_inputs(tx, app, ["a", "b"])
        tx.put_vectors(app, Vectors(space, np.array(anchors), np.eye(2, dtype=np.float32)))
        tx.delete_inputs(app, [rows[0]])
        tx.delete_vectors(app, [anchors[1]])
        tx.put_vectors(app, Vectors(space, np.array(anchors[1:]), np.ones((1, 2), dtype=np.float32)))
        return anchors[0], anchors[1]

    first, second = store.write(op)
    told = (1, app, [second], [first, second], ((space, [second], [[1.0, 1.0]]),), ())
    assert plain(changes[0]) == told
    assert plain(replayed(store)[0]) == told


def test_an_op_in_two_apps_makes_two_changes(store: Store, fill: Filler) -> None:
    one, two = fill.app("one"), fill.app("two")
    changes: list[Change] = []
    store.subscribe(changes.append)
    store.write(lambda tx: (add_inputs(tx, one, ["a"]), add_inputs(tx, two, ["a"])))
    assert [(change.seq, change.app) for change in changes] == [(1, one), (2, two)]


def test_replay_begins_where_it_is_asked_to(open_store: Callable[[], Store]) -> None:
    store = open_store()
    fill = Filler(store)
    app = fill.app()
    for number in range(600):  # more than one chunk
        fill.input(app, str(number))
    store = open_store()
    assert store.committed == 600
    assert [change.seq for change in replayed(store, 590)] == list(range(591, 601))
    assert len(replayed(store)) == 600
    assert replayed(store, 600) == []


def test_replay_gives_the_vectors_that_still_exist(store: Store, fill: Filler) -> None:
    app = fill.app()
    space = fill.space(app)
    a, b = fill.inputs(app, "a", "b")
    fill.vectors(app, space, [a.anchor, b.anchor], np.eye(2))
    fill.vectors(app, space, [b.anchor], [[5, 5]])
    store.write(lambda tx: tx.delete_inputs(app, [a.row]))
    puts = [plain(change)[4] for change in replayed(store)]
    latest = ((space, [b.anchor], [[5.0, 5.0]]),)
    assert puts == [(), latest, latest, ()]


def test_a_feed_that_was_trimmed_says_so(store: Store, fill: Filler) -> None:
    app = fill.app()
    for name in "abcd":
        fill.input(app, name)
    store.trim_changes(2)
    assert [change.seq for change in replayed(store, 2)] == [3, 4]
    for since in (0, 1):
        with pytest.raises(TooOld):
            replayed(store, since)
    store.trim_changes(99)
    assert replayed(store, 4) == []
    with pytest.raises(TooOld):
        replayed(store, 3)
    fill.input(app, "e")
    assert [change.seq for change in replayed(store, 4)] == [5]


def test_a_future_that_was_never_committed_is_no_place_to_begin(store: Store, fill: Filler) -> None:
    fill.input(fill.app(), "a")
    with pytest.raises(TooOld):
        replayed(store, 2)


def test_a_consumer_that_fails_harms_neither_writers_nor_other_consumers(
    store: Store, fill: Filler, caplog: pytest.LogCaptureFixture
) -> None:
    changes: list[int] = []

    def broken(change: Change) -> None:
        raise LookupError(f"cannot take {change.seq}")

    store.subscribe(broken)
    store.subscribe(lambda change: changes.append(change.seq))
    app = fill.app()
    fill.inputs(app, "a")
    fill.inputs(app, "b")
    assert changes == [1, 2]
    assert "cannot take 1" in caplog.text


def test_subscribing_amid_writes_misses_nothing_and_repeats_nothing(store: Store, fill: Filler) -> None:
    app = fill.app()

    def write(number: int) -> None:
        for turn in range(40):
            fill.input(app, f"{number}-{turn}")

    writers = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in writers:
        thread.start()
    feeds: list[tuple[int, list[int]]] = []
    for _ in range(20):
        handed: list[int] = []
        since = store.subscribe(lambda change, handed=handed: handed.append(change.seq))  # type: ignore[misc]
        feeds.append((since, handed))
    for thread in writers:
        thread.join()
    for since, handed in feeds:
        assert handed == list(range(since + 1, 161))
        assert [change.seq for change in replayed(store) if change.seq <= since] == list(range(1, since + 1))


# A random history, told twice: by the hand-over and by replay, both compared with what the rows say in the end.

_IDS = st.sampled_from("abcdef")
_STEPS = st.one_of(
    st.tuples(st.just("add"), _IDS, st.booleans()),
    st.tuples(st.just("annotate"), _IDS, st.integers(0, 3)),
    st.tuples(st.just("vector"), _IDS, st.integers(-3, 3)),
    st.tuples(st.just("strip"), _IDS, st.just(0)),
    st.tuples(st.just("unannotate"), _IDS, st.integers(0, 3)),
    st.tuples(st.just("delete"), _IDS, st.just(0)),
    st.tuples(st.just("drop app"), st.just(""), st.just(0)),
)
_OPS = st.lists(st.tuples(st.lists(_STEPS, min_size=1, max_size=4), st.booleans()), max_size=25)


class _Follower:
    """The state that a consumer keeps: which annotations are there, and each space's vectors."""

    def __init__(self) -> None:
        self.rows: set[int] = set()
        self.vectors: dict[tuple[int, int], list[float]] = {}

    def apply(self, change: Change) -> None:
        self.rows.difference_update(change.gone.tolist())
        gone, spaces = set(change.gone.tolist()), set(change.spaces_gone)
        self.vectors = {key: v for key, v in self.vectors.items() if key[1] not in gone and key[0] not in spaces}
        self.rows.update(change.touched.tolist())
        for vectors in change.put:
            for row, numbers in zip(vectors.rows.tolist(), vectors.matrix.tolist(), strict=True):
                self.vectors[vectors.space, row] = numbers


def _run(tx: Transaction, app: int, space: int, step: tuple[str, str, int]) -> None:
    kind, input_id, number = step
    found = tx.input(app, input_id)
    if kind == "add":
        add_inputs(tx, app, [input_id, input_id + "2"] if number else [input_id])  # Duplicate when it is there
    if found is None:
        return
    if kind == "annotate":
        row = tx.reserve_annotations(1)[0]
        tx.add_annotations(app, [annotation(row, str(number), found.row, found.anchor)], [])
    if kind == "vector":
        rows = [record.row for record in tx.annotations_of_inputs([found.row])]
        tx.put_vectors(app, Vectors(space, np.array(rows), np.full((len(rows), 2), number, dtype=np.float32)))
    if kind == "strip":
        tx.delete_vectors(app, [found.anchor])
    if kind == "unannotate":
        record = tx.annotation(app, input_id, str(number))
        tx.delete_annotations(app, [record.row] if record else [])
    if kind == "delete":
        tx.delete_inputs(app, [found.row])


def _play(store: Store, steps: list[tuple[str, str, int]], *, fail: bool) -> None:
    """One op of these steps, in the one app, which is created when it is missing."""

    def op(tx: Transaction) -> None:
        for step in steps:
            found = tx.app("me", "app") or tx.put_app("me", "app", b"")
            space = tx.ensure_space(found.row, "space", "", "client", 2)
            _run(tx, found.row, space.row, step)
            if step[0] == "drop app":
                tx.delete_app(found.row)
        if fail:
            raise ZeroDivisionError

    with contextlib.suppress(Duplicate, ZeroDivisionError):
        store.write(op)


def _truth(store: Store) -> tuple[set[int], dict[tuple[int, int], list[float]]]:
    queries = store.read()
    rows: set[int] = set()
    for app in queries.apps("me", 0, 9):
        inputs = queries.list_inputs(app.row, [], [], 0, 99)
        rows.update(record.row for record in queries.annotations_of_inputs([record.row for record in inputs]))
    vectors: dict[tuple[int, int], list[float]] = {}
    for space in queries.all_spaces():
        found = queries.scan_vectors(space.row, 0, 999)
        vectors |= {
            (space.row, row): numbers for row, numbers in zip(found.rows.tolist(), found.matrix.tolist(), strict=True)
        }
    return rows, vectors


@pytest.mark.parametrize("backend", sorted(BACKENDS))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(history=_OPS, cut=st.integers(0, 30))
def test_replay_tells_what_was_handed_over(backend: str, history: list[Any], cut: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        store = BACKENDS[backend](Path(directory))
        try:
            handed: list[Change] = []
            followed, caught_up, late = _Follower(), _Follower(), _Follower()
            store.subscribe(followed.apply)
            store.subscribe(handed.append)
            for steps, fail in history:
                _play(store, steps, fail=fail)
            again = replayed(store)
            assert [plain(change)[:4] for change in again] == [plain(change)[:4] for change in handed]
            for change in again:
                caught_up.apply(change)
            # One that followed for a while, stopped, and catches up.
            for change in [*handed[:cut], *replayed(store, min(cut, len(handed)))]:
                late.apply(change)
            truth = _truth(store)
            for follower in (followed, caught_up, late):
                assert (follower.rows, follower.vectors) == truth
            assert [change.seq for change in again] == list(range(1, store.committed + 1))
        finally:
            store.close()
