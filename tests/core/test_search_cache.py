"""Hits from memory are those of the store, whatever was written since."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from postil.core.candidates import Candidates, Near
from postil.core.hit_cache import HitCache
from postil.core.hit_reader import HitReader
from postil.core.hits import app_tail
from postil.store.base import HitRecord, Queries
from postil.v1.annotation_pb2 import Annotation
from postil.v1.input_pb2 import Input
from support.search_world import World, ids, near, ranked

EAST = (1.0, 0.0)


class Counting:
    """Queries that count the anchors asked for, and let a test act in the middle of a read."""

    def __init__(self, queries: Queries) -> None:
        self._queries = queries
        self.asked = 0
        self.meanwhile: Callable[[], object] = int

    def hits(self, anchors: list[int], *, alone: bool = False) -> list[HitRecord]:
        self.asked += len(anchors)
        found = self._queries.hits(anchors, alone=alone)
        self.meanwhile()
        return found


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "data")
    yield made
    made.store.close()


@pytest.fixture
def cache(world: World) -> HitCache:
    made = HitCache()
    world.store.subscribe(made.apply)
    return made


def read(world: World, cache: HitCache, anchors: list[int], *, alone: bool = False) -> tuple[list[list[int]], int]:
    """The annotations of each anchor, and how many anchors the store was asked for."""
    queries = Counting(world.store.read())
    found = cache.hits(queries, world.app, anchors, app_tail(world.app), alone=alone)  # type: ignore[arg-type]
    return [[hit.annotation for hit in found.get(anchor, ())] for anchor in anchors], queries.asked


def test_a_second_read_asks_nothing(world: World, cache: HitCache) -> None:
    anchors = [world.add(f"i{i}", EAST) for i in range(3)]
    assert read(world, cache, anchors) == ([[a] for a in anchors], 3)
    assert read(world, cache, anchors) == ([[a] for a in anchors], 0)
    assert read(world, cache, [*anchors, 999]) == ([*([a] for a in anchors), []], 1)


def test_loading_forgets_nothing(world: World, cache: HitCache) -> None:
    anchor = world.add("a", EAST)
    read(world, cache, [anchor])
    world.add("b", EAST)
    assert read(world, cache, [anchor])[1] == 0


def test_another_apps_changes_forget_nothing(world: World, cache: HitCache) -> None:
    anchor = world.add("a", EAST)
    read(world, cache, [anchor])
    world.add("b", None, {"cat": 1}, app=world.new_app("other"))
    assert read(world, cache, [anchor])[1] == 0


def test_a_new_annotation_of_an_old_anchor_is_seen(world: World, cache: HitCache) -> None:
    anchor = world.add("a", EAST)
    read(world, cache, [anchor])
    row = world.region("a", None, {"cat": 1})
    assert read(world, cache, [anchor]) == ([[anchor, row]], 1)


def test_what_is_shown_alone_is_the_anchor_and_no_label_makes_it_forgotten(world: World, cache: HitCache) -> None:
    anchor = world.add("a", EAST)
    row = world.region("a", None, {"cat": 1})
    assert read(world, cache, [anchor], alone=True) == ([[anchor]], 1)
    assert read(world, cache, [anchor]) == ([[anchor, row]], 1)
    later = world.region("a", None, {"dog": 1})
    assert read(world, cache, [anchor], alone=True) == ([[anchor]], 0)
    assert read(world, cache, [anchor]) == ([[anchor, row, later]], 1)
    _touch(world, "a", 1)
    assert read(world, cache, [anchor], alone=True) == ([[anchor]], 1)
    _delete(world, "a")
    assert read(world, cache, [anchor], alone=True) == ([[]], 1)


def test_no_more_anchors_are_read_than_fill_a_page(world: World, cache: HitCache) -> None:
    anchors = [world.add(f"i{i}", EAST) for i in range(4)]
    rows = {anchor: [anchor, *(world.region(f"i{i}") for _ in range(9))] for i, anchor in enumerate(anchors)}
    read(world, cache, anchors[-1:])
    queries = Counting(world.store.read())
    reader = HitReader(queries, cache, world.app)  # type: ignore[arg-type]
    near = Near(np.array(anchors, np.int64), np.ones(4, np.float32), complete=True)
    found = islice(Candidates(reader, near, 15, alone=False), 15)
    assert [scored.hit.annotation for scored in found] == [*rows[anchors[0]], *rows[anchors[1]][:5]]
    assert queries.asked == 2


def test_a_deleted_annotation_is_gone(world: World, cache: HitCache) -> None:
    anchor = world.add("a", EAST)
    row = world.region("a")
    assert read(world, cache, [anchor])[0] == [[anchor, row]]
    assert cache._size > 0
    world.store.write(lambda tx: tx.delete_annotations(world.app.row, [row]))
    assert cache._size == 0  # what is never served again is not held either
    assert read(world, cache, [anchor])[0] == [[anchor]]


def test_a_changed_input_shows_in_the_hits_of_its_regions(world: World, cache: HitCache) -> None:
    world.add("a", EAST)
    region = world.region("a", EAST)
    read(world, cache, [region])
    record = world.store.read().input(world.app.row, "a")
    assert record is not None
    changed = Input(id="a", dataset_ids=["new"]).SerializeToString()
    world.store.write(lambda tx: tx.update_input(record.row, changed))
    answer = world.annotations(ranked(near(EAST)))
    assert [list(hit.input.dataset_ids) for hit in answer.hits] == [["new"], ["new"]]
    assert read(world, cache, [region])[1] == 1


def test_what_was_read_while_a_change_came_is_not_kept(world: World, cache: HitCache) -> None:
    anchor = world.add("a", EAST)
    queries = Counting(world.store.read())
    queries.meanwhile = lambda: world.region("a")
    cache.hits(queries, world.app, [anchor], app_tail(world.app))  # type: ignore[arg-type]
    found, asked = read(world, cache, [anchor])
    assert asked == 1
    assert len(found[0]) == 2


def test_memory_is_bounded_and_the_oldest_go_first(world: World) -> None:
    cache = HitCache(limit=4000)
    anchors = [world.add(f"i{i}", EAST) for i in range(20)]
    read(world, cache, anchors)
    assert 0 < cache._size <= 4000
    assert read(world, cache, anchors[-1:])[1] == 0
    assert read(world, cache, anchors[:1])[1] == 1


@pytest.mark.parametrize("seed", range(3))
def test_searches_always_show_what_the_store_holds(world: World, seed: int) -> None:
    rng = random.Random(seed)
    names: list[str] = []
    for step in range(120):
        act = rng.random()
        if act < 0.3 or not names:
            names.append(f"i{step}")
            world.add(names[-1], EAST, {"cat": 1} if act < 0.1 else None)
        elif act < 0.5:
            world.region(rng.choice(names), EAST if act < 0.4 else None, {"dog": 1})
        elif act < 0.6:
            _touch(world, rng.choice(names), step)
        elif act < 0.7:
            _delete(world, names.pop(rng.randrange(len(names))))
        shown = [(hit.input, hit.annotation) for hit in world.annotations(ranked(near(EAST)), per_page=1000).hits]
        stored = _stored(world)
        assert shown == stored
        first = {item.id: (item, note) for item, note in reversed(stored)}  # of each input, all being equally near
        alone = [(hit.input, hit.annotation) for hit in world.inputs(ranked(near(EAST)), per_page=1000).hits]
        assert {item.id: (item, note) for item, note in alone} == first
        assert len(alone) == len(first)


def _touch(world: World, input_id: str, step: int) -> None:
    record = world.store.read().input(world.app.row, input_id)
    assert record is not None
    message = Input(id=input_id, dataset_ids=[f"at-{step}"]).SerializeToString()
    world.store.write(lambda tx: tx.update_input(record.row, message))


def _delete(world: World, input_id: str) -> None:
    record = world.store.read().input(world.app.row, input_id)
    assert record is not None
    world.store.write(lambda tx: tx.delete_inputs(world.app.row, [record.row]))


def _stored(world: World) -> list[tuple[Input, Annotation]]:
    """Every annotation with its input, by anchor and row, read without any cache."""
    queries = world.store.read()
    anchors = sorted(world.indexes.spaces[1].held)
    return [
        (Input.FromString(record.input_message), Annotation.FromString(record.annotation_message))
        for anchor in anchors
        for record in queries.hits([anchor])
    ]


def test_deleted_inputs_are_no_hits(world: World) -> None:
    for name in ("a", "b"):
        world.add(name, EAST)
    assert ids(world.annotations(ranked(near(EAST)))) == ["a", "b"]
    _delete(world, "a")
    assert ids(world.annotations(ranked(near(EAST)))) == ["b"]
