"""What every store must do with evaluations: kept in short and in full, found while they wait, gone in time."""

from __future__ import annotations

import pytest

from postil.store.base import Duplicate, EvaluationRecord, Missing, Store
from support.stores import Filler

DONE, RUNNING, QUEUED = 21300, 21301, 21303


@pytest.fixture
def app(fill: Filler) -> int:
    return fill.app()


@pytest.fixture
def version(store: Store, app: int) -> int:
    model = store.write(lambda tx: tx.add_model(app, "m", b"model"))
    return store.write(lambda tx: tx.add_version(model.row, "v", 21100, b"version")).row


def add(store: Store, version: int, name: str = "e", status: int = QUEUED) -> EvaluationRecord:
    return store.write(lambda tx: tx.add_evaluation(version, name, status, b"short"))


def test_evaluations_are_kept_changed_and_listed(store: Store, version: int) -> None:
    first, second = add(store, version, "a"), add(store, version, "b")
    assert store.read().evaluations(version, 0, 10) == [second, first]
    assert store.read().evaluations(version, 1, 1) == [first]
    assert store.read().evaluation(version, "a") == store.read().evaluation_by_row(first.row) == first
    assert store.read().evaluation(version, "c") is None
    assert store.read().evaluation_details(first.row) == b""
    store.write(lambda tx: tx.update_evaluation(first.row, DONE, b"done", b"figures"))
    assert store.read().evaluation(version, "a") == first._replace(status=DONE, message=b"done")
    assert store.read().evaluation_details(first.row) == b"figures"
    store.write(lambda tx: tx.update_evaluation(first.row, DONE, b"renamed"))
    assert store.read().evaluation_details(first.row) == b"figures"
    with pytest.raises(Duplicate):
        add(store, version, "a")
    for refused in (lambda tx: tx.add_evaluation(99, "x", QUEUED, b""), lambda tx: tx.update_evaluation(99, DONE, b"")):
        with pytest.raises(Missing):
            store.write(refused)


def test_those_that_wait_are_found_oldest_first(store: Store, app: int, version: int) -> None:
    add(store, version, "done", DONE)
    running, queued = add(store, version, "running", RUNNING), add(store, version, "queued")
    assert store.read().waiting_evaluations(None, 10) == [running, queued]
    assert store.read().waiting_evaluations(app, 1) == [running]
    assert store.read().waiting_evaluations(app + 1, 10) == []


def test_old_ones_can_be_forgotten(store: Store, version: int) -> None:
    for name in "abc":
        add(store, version, name)
    store.write(lambda tx: tx.delete_evaluations(version, 2))
    assert [one.id for one in store.read().evaluations(version, 0, 10)] == ["c", "b"]


def test_they_go_with_version_and_app(store: Store, app: int, version: int) -> None:
    one = add(store, version)
    store.write(lambda tx: tx.delete_versions([version]))
    assert store.read().evaluation_by_row(one.row) is None
    model = store.read().model(app, "m")
    assert model is not None
    other = add(store, store.write(lambda tx: tx.add_version(model.row, "w", 21100, b"")).row)
    store.write(lambda tx: tx.delete_app(app))
    assert store.read().evaluation_by_row(other.row) is None
