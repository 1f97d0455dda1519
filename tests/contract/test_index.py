"""What every index must do: exact answers equal brute force, whatever the plan; approximate ones are nearly that."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pyroaring import BitMap

from postil.index.base import Metric, Plan, SpaceIndex
from postil.store.base import Matrix
from support.index_world import MemoryStore, clustered, merge, space_of

DIM = 32
ROWS = 6000
# The last ones are queries: from the same clusters, never indexed.
VECTORS = clustered(ROWS + 300, DIM)
QUERIES = VECTORS[ROWS:]
STATES = ["tail", "graph", "graphs and tail"]


class World:
    """A filled index and the truth beside it."""

    def __init__(self, store: MemoryStore, index: SpaceIndex) -> None:
        self.store = store
        self.index = index
        self.truth = store.truths[1]

    def check(self, query: Matrix, k: int, metric: Metric, allow: BitMap | None = None) -> Plan:
        """An exact search gives the true rows and distances, in order."""
        found = self.index.search(query, k, metric=metric, exact=True, allow=allow)
        rows, near = self.truth.nearest(query, k, metric, allow)
        assert found.rows.dtype == np.int64
        assert found.distances.dtype == np.float32
        np.testing.assert_allclose(found.distances, near, rtol=1e-6, atol=1e-6)
        # Rows may trade places only where rounding makes the distances equal.
        for mine, theirs, distance in zip(found.rows.tolist(), rows.tolist(), near.tolist(), strict=True):
            if mine != theirs:
                assert abs(self.distance(query, mine, metric) - distance) <= 1e-6
        pairs = list(zip(found.distances.tolist(), found.rows.tolist(), strict=True))
        assert pairs == sorted(pairs)
        return found.plan

    def distance(self, query: Matrix, row: int, metric: Metric) -> float:
        _, near = self.truth.nearest(query, 1, metric, BitMap([row]))
        return float(near[0])


def filled(state: str, path: Path) -> Iterator[World]:
    """Unit vectors of which every ninth was deleted and every seventh replaced, at every stage of building."""
    store = MemoryStore(DIM)
    manager = store.open(path)
    vectors = VECTORS[:ROWS]
    again = vectors[::-1] + np.float32(1e-4)
    again /= np.linalg.norm(again, axis=1, keepdims=True)
    half = ROWS // 2
    store.put(range(1, half + 1), vectors[:half])
    space = space_of(manager)
    if state != "tail":
        merge(space)
    store.put(range(half + 1, ROWS + 1), vectors[half:])
    if state == "graphs and tail":
        merge(space)
    store.delete(range(9, ROWS, 9))
    replaced = [row for row in range(7, ROWS, 7) if row % 9]
    store.put(replaced, again[: len(replaced)])
    if state == "graph":
        merge(space, segments=[0])
    yield World(store, space)
    manager.close()


@pytest.fixture(params=STATES, scope="module")
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """For tests that only search."""
    yield from filled(request.param, tmp_path_factory.mktemp("index"))


@pytest.fixture(params=STATES)
def own_world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """For tests that write."""
    yield from filled(request.param, tmp_path)


@pytest.mark.parametrize("metric", list(Metric))
@pytest.mark.parametrize("k", [1, 10, 137])
def test_an_exact_search_is_brute_force(world: World, metric: Metric, k: int) -> None:
    for query in QUERIES[:5]:
        assert world.check(query, k, metric) is Plan.SCAN
        assert world.check(query * 3, k, metric) is Plan.SCAN


@pytest.mark.parametrize("metric", list(Metric))
@pytest.mark.parametrize("share", [0.001, 0.01, 0.1, 0.5, 0.9, 1.0])
def test_an_exact_search_among_allowed_rows_is_brute_force(world: World, metric: Metric, share: float) -> None:
    random = np.random.default_rng(5)
    allow = BitMap(random.choice(ROWS * 2, int(ROWS * share), replace=False).tolist())
    plans = {world.check(query, 10, metric, allow) for query in QUERIES[:5]}
    assert plans == {Plan.SCAN if share > 0.4 else Plan.GATHER}


@pytest.mark.parametrize("metric", list(Metric))
@pytest.mark.parametrize("allow", [None, 0.9, 0.5, 0.2, 0.05, 0.002, "cluster"])
def test_a_search_finds_nearly_all(world: World, metric: Metric, allow: float | str | None) -> None:
    """At every selectivity, also where what is allowed is far from the query."""
    random = np.random.default_rng(6)
    allowed: BitMap | None = None
    if allow == "cluster":
        centre = QUERIES[111]
        near, _ = world.truth.nearest(centre, 400, Metric.EUCLIDEAN)
        allowed = BitMap(near.tolist())
    elif isinstance(allow, float):
        allowed = BitMap(random.choice(ROWS, int(ROWS * allow), replace=False).tolist())
    hits = total = 0
    for query in QUERIES[:100]:
        found = world.index.search(query, 10, metric=metric, allow=allowed)
        rows, near = world.truth.nearest(query, 10, metric, allowed)
        assert len(found.rows) == len(rows)
        hits += len(set(found.rows.tolist()) & set(rows.tolist()))
        total += len(rows)
        assert (np.diff(found.distances) >= 0).all()
        for row, distance in zip(found.rows[:2].tolist(), found.distances[:2].tolist(), strict=True):
            assert distance == pytest.approx(world.distance(query, row, metric), abs=1e-6)
    assert hits / total >= 0.99


def test_a_plain_search_walks_the_graphs_when_there_are_some(world: World, request: pytest.FixtureRequest) -> None:
    plan = world.index.search(QUERIES[100], 10).plan
    assert plan is (Plan.SCAN if "[tail]" in request.node.name else Plan.GRAPH)


def test_pages_of_one_search_agree(world: World) -> None:
    query = QUERIES[109]
    whole = world.index.search(query, 40).rows
    for k in range(21, 40):
        assert (world.index.search(query, k).rows == whole[:k]).all()


@pytest.mark.parametrize("metric", list(Metric))
def test_a_vector_is_at_no_distance_from_itself(world: World, metric: Metric) -> None:
    for row in list(world.truth.vectors)[:: ROWS // 50]:
        found = world.index.search(world.truth.vectors[row], 1, metric=metric)
        assert found.distances[0] == 0
        assert found.rows[0] == row


def test_more_than_there_are_gives_all(world: World) -> None:
    query = QUERIES[100]
    assert len(world.index) == len(world.truth.vectors)
    found = world.index.search(query, 10 * ROWS)
    assert sorted(found.rows.tolist()) == sorted(world.truth.vectors)
    few = BitMap([1, 2, 3, 9, ROWS + 5])
    assert sorted(world.index.search(query, 10, allow=few).rows.tolist()) == [1, 2, 3]
    assert world.index.search(query, 0).plan is Plan.EMPTY
    assert world.index.search(query, 10, allow=BitMap()).plan is Plan.EMPTY
    nobody = world.index.search(query, 10, allow=BitMap([ROWS + 5]))
    assert (len(nobody.rows), len(nobody.distances)) == (0, 0)


def test_deleted_neighbourhoods_are_looked_past(own_world: World) -> None:
    """The nearest five hundred are deleted: the graph's candidates are all dead, and the answer is still right."""
    query = QUERIES[121]
    near, _ = own_world.truth.nearest(query, 500, Metric.EUCLIDEAN)
    own_world.store.delete(near.tolist())
    rows, _ = own_world.truth.nearest(query, 10, Metric.EUCLIDEAN)
    found = own_world.index.search(query, 10).rows
    assert len(set(found.tolist()) & set(rows.tolist())) >= 9
    assert not set(found.tolist()) & set(near.tolist())


def test_identical_vectors_come_in_order_of_row(own_world: World) -> None:
    same = QUERIES[133]
    rows = list(range(3 * ROWS, 3 * ROWS + 300))
    for start in range(0, 300, 100):
        chunk = rows[start : start + 100][::-1]
        own_world.store.put(chunk, np.tile(same, (100, 1)))
    assert own_world.index.search(same, 50).rows.tolist() == rows[:50]
    assert own_world.index.search(same, 50, metric=Metric.COSINE).rows.tolist() == rows[:50]


def test_queries_that_cannot_be_measured_are_refused(world: World) -> None:
    for bad in (np.zeros(DIM + 1), np.full(DIM, np.nan), np.full(DIM, np.inf), np.zeros((1, DIM))):
        with pytest.raises(ValueError, match="quer"):
            world.index.search(bad.astype(np.float32), 1)


@pytest.mark.parametrize("scale", [1e-25, 1e-12, 1e6, 1e18, 1e30])
@pytest.mark.parametrize("metric", list(Metric))
def test_vectors_of_any_length_are_measured(own_world: World, metric: Metric, scale: float) -> None:
    random = np.random.default_rng(1)
    extra = random.standard_normal((50, DIM)).astype(np.float32) * np.float32(scale)
    own_world.store.put(range(3 * ROWS, 3 * ROWS + 50), extra)
    allow = BitMap(range(2 * ROWS, 4 * ROWS))
    for query in (extra[7], extra[8] * np.float32(1.01)):
        found = own_world.index.search(query, 20, metric=metric, allow=allow)
        rows, near = own_world.truth.nearest(query, 20, metric, allow)
        assert not np.isnan(found.distances).any()
        np.testing.assert_allclose(found.distances, near, rtol=1e-5, atol=1e-6 if metric is Metric.COSINE else 0)
        if metric is Metric.COSINE or scale > 1e-20:
            assert found.rows[0] == rows[0]


def test_a_zero_vector_is_neither_near_nor_opposite(own_world: World) -> None:
    own_world.store.put([3 * ROWS], np.zeros((1, DIM), np.float32))
    allow = BitMap([3 * ROWS])
    query = QUERIES[100]
    assert own_world.index.search(query, 1, metric=Metric.COSINE, allow=allow).distances.tolist() == [1.0]
    assert own_world.index.search(np.zeros(DIM, np.float32), 3, metric=Metric.COSINE).distances.tolist() == [1.0] * 3


def test_cosine_is_right_once_lengths_differ(own_world: World) -> None:
    """One vector of another length ends the shortcut through the squared-Euclidean graphs."""
    query = QUERIES[102]
    own_world.store.put([3 * ROWS], 5 * query[None])
    found = own_world.index.search(query, 10, metric=Metric.COSINE)
    assert found.plan is Plan.SCAN
    assert found.rows[0] == 3 * ROWS
    assert found.rows.tolist() == own_world.truth.nearest(query, 10, Metric.COSINE)[0].tolist()
