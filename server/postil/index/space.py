"""One space's index: an exact tail that one writer appends to, immutable segments, and the view that searches see.

Writers (the change feed, the builder when it publishes) take the lock for a moment and end by swapping in a new
immutable view. Searches read that reference once and never wait.
"""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from postil.index import build, files, planner, search
from postil.index.base import Metric, Neighbours
from postil.index.distance import Matrix
from postil.index.part import Block, Part, Rows, Segment, members


class SpaceStats(NamedTuple):
    """What a space holds, for metrics."""

    live: int  # vectors a search can find
    dead: int  # vectors deleted or replaced, still taking room in segments
    tail: int  # vectors outside every graph
    segments: int  # graphs
    building: int  # vectors now being built into a segment


class VectorSpace:
    """Implements `SpaceIndex`.

    Args:
        folder: Where its segments are kept.
        store: Identity of the store whose vectors these are.
        dim: Numbers in a vector.
        covered: The newest change that the segments hold; older ones are ignored.
        generation: Of the manifest that was loaded.
    """

    def __init__(self, folder: files.Folder, store: str, dim: int, covered: int = 0, generation: int = 0) -> None:
        self.folder = folder
        self._store = store
        self.dim = dim
        self.covered = covered
        self.gone = False  # deleted: builds are abandoned
        self._generation = generation
        self._saved = covered
        self._restored = False  # something was read again from rows that the files should have held
        self._lock = threading.Lock()
        self._segments: list[Part] = []
        self._entries: dict[str, files.SegmentEntry] = {}
        self._saved_dead: dict[str, BitMap] = {}
        self._tail: list[Part] = []
        self._block: Block | None = None
        self._taken: dict[int, int] = {}  # id of a source -> rows being built from it
        self._last_row = 0
        self._view = search.View()

    # searching

    def search(
        self,
        query: NDArray[np.float32],
        k: int,
        *,
        metric: Metric = Metric.EUCLIDEAN,
        exact: bool = False,
        allow: BitMap | None = None,
        standing: bool = False,
    ) -> Neighbours:
        """See `SpaceIndex`. Raises ValueError for a query of another dimension, or with numbers that are not finite."""
        vector = np.ascontiguousarray(query, np.float32)
        if vector.shape != (self.dim,):
            raise ValueError(f"the query has shape {vector.shape}, the space has dimension {self.dim}")
        with np.errstate(over="ignore"):
            square = np.dot(vector, vector)
        if not math.isfinite(square) and not np.isfinite(vector).all():
            raise ValueError("the query holds a number that is not finite")
        return search.run(self._view, vector, k, metric, exact=exact, allow=allow, standing=standing)

    def measure(
        self, query: NDArray[np.float32], rows: Rows, *, metric: Metric = Metric.EUCLIDEAN
    ) -> NDArray[np.float32]:
        """See `SpaceIndex`."""
        return search.measure(self._view, np.ascontiguousarray(query, np.float32), rows, metric)

    def __len__(self) -> int:
        return self._view.shape.live

    @property
    def exact_rows(self) -> int:
        """Vectors outside every graph: what each search scans."""
        return self._view.shape.exact_rows

    def live_rows(self) -> BitMap:
        """The rows a search can find."""
        found = BitMap()
        for part in self._view.parts:
            found.update(part.rows[part.live_places()].tolist())
        return found

    def vectors(self, rows: Rows) -> tuple[Rows, Matrix]:
        """(rows, vectors) of those `rows` (int64, ascending) that are live, in no particular order."""
        held = [(part, part.find(rows)) for part in self._view.parts]
        return (
            np.concatenate([np.empty(0, np.int64), *(part.rows[at] for part, at in held)]),
            np.concatenate([np.empty((0, self.dim), np.float32), *(part.matrix[at] for part, at in held)]),
        )

    def stats(self) -> SpaceStats:
        """Counts at this moment."""
        shape = self._view.shape
        dead = shape.graph_rows + shape.exact_rows - shape.live
        return SpaceStats(shape.live, dead, shape.exact_rows, shape.graphs, sum(self._taken.copy().values()))

    # following the change feed

    def put(self, rows: Rows, matrix: Matrix, seq: int) -> None:
        """Adds vectors (int64 [n], float32 [n, dim]), replacing those whose rows are here. Changes already covered are
        ignored, and so are vectors that are here already, number for number. Raises ValueError on another dimension."""
        if seq > self.covered and len(rows):
            self._put(rows, matrix, seq)

    def restore(self, rows: Rows, matrix: Matrix) -> None:
        """Adds vectors read from the store's rows, whenever they were written: until they lie in saved segments,
        what is saved claims to cover nothing."""
        self._restored = self._restored or bool(len(rows))
        self._put(rows, matrix, 1)

    def _put(self, rows: Rows, matrix: Matrix, seq: int) -> None:
        if matrix.shape != (len(rows), self.dim):
            raise ValueError(f"vectors of shape {matrix.shape} for {len(rows)} rows of dimension {self.dim}")
        rows, matrix = _clean(rows, matrix)
        with self._lock:
            if len(rows) and rows[0] <= self._last_row:
                rows, matrix = self._replace(rows, matrix)
            if len(rows):
                self._append(rows, matrix, seq)
                self._last_row = max(self._last_row, int(rows[-1]))
            self._show()

    def delete(self, rows: Rows, seq: int) -> None:
        """Forgets these rows (int64, any order); those that are not here are ignored."""
        if seq > self.covered and len(rows):
            self.forget(rows)

    def forget(self, rows: Rows) -> None:
        """Forgets these rows, whenever they were deleted."""
        wanted = np.unique(rows)
        with self._lock:
            if len(wanted) and wanted[0] <= self._last_row:
                self._segments = [part.kill(part.find(wanted)) for part in self._segments]
                self._tail = [part.kill(part.find(wanted)) for part in self._tail]
                self._drop_empty()
                self._show()

    def _replace(self, rows: Rows, matrix: Matrix) -> tuple[Rows, Matrix]:
        """Kills the old vectors of these rows; returns what is really new."""
        new = np.ones(len(rows), np.bool_)

        def outdated(part: Part) -> Part:
            places = part.find(rows)
            at = np.searchsorted(rows, part.rows[places])
            same = (part.matrix[places] == matrix[at]).all(axis=1)
            new[at[same]] = False
            return part.kill(places[~same])

        self._segments = [outdated(part) for part in self._segments]
        self._tail = [outdated(part) for part in self._tail]
        return rows[new], matrix[new]

    def _append(self, rows: Rows, matrix: Matrix, seq: int) -> None:
        while len(rows):
            if self._block is None or self._block.count == self._block.capacity:
                previous = self._block.capacity if self._block is not None else 0
                self._block = Block.after(self.dim, previous, seq)
                self._tail.append(self._block.part())
            n = self._block.append(rows, matrix)
            self._tail[-1] = self._block.part(self._tail[-1])
            rows, matrix = rows[n:], matrix[n:]

    def _drop_empty(self) -> None:
        """Lets go of tail blocks that hold nothing live and take nothing more."""
        self._tail = [
            part for part in self._tail if part.live or part.source is self._block or id(part.source) in self._taken
        ]

    def _show(self) -> None:
        self._view = search.View.of((*self._segments, *self._tail))

    def adopt(self, part: Part, entry: files.SegmentEntry) -> None:
        """Takes in a segment that was read back from its files."""
        with self._lock:
            self._segments.append(part)
            self._entries[entry.name] = entry
            self._saved_dead[entry.name] = part.dead
            self._last_row = max(self._last_row, entry.last_row)
            self._show()

    # building; called by one thread, the builder's

    def next_merge(self, *, idle: bool) -> planner.Merge | None:
        """What should be built next, leaving out what is being built already."""
        with self._lock:
            graphs = [planner.Size(part.live, len(part)) for part in self._free_graphs()]
            exact = sum(part.live for part in self._free_exact())
        seal, cap = planner.seal_rows(self.dim), planner.segment_cap(self.dim)
        return planner.choose_merge(graphs, exact, idle=idle, seal=seal, cap=cap)

    def begin(self, merge: planner.Merge, add: build.Add) -> build.Build | None:
        """Starts building; None when nothing live is left in the sources (they are dropped)."""
        with self._lock:
            graphs = self._free_graphs()
            sources = [graphs[place] for place in merge.segments]
            if merge.exact:
                sources += self._some(self._free_exact())
            return self._begin(sources, add, with_graph=True)

    def begin_copy(self) -> build.Build | None:
        """Starts copying what lies outside the graphs, and is in memory only, into one segment without a graph."""
        with self._lock:
            if not self._tail:
                return None
            return self._begin(self._free_exact(), build.add, with_graph=False)

    def _begin(self, sources: list[Part], add: build.Add, *, with_graph: bool) -> build.Build | None:
        if any(part.source is self._block for part in sources):
            self._block = None  # what comes next goes into another block
        if not sum(part.live for part in sources):
            self._discard(sources)
            self._show()
            return None
        self._generation += 1
        started = build.Build(self.folder, f"{self._generation:08d}", sources, self.dim, with_graph=with_graph, add=add)
        self._taken.update((id(part.source), part.live) for part in sources)
        return started

    def publish(self, done: build.Build) -> None:
        """Puts a finished build in the place of its sources. What died meanwhile is dead in it too."""
        segment, entry = done.finish()
        part = segment.part()
        with self._lock:
            now = {id(held.source): held for held in (*self._segments, *self._tail)}
            for source in done.sources:
                died = now[id(source.source)].dead - source.dead
                if died:
                    part = part.kill(part.find(np.unique(source.rows[members(died)])))
            self._discard(done.sources)
            self._segments.append(part)
            self._entries[segment.name] = entry
            done.published = True
            self._release(done)
            self._show()

    def abandon(self, started: build.Build) -> None:
        """Gives a build up; its sources stay as they are."""
        started.abandon()
        with self._lock:
            self._release(started)

    def _release(self, started: build.Build) -> None:
        for source in started.sources:
            self._taken.pop(id(source.source), None)

    def _discard(self, sources: Iterable[Part]) -> None:
        drop = {id(part.source) for part in sources}
        self._segments = [part for part in self._segments if id(part.source) not in drop]
        self._tail = [part for part in self._tail if id(part.source) not in drop]

    def _free_graphs(self) -> list[Part]:
        return [part for part in self._segments if part.graph is not None and id(part.source) not in self._taken]

    def _free_exact(self) -> list[Part]:
        parts = [part for part in self._segments if part.graph is None]
        return [part for part in (*parts, *self._tail) if id(part.source) not in self._taken]

    def _some(self, parts: list[Part]) -> list[Part]:
        """The first parts, up to about the size at which a tail is built: after a crash there may be many more, and
        small graphs are built faster."""
        limit = planner.seal_rows(self.dim) * 5 // 4
        rows = 0
        for count, part in enumerate(parts):
            rows += part.live
            if rows > limit and count:
                return parts[:count]
        return parts

    # persistence; called by one thread at a time

    def lag(self, applied: int) -> int:
        """How many changes a restart would have to replay; all that ever were, when it would have to read rows."""
        return sys.maxsize if self._restored else applied - self._saved

    def save(self, applied: int) -> None:
        """Writes the manifest. `applied` is a change number read before the call, all of which is in this space."""
        with self._lock:
            parts = list(self._segments)
            waiting = [part.source.since - 1 for part in self._tail if isinstance(part.source, Block)]
            self._generation += 1
            generation = self._generation
        covered = min([applied, *waiting])
        entries = tuple(self._entry(part, generation) for part in parts)
        self.folder.save(files.Manifest(self._store, generation, self.dim, covered, entries))
        self._entries = {entry.name: entry for entry in entries}
        self._saved = covered
        if covered:
            self._restored = False

    def _entry(self, part: Part, generation: int) -> files.SegmentEntry:
        """A segment's entry, with its deleted places written anew when they have changed."""
        name = part.source.name if isinstance(part.source, Segment) else ""
        entry = self._entries[name]
        if part.dead != self._saved_dead.get(name, BitMap()):
            entry = replace(entry, deletes=build.write_deletes(self.folder, entry, generation, part.dead))
            self._saved_dead[name] = part.dead
        return entry


def _clean(rows: Rows, matrix: Matrix) -> tuple[Rows, Matrix]:
    """Distinct rows in ascending order, the last vector of each; vectors that are not finite cannot be compared, and
    are left out (core refuses them long before)."""
    finite = np.isfinite(matrix).all(axis=1)
    if not finite.all():
        rows, matrix = rows[finite], matrix[finite]
    if len(rows) < 2 or bool((rows[1:] > rows[:-1]).all()):
        return rows, matrix
    distinct, last = np.unique(rows[::-1], return_index=True)
    return distinct, matrix[::-1][last]
