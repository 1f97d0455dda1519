"""One space under writes: replacement, deletes, merges, the flip from unit length, searches beside a writer."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from postil.index import planner
from postil.index.base import Metric, Plan
from postil.index.files import Folder
from postil.index.manager import IndexManager
from postil.index.space import VectorSpace
from postil.store.base import Matrix
from support.index_world import SPACE, MemoryStore, clustered, crash, distances, merge, space_of

DIM = 8


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore(DIM)


@pytest.fixture
def manager(store: MemoryStore, tmp_path: Path) -> Iterator[IndexManager]:
    opened = store.open(tmp_path / "index")
    yield opened
    opened.close()


def assert_equal(store: MemoryStore, space: VectorSpace, metric: Metric = Metric.EUCLIDEAN) -> None:
    """The index holds exactly what the truth holds."""
    truth = store.truths[SPACE]
    rows, matrix = truth.arrays()
    assert len(space) == len(rows)
    assert list(space.live_rows()) == rows.tolist()
    for query in clustered(3, DIM, seed=99):
        found = space.search(query, len(rows) + 5, metric=metric, exact=True)
        assert sorted(found.rows.tolist()) == rows.tolist()
        expected = dict(zip(rows.tolist(), distances(query, matrix, metric).tolist(), strict=True)) if len(rows) else {}
        np.testing.assert_allclose(
            found.distances, [expected[row] for row in found.rows.tolist()], rtol=1e-6, atol=1e-6
        )


def test_a_replaced_vector_is_found_at_its_new_place_only(store: MemoryStore, manager: IndexManager) -> None:
    vectors = clustered(3000, DIM)
    store.put(range(1, 3001), vectors)
    space = space_of(manager)
    merge(space)
    store.put([5, 6], vectors[:2])
    assert space.search(vectors[0], 2).rows.tolist() == [1, 5]
    assert space.search(vectors[4], 1).rows.tolist() != [5]
    store.put([5], vectors[9:10])
    assert space.search(vectors[9], 2).rows.tolist() == [5, 10]
    assert_equal(store, space)
    assert space.stats() == (3000, 3, 3, 1, 0)


def test_the_same_vector_again_changes_nothing(store: MemoryStore, manager: IndexManager) -> None:
    vectors = clustered(100, DIM)
    store.put(range(1, 101), vectors)
    before = space_of(manager).stats()
    store.put(range(1, 101), vectors)
    assert space_of(manager).stats() == before


def test_rows_may_come_in_any_order_and_twice(store: MemoryStore, manager: IndexManager) -> None:
    vectors = clustered(6, DIM)
    store.put([9, 3, 7, 3, 1, 9], vectors)
    store.put([2, 8], vectors[:2])
    assert_equal(store, space_of(manager))


def test_deletes_reach_segments_tail_and_what_is_being_built(store: MemoryStore, manager: IndexManager) -> None:
    vectors = clustered(5000, DIM)
    store.put(range(1, 3001), vectors[:3000])
    space = space_of(manager)
    merge(space)
    store.put(range(3001, 5001), vectors[3000:])
    build = space.begin(
        planner.Merge((0,), exact=True), lambda graph, matrix, labels, _: graph.add_items(matrix, labels)
    )
    assert build is not None
    assert build.step(1)
    store.delete(range(1, 5001, 3))
    store.put([2, 3500], vectors[:2])
    store.put([6000], vectors[:1])
    assert_equal(store, space)
    while build.step(1):
        pass
    space.publish(build)
    assert_equal(store, space)
    assert space.stats().segments == 1
    assert space.search(vectors[0], 1).rows.tolist() == [2]


def test_an_abandoned_build_leaves_no_file_and_can_be_started_again(store: MemoryStore, manager: IndexManager) -> None:
    store.put(range(1, 3001), clustered(3000, DIM))
    space = space_of(manager)
    build = space.begin(planner.Merge((), exact=True), lambda *_: None)
    assert build is not None
    build.step(1)
    assert space.next_merge(idle=True) is None
    space.abandon(build)
    assert list(space.folder.path.iterdir()) == []
    merge(space)
    assert space.stats().segments == 1
    assert_equal(store, space)


def test_sources_with_nothing_live_are_dropped(store: MemoryStore, manager: IndexManager) -> None:
    store.put(range(1, 3001), clustered(3000, DIM))
    space = space_of(manager)
    merge(space)
    store.delete(range(1, 3001))
    merge(space, segments=[0])
    assert space.stats() == (0, 0, 0, 0, 0)
    assert space.search(clustered(1, DIM)[0], 5).plan is Plan.EMPTY


def test_cosine_uses_the_graph_only_while_all_lengths_are_one(store: MemoryStore, manager: IndexManager) -> None:
    vectors = clustered(6000, DIM)
    store.put(range(1, 6001), vectors)
    space = space_of(manager)
    merge(space)
    assert space.search(vectors[3], 5, metric=Metric.COSINE).plan is Plan.GRAPH
    store.put([7000], 2 * vectors[:1])
    assert space.search(vectors[3], 5, metric=Metric.COSINE).plan is Plan.SCAN
    assert space.search(vectors[3], 5).plan is Plan.GRAPH
    assert set(space.search(vectors[0], 2, metric=Metric.COSINE).rows.tolist()) == {1, 7000}
    store.delete([7000])
    merge(space, segments=[0])
    assert space.search(vectors[3], 5, metric=Metric.COSINE).plan is Plan.GRAPH


def test_lengths_within_the_tolerance_do_not_change_the_order(store: MemoryStore, manager: IndexManager) -> None:
    random = np.random.default_rng(3)
    vectors = clustered(6000, DIM) * random.uniform(0.9991, 1.0009, (6000, 1)).astype(np.float32)
    store.put(range(1, 6001), vectors)
    space = space_of(manager)
    merge(space)
    hits = 0
    for query in vectors[::100]:
        found = space.search(query, 10, metric=Metric.COSINE)
        assert found.plan is Plan.GRAPH
        truth, _ = store.truths[SPACE].nearest(query, 10, Metric.COSINE)
        hits += len(set(found.rows.tolist()) & set(truth.tolist()))
    assert hits >= 0.99 * 600


def test_vectors_that_are_not_finite_are_left_out(store: MemoryStore, manager: IndexManager) -> None:
    vectors = clustered(4, DIM)
    vectors[1, 2] = np.nan
    vectors[2, 0] = -np.inf
    store.put([1, 2, 3, 4], vectors)
    found = space_of(manager).search(vectors[0], 10)
    assert sorted(found.rows.tolist()) == [1, 4]
    assert np.isfinite(found.distances).all()


def test_many_identical_vectors_hide_nothing(store: MemoryStore, manager: IndexManager) -> None:
    vectors = clustered(6000, DIM)
    vectors[1000:3000] = vectors[1000]
    store.put(range(1, 6001), vectors)
    space = space_of(manager)
    merge(space)
    assert space.search(vectors[1000], 10).rows.tolist() == list(range(1001, 1011))
    found = sum(int(space.search(vectors[at], 1).rows[0]) == at + 1 for at in range(3000, 6000, 10))
    assert found >= 0.99 * 300


def test_like_vectors_written_together_are_found(tmp_path: Path) -> None:
    """Cluster after cluster: the whole answer lies in one of many graphs."""
    vectors = clustered(20_400, 32, clusters=6)
    queries, vectors = vectors[20_000:], vectors[:20_000]
    nearest = np.argsort(vectors @ vectors[0])  # neighbours in this order are neighbours in space, roughly
    vectors = vectors[nearest]
    store = MemoryStore(32)
    manager = store.open(tmp_path / "other")
    for start in range(0, 20_000, 2500):
        store.put(range(start + 1, start + 2501), vectors[start : start + 2500])
        merge(space_of(manager))
    hits = 0
    for query in queries:
        found = space_of(manager).search(query, 10)
        assert found.plan is Plan.GRAPH
        truth, _ = store.truths[SPACE].nearest(query, 10, Metric.EUCLIDEAN)
        hits += len(set(found.rows.tolist()) & set(truth.tolist()))
    assert hits >= 0.99 * 4000
    manager.close()


def test_a_wrong_dimension_is_refused(tmp_path: Path) -> None:
    space = VectorSpace(Folder(tmp_path), "s", DIM)
    with pytest.raises(ValueError, match="dimension 8"):
        space.put(np.array([1]), np.zeros((1, DIM + 1), np.float32), 1)


class Searchers:
    """Threads that search for what is known to be there, and for what is known to be gone."""

    def __init__(self, space: VectorSpace, vectors: Matrix, written: int) -> None:
        self.space = space
        self.vectors = vectors
        self.written = written
        self.deleted: list[int] = []
        self.faults: list[str] = []
        self._done = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(seed,)) for seed in range(3)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join()

    def _run(self, seed: int) -> None:
        random = np.random.default_rng(seed)
        while not self._done.is_set():
            newest, gone = self.written, self.deleted[-1:]
            for row in {newest, int(random.integers(newest)) + 1}:
                if row not in self._search(row) and row not in self.deleted:
                    self.faults.append(f"row {row} of {newest} is missing")
            self.faults += [f"row {row} came back" for row in gone if row in self._search(row)]

    def _search(self, row: int) -> list[int]:
        rows: list[int] = self.space.search(self.vectors[row - 1], 3).rows.tolist()
        return rows


def test_searches_beside_a_writer_and_a_builder_see_every_finished_write(
    store: MemoryStore, manager: IndexManager
) -> None:
    """Nothing that was written before a search began is missing from it, and nothing deleted comes back."""
    vectors = clustered(12_000, DIM)
    store.put(range(1, 2501), vectors[:2500])
    space = space_of(manager)
    searchers = Searchers(space, vectors, 2500)
    for start in range(2500, 12_000, 50):
        store.put(range(start + 1, start + 51), vectors[start : start + 50])
        searchers.written = start + 50
        if start % 100 == 0:
            store.delete([start - 1200])
            searchers.deleted.append(start - 1200)
        if start % 1000 == 0:
            merge(space, segments=range(space.stats().segments) if start % 4000 == 0 else ())
    searchers.stop()
    assert searchers.faults == []
    assert_equal(store, space)


class Histories(RuleBasedStateMachine):
    """Any history of writes, merges and restarts leaves an index that equals the truth."""

    folder: Path

    def __init__(self) -> None:
        super().__init__()
        self.store = MemoryStore(DIM)
        self.random = np.random.default_rng(1)
        self.path = self.folder / str(len(list(self.folder.iterdir())))
        self.path.mkdir()
        self.manager = self.store.open(self.path, still=True)
        self.next = 1

    @property
    def space(self) -> VectorSpace | None:
        return self.manager.space(SPACE)

    @rule(n=st.integers(1, 300))
    def write(self, n: int) -> None:
        self.store.put(range(self.next, self.next + n), self._vectors(n))
        self.next += n

    @rule(n=st.integers(1, 20))
    def replace(self, n: int) -> None:
        rows = [row for row in self._some(n) if row in self.store.truths[SPACE].vectors]
        if rows:
            self.store.put(rows, self._vectors(len(rows)))

    @rule(n=st.integers(1, 60))
    def delete(self, n: int) -> None:
        self.store.delete(self._some(n))

    @precondition(lambda self: self.space is not None)
    @rule(all_segments=st.booleans())
    def build(self, all_segments: bool) -> None:
        assert self.space is not None
        merge(self.space, segments=range(self.space.stats().segments) if all_segments else ())

    @precondition(lambda self: self.space is not None)
    @rule()
    def save(self) -> None:
        assert self.space is not None
        self.space.save(self.manager.applied)

    @rule(clean=st.booleans(), trim=st.booleans())
    def restart(self, clean: bool, trim: bool) -> None:
        if clean:
            self.manager.close()
        else:
            crash(self.manager)
        if trim:
            self.store.trimmed = self.store.committed
        self.manager = self.store.open(self.path, still=True)

    @invariant()
    def equals_the_truth(self) -> None:
        assert self.manager.applied == self.store.committed
        if self.space is not None:
            assert_equal(self.store, self.space)

    def _vectors(self, n: int) -> Matrix:
        return self.random.standard_normal((n, DIM)).astype(np.float32)

    def _some(self, n: int) -> list[int]:
        return sorted(set(self.random.integers(1, self.next + 1, n).tolist()))

    def teardown(self) -> None:
        self.manager.close()


def test_any_history(tmp_path: Path) -> None:
    Histories.folder = tmp_path
    test = Histories.TestCase
    test.settings = settings(
        max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
    )
    test("runTest").runTest()
