"""What every store must do with predictions: kept apart from labels, found by concept, gone with their inputs."""

from __future__ import annotations

import numpy as np
import pytest

from postil.store.base import AnnotationListing, Missing, NewPrediction, OutputRecord, Store, Transaction
from support.stores import Filler

CAT, DOG = 1013, 1012


def predict(store: Store, app: int, input_id: str, *values: tuple[int, float]) -> int:
    """Adds a predicted annotation to the input; its row."""
    record = store.read().input(app, input_id)
    assert record is not None

    def run(tx: Transaction) -> int:
        row = tx.reserve_annotations(1)[0]
        made = NewPrediction(
            row, f"p-{input_id}", record.row, record.anchor, "model", f"said of {input_id}".encode(), tx.now_us, values
        )
        tx.add_predictions(app, [made])
        return row

    return store.write(run)


@pytest.fixture
def app(fill: Filler) -> int:
    app = fill.app()
    for name in ("a", "b", "c"):
        fill.input(app, name)
    return app


def anchor(store: Store, app: int, input_id: str) -> int:
    record = store.read().input(app, input_id)
    assert record is not None
    return record.anchor


def test_predictions_are_found_by_concept(store: Store, app: int) -> None:
    assert not store.read().has_predictions(app)
    predict(store, app, "c", (CAT, 0.25))
    predict(store, app, "a", (CAT, 0.5), (DOG, 0.125))
    found = store.read().predicted(app, CAT)
    assert found.anchors.tolist() == [anchor(store, app, "a"), anchor(store, app, "c")]
    assert found.values.tolist() == [0.5, 0.25]
    assert found.anchors.dtype == np.int64
    assert found.values.dtype == np.float32
    assert store.read().predicted(app, DOG).values.tolist() == [0.125]
    assert not len(store.read().predicted(app, 7).anchors)
    assert not len(store.read().predicted(app + 1, CAT).anchors)
    assert store.read().has_predictions(app)
    assert not store.read().has_predictions(app + 1)
    assert store.read().input_anchors(app).tolist() == [anchor(store, app, name) for name in "abc"]


def test_they_are_listed_only_when_asked_for(store: Store, app: int) -> None:
    row = predict(store, app, "a", (CAT, 0.5))
    pair = ("a", "p-a")
    queries = store.read()
    record = queries.annotation(app, *pair)
    assert record is not None
    assert (record.row, record.predicted, record.trusted, record.input_level) == (row, True, False, False)
    assert record.message == b"said of a"
    assert record.model_version_id == "model"
    assert queries.annotations(app, [pair])[pair] == record

    def listed(**wanted: object) -> list[str]:
        listing = AnnotationListing(trusted_only=False)._replace(**wanted)  # type: ignore[arg-type]
        return [one.id for one in queries.list_annotations(app, listing, 0, 10)]

    assert "p-a" not in listed()
    assert "p-a" not in listed(predicted=True, trusted_only=True)
    assert "p-a" in listed(predicted=True)
    assert listed(predicted=True, model_version_ids=("model",)) == ["p-a"]
    assert listed(predicted=True, model_version_ids=("other",)) == []
    assert "p-a" not in listed(predicted=True, user_ids=("somebody",))
    assert "p-a" in listed(predicted=True, input_ids=("a",))
    assert "p-a" not in listed(predicted=True, input_ids=("b",))
    assert "p-a" not in listed(predicted=True, statuses=(24151,))
    assert "p-a" not in listed(predicted=True, task_id="t")
    assert ("", "model", "") in queries.annotation_workers(app, trusted_only=False)
    assert ("", "model", "") not in queries.annotation_workers(app, trusted_only=True)


def test_a_listing_with_them_is_in_one_order(store: Store, fill: Filler, app: int) -> None:
    predict(store, app, "b", (CAT, 0.5))
    fill.input(app, "d")
    predict(store, app, "a", (CAT, 0.5))
    listing = AnnotationListing(trusted_only=False, blanks=True, predicted=True)
    whole = store.read().list_annotations(app, listing, 0, 100)
    assert [one.created_us for one in whole] == sorted(one.created_us for one in whole)
    assert [one.id for one in whole if one.predicted] == ["p-b", "p-a"]
    pages = [store.read().list_annotations(app, listing, at, 2) for at in range(0, len(whole), 2)]
    assert [one for page in pages for one in page] == whole


def test_they_are_no_hits_and_not_in_the_feed(store: Store, app: int) -> None:
    before = store.committed
    row = predict(store, app, "a", (CAT, 0.5))
    assert [hit.annotation for hit in store.read().hits([anchor(store, app, "a")])] == [anchor(store, app, "a")]
    assert all(row not in change.touched for change in store.changes(before))
    assert store.read().annotations_by_row([row]) == {}


def test_they_go_with_their_annotation_their_input_and_their_app(store: Store, app: int) -> None:
    rows = {name: predict(store, app, name, (CAT, 0.5)) for name in "abc"}
    store.write(lambda tx: tx.delete_annotations(app, [rows["a"]]))
    assert store.read().predicted(app, CAT).anchors.tolist() == [anchor(store, app, name) for name in "bc"]
    assert store.read().annotation(app, "a", "p-a") is None
    record = store.read().input(app, "b")
    assert record is not None
    store.write(lambda tx: tx.delete_inputs(app, [record.row]))
    assert store.read().predicted(app, CAT).anchors.tolist() == [anchor(store, app, "c")]
    store.write(lambda tx: tx.delete_app(app))
    assert not store.read().has_predictions(app)


def test_an_input_of_another_app_is_refused(store: Store, fill: Filler, app: int) -> None:
    other = fill.app("other")
    record = store.read().input(app, "a")
    assert record is not None

    def run(tx: Transaction) -> None:
        row = tx.reserve_annotations(1)[0]
        tx.add_predictions(other, [NewPrediction(row, "p", record.row, record.anchor, "m", b"", tx.now_us, ())])

    with pytest.raises(Missing):
        store.write(run)
    with pytest.raises(ValueError, match="not reserved"):
        store.write(
            lambda tx: tx.add_predictions(app, [NewPrediction(1, "p", record.row, record.anchor, "m", b"", 0, ())])
        )


def test_outputs_are_kept_for_a_while(store: Store, app: int) -> None:
    store.write(lambda tx: tx.keep_outputs([OutputRecord(app, f"o{n}", n, b"said") for n in range(5)]))
    store.write(lambda tx: tx.keep_outputs([OutputRecord(app, "o0", 9, b"again"), OutputRecord(999, "x", 1, b"")]))
    assert store.read().outputs(app, ["o0", "o4", "x"]) == {
        "o0": OutputRecord(app, "o0", 0, b"said"),
        "o4": OutputRecord(app, "o4", 4, b"said"),
    }
    assert store.write(lambda tx: tx.forget_outputs(3, 2)) == 2
    assert set(store.read().outputs(app, [f"o{n}" for n in range(5)])) == {"o2", "o3", "o4"}
    assert store.write(lambda tx: tx.forget_outputs(3, 2)) == 1
    store.write(lambda tx: tx.delete_app(app))
    assert store.read().outputs(app, ["o3"]) == {}
