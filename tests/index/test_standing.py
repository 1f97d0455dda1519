"""Standing queries: what segments keep for them is exact, whatever died, is forbidden or was added since."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pyroaring import BitMap

from postil.index import standing
from postil.index.base import Metric, Plan
from postil.index.part import Segment
from postil.index.space import VectorSpace
from postil.store.base import Matrix
from support.index_world import SPACE, MemoryStore, clustered, merge, space_of

DIM, ROWS = 48, 9000
KEPT = 128
World = tuple[MemoryStore, VectorSpace]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Two graphs and a tail."""
    monkeypatch.setattr(standing, "LENGTH", KEPT)
    store = MemoryStore(DIM)
    manager = store.open(tmp_path / "index")
    vectors = clustered(ROWS, DIM)
    for start in range(0, ROWS, 4000):
        store.put(range(start + 1, min(start + 4000, ROWS) + 1), vectors[start : start + 4000])
        if start < 8000:
            merge(space_of(manager))
    yield store, space_of(manager)
    manager.close()


def far(count: int) -> Matrix:
    """Directions in which nothing lies."""
    directions = np.random.default_rng(4).standard_normal((count, DIM)).astype(np.float32)
    return np.asarray(directions / np.linalg.norm(directions, axis=1, keepdims=True), np.float32)


def check(world: World, query: Matrix, k: int, allow: BitMap | None = None) -> Plan:
    store, space = world
    found = space.search(query, k, allow=allow, standing=True)
    rows, near = store.truths[SPACE].nearest(query, k, Metric.EUCLIDEAN, allow)
    np.testing.assert_allclose(found.distances, near, rtol=1e-6, atol=1e-6)
    assert set(found.rows.tolist()) == set(rows.tolist())
    return found.plan


def test_each_search_compares_with_one_segment_at_most(world: World) -> None:
    _, space = world
    query = far(1)[0]
    graphs = [part.source for part in space._view.parts if isinstance(part.source, Segment)]
    assert len(graphs) == 2
    kept = []
    for _ in range(3):
        plan = space.search(query, 10, standing=True).plan
        kept.append((sum(bool(source.standing._kept) for source in graphs), plan))
    assert kept == [(1, Plan.GRAPH), (2, Plan.KEPT), (2, Plan.KEPT)]


def test_what_is_kept_is_exact(world: World) -> None:
    store, space = world
    queries = far(8)
    for query in queries:
        for _ in range(2):
            space.search(query, 1, standing=True)
        assert check(world, query, 10) is Plan.KEPT
        check(world, query, KEPT)
        check(world, query, 5 * KEPT)
    rows, _ = store.truths[SPACE].nearest(queries[0], KEPT // 2, Metric.EUCLIDEAN)
    store.delete(rows.tolist())  # the best of one query are gone
    store.put(range(ROWS + 1, ROWS + 9), queries)  # and every query gets a best one, in the tail
    half = BitMap(range(2, 2 * ROWS, 2))
    few = BitMap(np.random.default_rng(1).choice(ROWS, 60, replace=False).tolist())
    for number, query in enumerate(queries):
        assert check(world, query, 10) is Plan.KEPT
        assert space.search(query, 1, standing=True).rows.tolist() == [ROWS + 1 + number]
        assert check(world, query, 10, half) is Plan.KEPT
        assert check(world, query, 10, few) is Plan.GATHER


def test_equal_vectors_come_in_order_of_row(world: World) -> None:
    store, space = world
    query = far(1)[0]
    store.put(range(ROWS + 1, ROWS + 3001), np.repeat(query[None], 3000, axis=0))
    merge(space)
    for _ in range(3):
        space.search(query, 10, standing=True)
    assert space.search(query, 200, standing=True).rows.tolist() == list(range(ROWS + 1, ROWS + 201))


def test_the_oldest_query_gives_way(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    _, space = world
    monkeypatch.setattr(standing, "QUERIES", 2)
    queries = far(3)
    for query in queries:
        for _ in range(2):
            space.search(query, 10, standing=True)
    source = next(part.source for part in space._view.parts if isinstance(part.source, Segment))
    assert len(source.standing._kept) == 2
    assert check(world, queries[2], 10) is Plan.KEPT
