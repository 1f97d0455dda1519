"""Turns parts into one new segment, a step at a time, so that the builder can put something more urgent between.

A step reads the next live rows of the sources in order of row, appends them to the new files, and adds them to the
graph. Nothing is visible until `finish`; an abandoned build leaves temporary files that the next manifest sweeps away.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import mmap
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import hnswlib
import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from postil.index.distance import Matrix, squares
from postil.index.files import Damaged, FileEntry, Folder, SegmentEntry
from postil.index.part import Graph, Part, Rows, Segment

# HNSW's degree and construction width, by measurement: docs/adr/0004-index-segments.md.
DEGREE = 16
WIDTH_SMALL = 140
WIDTH_LARGE = 200
_SMALL_ROWS = 16384
# Rows added per step and thread: tens of milliseconds, so that closing and urgent work need not wait, also when the
# low priority makes them ten times as long.
_STEP_ROWS = 128
# Rows without a graph are only copied.
_COPY_ROWS = 4096
_SEED = 7

Add = Callable[[hnswlib.Index, Matrix, NDArray[np.int64], int], None]


def add(graph: hnswlib.Index, matrix: Matrix, labels: NDArray[np.int64], threads: int) -> None:
    """Adds to a graph in the calling thread; Python's lock is not held meanwhile."""
    graph.add_items(matrix, labels, num_threads=threads)


class Build:
    """One segment in the making.

    Args:
        folder: Where its files go.
        name: Its file stem, not used before.
        sources: Parts as they are now; their live rows are taken.
        dim: Numbers in a vector.
        with_graph: Build a graph, or only files that are scanned.
        add: Adds vectors to a graph; the builder may do so at low priority.

    Attributes:
        sources: As given; `finish` needs to know which rows died meanwhile.
        rows: int64 [n], the rows taken, ascending.
    """

    def __init__(
        self, folder: Folder, name: str, sources: Sequence[Part], dim: int, *, with_graph: bool, add: Add
    ) -> None:
        self.sources = tuple(sources)
        self.name = name
        self._folder = folder
        self._dim = dim
        self._add = add
        places = [part.live_places() for part in sources]
        rows = np.concatenate([part.rows[at] for part, at in zip(sources, places, strict=True)])
        order = np.argsort(rows, kind="stable")
        self.rows: Rows = rows[order]
        self._origin = np.repeat(np.arange(len(places)), [len(at) for at in places])[order]
        self._places = np.concatenate(places)[order]
        self._lengths = np.empty(len(rows), np.float32)
        self._graph = self._new_graph() if with_graph else None
        self._met: dict[bytes, int] = {}  # digest of a vector -> its first place
        self._copies: list[tuple[int, int]] = []
        self._scratch = folder.scratch(f"{name}.f32")
        self._out: BinaryIO = self._scratch.open("wb")
        self.done = 0
        self.published = False  # a search can see it: its files must stay

    def _new_graph(self) -> hnswlib.Index:
        graph = hnswlib.Index("l2", self._dim)
        width = WIDTH_SMALL if len(self.rows) <= _SMALL_ROWS else WIDTH_LARGE
        graph.init_index(len(self.rows), DEGREE, width, random_seed=_SEED)
        return graph

    def step(self, threads: int) -> bool:
        """Adds the next rows; False when there are none left."""
        count = _COPY_ROWS if self._graph is None else _STEP_ROWS * threads
        at = slice(self.done, min(len(self.rows), self.done + count))
        if at.start >= at.stop:
            return False
        matrix = self._read(at)
        self._lengths[at] = squares(matrix)
        self._out.write(matrix.data)
        if self._graph is not None:
            first = self._first_of_their_kind(matrix, at.start)
            if len(first):
                self._add(self._graph, matrix[first], at.start + first, threads)
        self.done = at.stop
        return True

    def _first_of_their_kind(self, matrix: Matrix, start: int) -> NDArray[np.int64]:
        """Which of these rows, at places from `start` on, hold a vector not met before; notes the others."""
        first = []
        for at, vector in enumerate(matrix):
            place = self._met.setdefault(hashlib.blake2b(vector, digest_size=16).digest(), start + at)
            if place == start + at:
                first.append(at)
            else:
                self._copies.append((place, start + at))
        return np.array(first, np.int64)

    def _read(self, at: slice) -> Matrix:
        origin, places = self._origin[at], self._places[at]
        matrix = np.empty((len(places), self._dim), np.float32)
        for source in np.unique(origin):
            mine = origin == source
            matrix[mine] = self.sources[source].matrix[places[mine]]
        return matrix

    def abandon(self) -> None:
        """Gives up, and takes its files away. Does nothing once published."""
        with contextlib.suppress(OSError):  # what it still held has no room on the disk
            self._out.close()
        if not self.published:
            for path in self._folder.path.glob(f"{self.name}.*"):
                path.unlink(missing_ok=True)

    def finish(self) -> tuple[Segment, SegmentEntry]:
        """Makes the files durable. The segment's graph is the one just built: it is not read back."""
        self._out.close()
        folder, name = self._folder, self.name
        vectors = folder.adopt(self._scratch, f"{name}.f32")
        rows = folder.write(f"{name}.i64", lambda out: out.write(self.rows.astype("<i8").data))
        lengths = folder.write(f"{name}.len", lambda out: out.write(self._lengths.astype("<f4").data))
        entry = SegmentEntry(name, len(self.rows), int(self.rows[0]), int(self.rows[-1]), rows, vectors, lengths)
        graph = None
        if self._graph is not None:
            graph = Graph.of(self._graph, np.array(self._copies, np.int64).reshape(-1, 2))
            entry = self._save_graph(graph, entry)
        matrix = map_matrix(folder.path / vectors.name, len(self.rows), self._dim)
        return Segment(name, self.rows, matrix, self._lengths, graph), entry

    def _save_graph(self, graph: Graph, entry: SegmentEntry) -> SegmentEntry:
        scratch = self._folder.scratch(f"{self.name}.hnsw")
        graph.index.save_index(str(scratch))
        if scratch.stat().st_size != graph.index.index_file_size():  # it does not tell when the disk refuses
            raise OSError(errno.ENOSPC, "the graph was not written in full", str(scratch))
        saved = self._folder.adopt(scratch, f"{self.name}.hnsw")
        copies = None
        if len(graph.copies):
            copies = self._folder.write(f"{self.name}.same", lambda out: out.write(graph.copies.astype("<i8").data))
        return replace(entry, graph=saved, copies=copies)


def map_matrix(path: Path, count: int, dim: int) -> Matrix:
    """float32 [count, dim] over a file, read-only; pages are read when touched and can be dropped again."""
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return np.frombuffer(mapped, "<f4").reshape(count, dim)


def write_deletes(folder: Folder, entry: SegmentEntry, generation: int, dead: BitMap) -> FileEntry:
    """Saves which places of a segment are dead."""
    return folder.write(f"{entry.name}-{generation:08d}.dead", lambda out: out.write(dead.serialize()))


def load(folder: Folder, entry: SegmentEntry, dim: int) -> Part:
    """Reads a segment back, after every checksum held. Raises `Damaged`."""
    folder.verify(entry.files())
    if entry.vectors.length != entry.count * dim * 4 or entry.rows.length != entry.count * 8 or not entry.count:
        raise Damaged(f"{folder.path / entry.name}: {entry.count} rows of {dim} numbers do not fit its files")
    rows = np.fromfile(folder.path / entry.rows.name, "<i8").astype(np.int64, copy=False)
    lengths = np.fromfile(folder.path / entry.lengths.name, "<f4").astype(np.float32, copy=False)
    matrix = map_matrix(folder.path / entry.vectors.name, entry.count, dim)
    graph = None if entry.graph is None else _load_graph(folder, entry, entry.graph, dim)
    dead = BitMap() if entry.deletes is None else BitMap.deserialize((folder.path / entry.deletes.name).read_bytes())
    if dead and dead.max() >= entry.count:
        raise Damaged(f"{folder.path / entry.name}: a deleted place lies outside")
    return Segment(entry.name, rows, matrix, lengths, graph).part(dead)


def _load_graph(folder: Folder, entry: SegmentEntry, file: FileEntry, dim: int) -> Graph:
    path = folder.path / file.name
    copies = np.empty(0, np.int64) if entry.copies is None else np.fromfile(folder.path / entry.copies.name, "<i8")
    index = hnswlib.Index("l2", dim)
    try:
        index.load_index(os.fspath(path))
    except RuntimeError as error:
        raise Damaged(f"{path} is not a graph: {error}") from error
    graph = Graph(index, copies.astype(np.int64, copy=False).reshape(-1, 2))
    if len(graph) + len(graph.copies) != entry.count:
        raise Damaged(f"{path} holds {len(graph)} vectors and {len(graph.copies)} copies, not {entry.count}")
    return graph
