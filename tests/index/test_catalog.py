"""The catalog's parts: sets from arrays, packed postings, columns, and following the feed from any point."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf.struct_pb2 import Struct, Value
from pyroaring import BitMap

from postil.index import checkpoint, rowsets
from postil.index.catalogs import Catalogs
from postil.index.marks import METADATA, contains_object, has_lists, json_tokens, present
from postil.index.postings import Postings
from postil.store.base import Change
from support.search_world import World


@pytest.mark.parametrize("size", [0, 1, 511, 513, 5000, 70_000, 200_000])
def test_sets_and_arrays_say_the_same(size: int) -> None:
    random = np.random.default_rng(size)
    rows = np.sort(random.choice(300_000, size, replace=False)).astype(np.int64)
    members = rowsets.bitmap(rows)
    assert members == BitMap(rows.tolist())
    assert rowsets.rows_of(members).tolist() == rows.tolist()
    mask = rowsets.mask_of(members, 300_000)
    assert rowsets.of_mask(mask) == members
    some = random.integers(0, 300_000, 700)
    assert rowsets.holds(members, some).tolist() == mask[some].tolist()


def test_postings_find_what_was_added_last() -> None:
    random = np.random.default_rng(1)
    epochs = np.zeros(5000, np.uint32)
    postings = Postings(lambda pairs: epochs[pairs.rows] == pairs.epochs)
    truth: dict[int, set[int]] = {}
    for _ in range(400):
        rows = random.choice(5000, 40, replace=False).astype(np.uint32)
        for row in rows.tolist():
            for held in truth.values():
                held.discard(row)
        epochs[rows] += 1
        tokens = random.integers(0, 30, 40).astype(np.uint64)
        for token, row in zip(tokens.tolist(), rows.tolist(), strict=True):
            truth.setdefault(token, set()).add(row)
        postings.add(tokens, rows, epochs[rows])

    def agree() -> bool:
        return all(postings.find(token).tolist() == sorted(truth.get(token, ())) for token in range(31))

    assert len(postings) < 16_000  # some went when runs were merged
    assert agree()
    postings.purge()
    assert len(postings) < 5000 / 0.7
    assert agree()


def struct(**values: Any) -> Struct:
    made = Struct()
    made.update(values)
    return made


@pytest.mark.parametrize(
    ("stored", "wanted", "holds"),
    [
        ({"a": 1}, {}, True),
        ({"a": 1, "b": 2}, {"a": 1}, True),
        ({"a": 1}, {"a": "1"}, False),
        ({"a": 0.0}, {"a": -0.0}, True),
        ({"a": {"b": {"c": True}}}, {"a": {"b": {}}}, True),
        ({"a": {"b": 1}}, {"a": {}}, True),
        ({"a": []}, {"a": {}}, False),
        ({"a": None}, {"a": None}, True),
        ({}, {"a": None}, False),
        ({"a": [1, 2, 3]}, {"a": [2, 1, 1]}, True),
        ({"a": [1, 2]}, {"a": [4]}, False),
        ({"a": [[1], [2]]}, {"a": [[2]]}, True),
        ({"a": [{"b": 1}, {"c": 2}]}, {"a": [{"b": 1, "c": 2}]}, False),
        ({"a\x1fb": 1}, {"a": {"b": 1}}, False),
    ],
)
def test_containment(stored: dict[str, object], wanted: dict[str, object], holds: bool) -> None:
    have, want = struct(**stored), struct(**wanted)
    assert contains_object(have, want) is holds
    tokens = set(json_tokens(METADATA, want)) <= set(json_tokens(METADATA, have))
    assert tokens or not holds
    if not has_lists(Value(struct_value=want)):
        assert tokens is holds


def held(catalogs: Catalogs, world: World) -> list[tuple[BitMap, BitMap]]:
    with catalogs.hold(world.app.row) as catalog:
        concepts = world.store.read().list_concepts(world.app.row, "", 0, 100)
        return [(BitMap(catalog.all), BitMap(catalog.marked(present(concept.row)))) for concept in concepts]


def test_a_catalog_that_starts_later_holds_the_same(tmp_path: Path) -> None:
    world = World(tmp_path / "data")
    for i in range(20):
        world.add(f"i{i}", None, {"cat": i % 2})
    world.region("i3", None, {"dog": 1})
    found = world.store.read().input(world.app.row, "i4")
    assert found is not None
    world.store.write(lambda tx: tx.delete_inputs(world.app.row, [found.row]))
    later = Catalogs(world.store)
    later.start()
    assert held(later, world) == held(world.catalogs, world)
    assert len(held(later, world)[0][0]) == 20
    world.store.close()


def opened(world: World, folder: Path, schema: str = "1") -> Catalogs:
    catalogs = Catalogs(world.store, folder, schema)
    catalogs.start()
    held(catalogs, world)
    return catalogs


def sources(catalogs: Catalogs) -> list[str]:
    """Where each start took the catalog from."""
    found: list[str] = []
    read = catalogs._open

    def told(joined: int) -> str:
        found.append(read(joined))
        return found[-1]

    catalogs._open = told  # type: ignore[method-assign]
    catalogs.start()
    catalogs._ready.wait(60)
    return found


def varied(folder: Path) -> World:
    """A world with labels, regions, metadata, a deletion and two apps."""
    world = World(folder)
    for i in range(30):
        world.add(f"i{i}", [1.0, i], {"cat": i % 2})
    world.region("i3", None, {"dog": 1})
    world.region("i3", [2.0, 2.0], {"dog": 1, "cat": 0})
    found = world.store.read().input(world.app.row, "i4")
    assert found is not None
    world.store.write(lambda tx: tx.delete_inputs(world.app.row, [found.row]))
    world.add("elsewhere", None, {"cat": 1}, app=world.new_app("other"))
    return world


def test_a_checkpoint_and_the_feed_give_what_the_rows_give(tmp_path: Path) -> None:
    world = varied(tmp_path / "data")
    opened(world, tmp_path).close()
    assert (tmp_path / checkpoint.FILE).exists()
    world.add("later", [3.0, 3.0], {"dog": 1})
    world.region("i5", None, {"dog": 0})
    found = world.store.read().input(world.app.row, "i6")
    assert found is not None
    world.store.write(lambda tx: tx.delete_inputs(world.app.row, [found.row]))
    later = Catalogs(world.store, tmp_path, "1")
    assert sources(later) == ["checkpoint"]
    assert held(later, world) == held(world.catalogs, world)
    with later.hold(world.app.row) as one, world.catalogs.hold(world.app.row) as other:
        assert one._marks == {mark: rows for mark, rows in other._marks.items() if rows or mark in one._marks}
        every = np.array(other.all.to_array(), np.int64)
        assert one.level_of(every).tolist() == other.level_of(every).tolist()
        assert [one.members(row).tolist() for row in every] == [other.members(row).tolist() for row in every]
    world.region("i7", None, {"dog": 1})  # goes on from what was read back
    assert held(later, world) == held(world.catalogs, world)
    later.close()
    world.store.close()


def test_a_checkpoint_in_doubt_is_not_used(tmp_path: Path) -> None:
    world = varied(tmp_path / "data")
    path = tmp_path / checkpoint.FILE

    def refused(schema: str = "1") -> None:
        later = Catalogs(world.store, tmp_path, schema)
        assert sources(later) == ["rows"]
        assert held(later, world) == held(world.catalogs, world)
        later.close()

    opened(world, tmp_path).close()
    good = path.read_bytes()
    for at in (0, len(good) // 2, len(good) - 1):
        path.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        refused()
    for length in (0, 20, len(good) - 1):
        path.write_bytes(good[:length])
        refused()
    path.write_bytes(good)
    refused(schema="2")
    head, body = good.split(b"\n", 1)
    for fault in (
        {"store": "another"},
        {"code": "older"},
        {"applied": 1 << 40},
        {"sets": 7},
        {"columns": [1 << 40] * 11},
        {"directories": [[1, 1 << 20], [1, 32]]},
    ):
        changed = json.dumps({**json.loads(head), **fault}).encode() + b"\n" + body[:-32]
        path.write_bytes(changed + hashlib.sha256(changed).digest())
        refused()
    world.store.close()


def test_a_checkpoint_of_rows_that_were_put_back_from_a_copy_is_not_used(tmp_path: Path) -> None:
    world = varied(tmp_path / "data")
    opened(world, tmp_path).close()
    world.store.close()
    other = varied(tmp_path / "other")  # as many changes, other times
    head, body = (tmp_path / checkpoint.FILE).read_bytes().split(b"\n", 1)
    changed = json.dumps({**json.loads(head), "store": other.store.identity}).encode() + b"\n" + body[:-32]
    (tmp_path / checkpoint.FILE).write_bytes(changed + hashlib.sha256(changed).digest())
    later = Catalogs(other.store, tmp_path, "1")
    assert sources(later) == ["rows"]
    assert held(later, other) == held(other.catalogs, other)
    later.close()
    other.store.close()


def test_changes_that_were_trimmed_are_read_from_rows(tmp_path: Path) -> None:
    world = varied(tmp_path / "data")
    opened(world, tmp_path).close()
    world.add("later", None, {"dog": 1})
    world.store.trim_changes(world.store.committed)
    later = Catalogs(world.store, tmp_path, "1")
    sources(later)
    assert held(later, world) == held(world.catalogs, world)
    later.close()
    world.store.close()


def test_many_changes_are_taken_together(tmp_path: Path) -> None:
    world = World(tmp_path / "data")
    together = Catalogs(world.store)
    together.start()
    held(together, world)
    taken: list[int] = []
    take = together._take

    def counted(changes: list[Change]) -> None:
        taken.append(len(changes))
        take(changes)

    together._take = counted  # type: ignore[method-assign]
    with together.hold(world.app.row):  # so that nobody else takes them meanwhile
        for i in range(20):
            world.add(f"i{i}", [1.0, 2.0], {"cat": i % 2})
        world.region("i1", [1.0, 1.0], {"dog": 1})
        found = world.store.read().input(world.app.row, "i1")
        assert found is not None
        world.store.write(lambda tx: tx.delete_inputs(world.app.row, [found.row]))
    assert held(together, world) == held(world.catalogs, world)
    assert sum(taken) == 22
    assert max(taken) == 22
    world.store.close()


def test_an_input_that_came_and_went_between_two_looks(tmp_path: Path) -> None:
    """Its annotation's row is beyond all that there is room for, and it is in none of the changes put together."""
    world = World(tmp_path / "data")
    together = Catalogs(world.store)
    together.start()
    world.add("stays", None, {"cat": 1})
    held(together, world)
    world.store.write(lambda tx: tx.reserve_annotations(10_000))
    anew: list[bool] = []
    together._read_anew = lambda: anew.append(True)  # type: ignore[method-assign]
    with together.hold(world.app.row):
        world.add("goes", None, {"cat": 1})
        found = world.store.read().input(world.app.row, "goes")
        assert found is not None
        world.store.write(lambda tx: tx.delete_inputs(world.app.row, [found.row]))
    assert held(together, world) == held(world.catalogs, world)
    assert not anew
    world.store.close()


def test_a_change_that_was_missed_is_read_from_the_store(tmp_path: Path) -> None:
    world = World(tmp_path / "data")
    missed = Catalogs(world.store)
    changes: list[Change] = []
    missed.start()
    world.add("first", None, {"cat": 1})
    held(missed, world)
    world.store._writer._consumers[-1] = changes.append
    world.add("lost", None, {"cat": 1})
    world.store._writer._consumers[-1] = missed.apply
    world.region("lost", None, {"cat": 1})
    assert len(changes) == 1
    assert held(missed, world) == held(world.catalogs, world)
    world.store.close()


def test_a_change_that_could_not_be_taken_is_made_up_for(tmp_path: Path) -> None:
    world = World(tmp_path / "data")
    failing = Catalogs(world.store)
    failing.start()
    world.add("first", None, {"cat": 1})
    assert held(failing, world) == held(world.catalogs, world)

    def fail(changes: list[Change]) -> None:
        raise RuntimeError(changes)

    take, failing._take = failing._take, fail  # type: ignore[method-assign]
    world.add("second", None, {"cat": 1})
    failing._take = take  # type: ignore[method-assign]
    world.add("third", None, {"cat": 1})
    assert held(failing, world) == held(world.catalogs, world)
    world.region("third", None, {"cat": 0})
    assert held(failing, world) == held(world.catalogs, world)
    world.store.close()
