"""What every store must do with datasets: sets of inputs that follow deletions, and versions that do not."""

from __future__ import annotations

import pytest

from postil.store.base import Duplicate, Missing, Part, Store
from support.stores import Filler


@pytest.fixture
def app(fill: Filler) -> int:
    return fill.app()


def dataset(store: Store, app: int, name: str = "d") -> int:
    return store.write(lambda tx: tx.add_dataset(app, name, b"message")).row


def add_all(store: Store, row: int, member: int) -> None:
    """A member, and a version with one part."""
    store.write(lambda tx: tx.add_members(row, [member]))
    store.write(lambda tx: tx.add_dataset_version(row, "v", b"", [Part(1, b"x")]))


def member_rows(store: Store, row: int) -> list[int]:
    return [int(one) for one in store.read().member_rows(row)]


def test_datasets_are_kept_changed_and_listed_newest_first(store: Store, fill: Filler, app: int) -> None:
    first, second = dataset(store, app, "a"), dataset(store, app, "b")
    assert [record.row for record in store.read().list_datasets(app, 0, 10)] == [second, first]
    assert [record.id for record in store.read().list_datasets(app, 1, 10)] == ["a"]
    assert store.read().datasets(app, ["b", "x"]).keys() == {"b"}
    with pytest.raises(Duplicate):
        dataset(store, app, "a")
    with pytest.raises(Missing):
        dataset(store, 99, "a")
    store.write(lambda tx: tx.update_dataset(first, b"new"))
    found = store.read().dataset(app, "a")
    assert found is not None
    assert found.message == b"new"
    assert store.read().dataset(fill.app("other"), "a") is None


def test_members_come_go_and_are_counted_in_editions(store: Store, fill: Filler, app: int) -> None:
    row = dataset(store, app)
    inputs = [fill.input(app, name) for name in ("x", "y", "z")]
    foreign = fill.input(fill.app("other"), "x")
    rows = [one.row for one in inputs]
    editions = [store.read().dataset(app, "d")]
    assert store.write(lambda tx: tx.add_members(row, [*rows[:2], foreign.row])) == 2
    editions.append(store.read().dataset(app, "d"))
    assert store.write(lambda tx: tx.add_members(row, rows)) == 1
    editions.append(store.read().dataset(app, "d"))
    assert store.write(lambda tx: tx.add_members(row, rows)) == 0
    numbers = [record.edition for record in editions if record]
    assert numbers == sorted(set(numbers))
    assert member_rows(store, row) == rows
    assert store.read().member_anchors(row).tolist() == [one.anchor for one in inputs]
    store.write(lambda tx: tx.remove_members(row, rows[1:2]))
    assert [one.input for one in store.read().members(row, 0, 10)] == [rows[0], rows[2]]
    assert [one.input for one in store.read().members(row, 1, 10)] == [rows[2]]
    assert store.read().members_among(row, rows).keys() == {rows[0], rows[2]}
    store.write(lambda tx: tx.delete_inputs(app, rows[:1]))
    assert member_rows(store, row) == [rows[2]]
    with pytest.raises(Missing):
        store.write(lambda tx: tx.add_members(99, rows))


def test_versions_keep_their_parts(store: Store, app: int) -> None:
    row = dataset(store, app)
    parts = [Part(2, b"first"), Part(1, b"second")]
    version = store.write(lambda tx: tx.add_dataset_version(row, "v", b"message", parts))
    other = store.write(lambda tx: tx.add_dataset_version(row, "w", b"message", []))
    assert store.read().version_sizes(version.row) == [2, 1]
    assert [store.read().version_part(version.row, number) for number in (0, 1)] == [b"first", b"second"]
    with pytest.raises(Missing):
        store.read().version_part(version.row, 2)
    with pytest.raises(Duplicate):
        store.write(lambda tx: tx.add_dataset_version(row, "v", b"", []))
    assert store.read().dataset_versions(row, 0, 10) == [other, version]
    store.write(lambda tx: tx.delete_dataset_versions(row, ["v", "x"]))
    assert store.read().dataset_version(row, "v") is None
    assert store.read().version_sizes(version.row) == []


def test_all_of_it_goes_with_the_dataset_and_with_the_app(store: Store, fill: Filler, app: int) -> None:
    rows = [dataset(store, app, name) for name in ("d", "e")]
    for row in rows:
        add_all(store, row, fill.input(app, f"of-{row}").row)
    store.write(lambda tx: tx.delete_datasets(app, ["d", "x"]))
    assert member_rows(store, rows[0]) == []
    assert member_rows(store, rows[1])
    store.write(lambda tx: tx.delete_app(app))
    assert member_rows(store, rows[1]) == []
    assert store.read().dataset_versions(rows[1], 0, 10) == []


def test_a_snapshot_sees_one_moment(store: Store, fill: Filler, app: int) -> None:
    row = dataset(store, app)
    one = fill.input(app, "x").row
    with store.snapshot() as before:
        assert before.dataset(app, "d") is not None
        store.write(lambda tx: tx.add_members(row, [one]))
        assert before.members(row, 0, 10) == []
        assert member_rows(store, row) == [one]
