"""A store in memory that has what an index needs, an oracle that searches by brute force, and clustered vectors."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from postil.index.base import Metric
from postil.index.build import add
from postil.index.manager import IndexManager
from postil.index.planner import Merge
from postil.index.space import VectorSpace
from postil.store.base import Change, Corrupt, Matrix, Rows, SpaceRecord, Store, TooOld, Vectors

APP, SPACE = 1, 1


def clustered(n: int, dim: int, seed: int = 7, clusters: int = 40) -> Matrix:
    """float32 [n, dim] of unit length: Zipf-sized clusters with a power-law spectrum, rotated at random."""
    random = np.random.default_rng(seed)
    spectrum = np.arange(1, dim + 1) ** -0.5
    rotation = np.linalg.qr(random.standard_normal((dim, dim)))[0]
    weights = 1 / np.arange(1, clusters + 1)
    labels = random.choice(clusters, n, p=weights / weights.sum())
    centres = random.standard_normal((clusters, dim)) * spectrum
    matrix = (centres[labels] + random.standard_normal((n, dim)) * spectrum) @ rotation
    return cast("Matrix", (matrix / np.linalg.norm(matrix, axis=1, keepdims=True)).astype(np.float32))


def distances(query: Matrix, matrix: Matrix, metric: Metric) -> NDArray[np.float32]:
    """The definition, in float64, rounded at the end."""
    q, x = query.astype(np.float64), matrix.astype(np.float64)
    with np.errstate(over="ignore"):
        if metric is Metric.EUCLIDEAN:
            return cast("NDArray[np.float32]", ((x - q) ** 2).sum(axis=1).astype(np.float32))
        lengths = np.linalg.norm(x, axis=1) * np.linalg.norm(q)
        cosine = np.divide(x @ q, lengths, out=np.zeros(len(x)), where=lengths > 0)
        return cast("NDArray[np.float32]", (1 - cosine).astype(np.float32))


class Truth:
    """What an index should hold: row -> vector."""

    def __init__(self) -> None:
        self.vectors: dict[int, Matrix] = {}
        self._sorted: tuple[Rows, Matrix] | None = None

    def update(self, rows: Iterable[int], matrix: Matrix) -> None:
        self.vectors.update(zip(rows, matrix, strict=True))
        self._sorted = None

    def remove(self, rows: Iterable[int]) -> None:
        for row in rows:
            self.vectors.pop(row, None)
        self._sorted = None

    def arrays(self) -> tuple[Rows, Matrix]:
        """(rows ascending, their vectors)."""
        if self._sorted is None:
            rows = sorted(self.vectors)
            matrix = np.stack([self.vectors[row] for row in rows]) if rows else np.empty((0, 0), np.float32)
            self._sorted = np.array(rows, np.int64), matrix
        return self._sorted

    def nearest(self, query: Matrix, k: int, metric: Metric, allow: BitMap | None = None) -> tuple[Rows, Any]:
        """(rows, float32 distances) of the k nearest, by (distance, row)."""
        rows, matrix = self.arrays()
        if allow is not None:
            keep = np.isin(rows, np.array(allow.to_array()))
            rows, matrix = rows[keep], matrix[keep]
        if not len(rows):
            return rows, np.empty(0, np.float32)
        near = distances(query, matrix, metric)
        order = np.lexsort((rows, near))[:k]
        return rows[order], near[order]


class MemoryStore:
    """The part of `Store` that an index follows, one app, any number of spaces."""

    def __init__(self, dim: int = 8, identity: str = "a" * 32) -> None:
        self.identity = identity
        self.truths: dict[int, Truth] = {SPACE: Truth()}
        self.dims = {SPACE: dim}
        self.corrupt: set[int] = set()
        self.scans = 0
        self.trimmed = 0
        self._log: list[tuple[tuple[tuple[int, list[int]], ...], list[int], tuple[int, ...]]] = []
        self._consumers: list[Callable[[Change], None]] = []
        self._lock = threading.Lock()

    # writing

    def put(self, rows: Iterable[int], matrix: Matrix, space: int = SPACE) -> None:
        given = list(rows)
        matrix = np.ascontiguousarray(matrix, np.float32)
        self.dims.setdefault(space, matrix.shape[1])
        truth = self.truths.setdefault(space, Truth())
        truth.update(given, matrix)
        self._commit(((space, given),), [], (), (Vectors(space, np.array(given, np.int64), matrix),))

    def delete(self, rows: Iterable[int]) -> None:
        given = list(rows)
        for truth in self.truths.values():
            truth.remove(given)
        self._commit((), given, (), ())

    def drop(self, space: int) -> None:
        del self.truths[space], self.dims[space]
        self._commit((), [], (space,), ())

    def _commit(
        self,
        put: tuple[tuple[int, list[int]], ...],
        gone: list[int],
        spaces_gone: tuple[int, ...],
        vectors: tuple[Vectors, ...],
    ) -> None:
        with self._lock:
            self._log.append((put, gone, spaces_gone))
            none = np.empty(0, np.int64)
            change = Change(len(self._log), APP, none, np.array(gone, np.int64), vectors, spaces_gone)
            for consumer in self._consumers:
                consumer(change)

    # what the index asks for

    @property
    def committed(self) -> int:
        return len(self._log)

    def subscribe(self, consumer: Callable[[Change], None]) -> int:
        with self._lock:
            self._consumers.append(consumer)
            return len(self._log)

    def changes(self, since: int) -> Iterator[Change]:
        if since < self.trimmed or since > len(self._log):
            raise TooOld(f"{since} of {len(self._log)}")
        for seq in range(since + 1, len(self._log) + 1):
            put, gone, spaces_gone = self._log[seq - 1]
            present = (self.vectors(space, rows) for space, rows in put if space in self.truths)
            none = np.empty(0, np.int64)
            yield Change(
                seq, APP, none, np.array(gone, np.int64), tuple(v for v in present if len(v.rows)), spaces_gone
            )

    def read(self) -> MemoryStore:
        return self

    def all_spaces(self) -> list[SpaceRecord]:
        return [SpaceRecord(row, APP, str(row), "", "client", dim, unit=False) for row, dim in self.dims.items()]

    def vectors(self, space: int, rows: Sequence[int]) -> Vectors:
        held = self.truths[space].vectors
        found = sorted(row for row in rows if row in held)
        if self.corrupt.intersection(found):
            raise Corrupt(f"{self.corrupt}")
        matrix = np.stack([held[row] for row in found]) if found else np.empty((0, self.dims[space]), np.float32)
        return Vectors(space, np.array(found, np.int64), matrix)

    def scan_vectors(self, space: int, after_row: int, limit: int) -> Vectors:
        self.scans += 1
        rows = sorted(row for row in self.truths[space].vectors if row > after_row)
        return self.vectors(space, rows[:limit])

    def count_vectors(self, space: int) -> int:
        return len(self.truths[space].vectors)

    def vector_rows(self, space: int) -> list[int]:
        return sorted(self.truths[space].vectors)

    def damaged_vectors(self, space: int, rows: Sequence[int] | None = None) -> list[int]:
        return sorted(self.corrupt.intersection(self.truths[space].vectors if rows is None else rows))

    # opening an index over it

    def open(self, path: Path, idle_s: float = 3600.0, *, still: bool = False) -> IndexManager:
        """A started manager; by default it only builds tails that are overdue, and what a restart had to read again.

        Args:
            path: Its folder.
            idle_s: See `IndexManager`.
            still: Nothing is built or saved but by the test, which may then do both itself.
        """
        self._consumers.clear()  # as after a restart
        manager = IndexManager(path, cast("Store", self), idle_s)
        if still:
            manager._builder._closing.set()
        manager.start()
        return manager


def crash(manager: IndexManager) -> None:
    """The process dies: nothing more is built, nothing is saved."""
    manager._builder.close(10)


def merge(space: VectorSpace, *, segments: Sequence[int] = (), exact: bool = True) -> None:
    """Builds the tail, and these segments, into one segment now."""
    build = space.begin(Merge(tuple(segments), exact), add)
    if build is not None:
        while build.step(1):
            pass
        space.publish(build)


def space_of(manager: IndexManager, row: int = SPACE) -> VectorSpace:
    space = manager.space(row)
    assert space is not None
    return space


def folder_of(path: Path) -> Path:
    return path / str(SPACE)


def check(manager: IndexManager, store: MemoryStore) -> VectorSpace:
    """The index equals the rows, and a search finds what is near."""
    space = space_of(manager)
    rows, matrix = store.truths[SPACE].arrays()
    assert list(space.live_rows()) == rows.tolist()
    for at in range(0, len(rows), max(1, len(rows) // 7)):
        found = space.search(matrix[at], 10, exact=True)
        truth, near = store.truths[SPACE].nearest(matrix[at], 10, Metric.EUCLIDEAN)
        assert found.rows.tolist() == truth.tolist()
        np.testing.assert_allclose(found.distances, near, atol=1e-6)
        assert space.search(matrix[at], 1).distances[0] == 0
    return space
