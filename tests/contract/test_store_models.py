"""What every store must do with models: kept with their versions and what those learned, gone with model and app."""

from __future__ import annotations

import numpy as np
import pytest

from postil.store.base import Duplicate, Examples, Missing, Store, StoredHeads, VersionRecord
from support.stores import Filler

TRAINED, TRAINING, UNTRAINED, QUEUED = 21100, 21101, 21102, 21103
HEADS = StoredHeads(7, np.arange(6, dtype=np.float32).reshape(2, 3), np.array([0.5, -1.0], np.float32), True)
EXAMPLES = Examples(
    7,
    12,
    99,
    np.array([3, 4, 9]),
    np.array([[1, 0], [0, np.nan], [np.nan, 1]], np.float32),
    np.array([3, 4, 5, 9]),
)


@pytest.fixture
def app(fill: Filler) -> int:
    return fill.app()


def version(store: Store, app: int, model: str = "m", status: int = QUEUED, name: str = "v") -> VersionRecord:
    """A version of a model, which is created when it is new."""
    found = store.read().model(app, model) or store.write(lambda tx: tx.add_model(app, model, b"model"))
    return store.write(lambda tx: tx.add_version(found.row, name, status, b"version"))


def test_models_are_kept_changed_and_listed(store: Store, fill: Filler, app: int) -> None:
    first = store.write(lambda tx: tx.add_model(app, "b", b"one"))
    second = store.write(lambda tx: tx.add_model(app, "a", b"two"))
    assert store.read().models(app) == [first, second]
    assert store.read().model(app, "a") == store.read().model_by_row(second.row) == second
    with pytest.raises(Duplicate):
        store.write(lambda tx: tx.add_model(app, "a", b""))
    with pytest.raises(Missing):
        store.write(lambda tx: tx.add_model(99, "a", b""))
    store.write(lambda tx: tx.update_model(first.row, b"new"))
    assert store.read().models(app) == [first._replace(message=b"new"), second]
    assert store.read().models(fill.app("other")) == []
    with pytest.raises(Missing):
        store.write(lambda tx: tx.update_model(99, b""))


def test_versions_wait_in_the_order_of_their_coming(store: Store, fill: Filler, app: int) -> None:
    older, other = version(store, app, name="1"), version(store, fill.app("other"), name="2")
    newer, plain = version(store, app, name="3", status=TRAINING), version(store, app, name="4", status=UNTRAINED)
    read = store.read()
    assert read.waiting_versions(None, 9) == [older, other, newer]
    assert read.waiting_versions(None, 1) == [older]
    assert read.waiting_versions(app, 9) == [older, newer]
    assert read.versions(older.model) == [plain, newer, older]
    assert read.version(app, "3") == read.version_by_row(newer.row) == newer
    assert read.version(app, "2") is None
    store.write(lambda tx: tx.update_version(older.row, TRAINED, b"done"))
    assert store.read().version(app, "1") == older._replace(status=TRAINED, message=b"done")
    store.write(lambda tx: tx.delete_versions([newer.row]))
    assert store.read().waiting_versions(app, 9) == []
    with pytest.raises(Missing):
        store.write(lambda tx: tx.update_version(newer.row, TRAINED, b""))
    with pytest.raises(Missing):
        store.write(lambda tx: tx.add_version(99, "x", QUEUED, b""))


def test_what_a_version_learned_is_read_back_to_the_bit(store: Store, app: int) -> None:
    one = version(store, app)
    assert store.read().heads(one.row) is None
    assert store.read().examples(one.row) is None
    store.write(lambda tx: tx.put_examples(one.row, EXAMPLES))
    store.write(lambda tx: tx.put_heads(one.row, ["cat", "dog"], HEADS))
    heads, examples = store.read().heads(one.row), store.read().examples(one.row)
    assert heads is not None
    assert (heads.space, heads.exclusive) == (7, True)
    assert heads.weights.tobytes() == HEADS.weights.tobytes()
    assert heads.biases.tobytes() == HEADS.biases.tobytes()
    assert examples is not None
    assert examples[:3] == EXAMPLES[:3]
    assert examples.anchors.tolist() == EXAMPLES.anchors.tolist()
    assert np.array_equal(examples.labels, EXAMPLES.labels, equal_nan=True)
    assert examples.annotations.tolist() == EXAMPLES.annotations.tolist()
    with pytest.raises(Missing):
        store.write(lambda tx: tx.put_heads(99, ["cat", "dog"], HEADS))


def test_the_newest_head_of_a_concept_is_found(store: Store, fill: Filler, app: int) -> None:
    old, new = version(store, app, name="1"), version(store, app, "another", name="2")
    for one, names in ((new, ["dog", "cat"]), (old, ["cat", "dog"])):
        store.write(lambda tx, one=one, names=names: tx.put_heads(one.row, names, HEADS))  # type: ignore[misc]
    assert store.read().head_of(app, "cat") == (new.row, 1)
    assert store.read().head_of(app, "cow") is None
    assert store.read().head_of(fill.app("other"), "cat") is None
    assert store.write(lambda tx: tx.delete_models(app, ["another", "none"])) == ["another"]
    assert store.read().head_of(app, "cat") == (old.row, 0)
    assert store.read().heads(new.row) is None
    store.write(lambda tx: tx.delete_app(app))
    assert not store.read().models(app)
    assert not store.read().versions(old.model)
    assert store.read().head_of(app, "cat") is None
    assert store.read().heads(old.row) is None


def test_labels_to_train_on(store: Store, fill: Filler, app: int) -> None:
    cat, dog = fill.concept(app, "cat"), fill.concept(app, "dog")
    ready, pending = fill.input(app, "ready"), fill.input(app, "pending", status=30001)
    said = fill.annotation(app, ready, "said", {cat.row: 1.0, dog.row: 0.0})
    fill.annotation(app, ready, "unsure", {cat.row: 1.0}, trusted=False)
    fill.annotation(app, pending, "early", {cat.row: 1.0})
    waiting = fill.annotation(app, ready, "waiting", {dog.row: 1.0}, status=24151)
    found = store.read().training_labels(app, [24150])
    assert found.annotations.tolist() == [said.row] * 2
    assert found.anchors.tolist() == [ready.anchor] * 2
    assert found.concepts.tolist() == [cat.row, dog.row]
    assert found.values.tolist() == [1.0, 0.0]
    assert found.inputs.tolist() == [ready.row] * 2
    assert store.read().training_labels(app, [24150, 24151]).annotations.tolist() == [said.row, said.row, waiting.row]
    assert len(store.read().training_labels(app, [24157]).values) == 0
    assert store.read().ready_anchors(app).tolist() == [ready.anchor]
