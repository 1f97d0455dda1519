"""The parts a space's vectors lie in, as a search sees them: immutable snapshots of tail blocks and of segments.

A `Block` is memory that one writer appends to; a `Segment` is files and, when it is large enough, a graph. A `Part`
is either of them at one moment: how many rows count, and which of those are dead. Searches hold parts and nothing
else, so that appending, deleting and building never disturb them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from postil.index.distance import Floats, Matrix, Spread, squares
from postil.index.standing import Standing

if TYPE_CHECKING:
    import hnswlib

Rows = NDArray[np.int64]
Places = NDArray[np.int64]
Mask = NDArray[np.bool_]

_BLOCK_BYTES = 4 << 20
_FIRST_BLOCK_ROWS = 64


class Block:
    """A fixed stretch of the tail: rows are appended by one writer and never change afterwards.

    Args:
        dim: Numbers in a vector.
        rows: Capacity.
        since: The change sequence of the first row put in it.
    """

    __slots__ = ("capacity", "count", "lengths", "matrix", "rows", "since", "sorted", "spread")

    def __init__(self, dim: int, rows: int, since: int) -> None:
        self.capacity = rows
        self.count = 0
        self.since = since
        self.rows: Rows = np.empty(rows, np.int64)
        self.matrix: Matrix = np.empty((rows, dim), np.float32)
        self.lengths = np.empty(rows, np.float32)
        self.spread = Spread()
        self.sorted = True

    @classmethod
    def after(cls, dim: int, previous: int, since: int) -> Block:
        """A block for a tail whose last block had `previous` rows: small tails stay small."""
        limit = max(16, _BLOCK_BYTES // (4 * dim))
        return cls(dim, min(limit, max(_FIRST_BLOCK_ROWS, 2 * previous)), since)

    def append(self, rows: Rows, matrix: Matrix) -> int:
        """Copies in as many as fit; returns how many."""
        n = min(len(rows), self.capacity - self.count)
        at = slice(self.count, self.count + n)
        self.rows[at] = rows[:n]
        self.matrix[at] = matrix[:n]
        self.lengths[at] = squares(self.matrix[at])
        self.spread = self.spread.join(Spread.of(self.lengths[at]))
        ordered = self.rows[max(0, at.start - 1) : at.stop]
        self.sorted = self.sorted and bool((ordered[1:] > ordered[:-1]).all())
        self.count += n
        return n

    def part(self, was: Part | None = None) -> Part:
        """The rows so far; `was` is the part shown before, whose dead rows stay dead."""
        n = self.count
        part = Part(
            self, self.rows[:n], self.matrix[:n], self.lengths[:n], self.spread, None, self.sorted, BitMap(), None
        )
        return part.kill(members(was.dead)) if was is not None and was.dead else part


class Graph(NamedTuple):
    """HNSW over the distinct vectors of a segment; labels are places.

    Many identical vectors link to nothing but each other and hide what lies behind them, so only the first of them is
    in the graph, and brings the others along when it is found.
    """

    index: hnswlib.Index
    copies: NDArray[np.int64]  # [m, 2]: (place of the first, place of another), ascending

    @classmethod
    def of(cls, index: hnswlib.Index, copies: NDArray[np.int64]) -> Graph:
        """With the copies put in order."""
        return cls(index, copies[np.lexsort((copies[:, 1], copies[:, 0]))])

    def __len__(self) -> int:
        return int(self.index.get_current_count())

    def with_copies(self, places: Places, near: Floats) -> tuple[Places, Floats]:
        """The places found in the graph and their distances, with those of identical vectors added."""
        firsts = self.copies[:, 0]
        start, stop = np.searchsorted(firsts, places), np.searchsorted(firsts, places, side="right")
        found = np.flatnonzero(stop > start)
        if not len(found):
            return places, near
        spans = [self.copies[start[at] : stop[at], 1] for at in found.tolist()]
        counts = [len(span) for span in spans]
        return np.concatenate([places, *spans]), np.concatenate([near, np.repeat(near[found], counts)])


class Segment:
    """Vectors in ascending order of row, written once: raw files, and a graph over them when there are enough.

    Args:
        name: Its file stem.
        rows: int64 [n], ascending.
        matrix: float32 [n, dim], usually mapped from its file.
        lengths: float32 [n], squared lengths.
        graph: Over `matrix`, or None.
    """

    __slots__ = ("graph", "lengths", "matrix", "name", "rows", "spread", "standing")

    def __init__(self, name: str, rows: Rows, matrix: Matrix, lengths: Floats, graph: Graph | None) -> None:
        self.name = name
        self.rows = rows
        self.matrix = matrix
        self.lengths = lengths
        self.graph = graph
        self.spread = Spread.of(lengths)
        self.standing = Standing()

    def part(self, dead: BitMap | None = None) -> Part:
        """All rows, less the dead places."""
        part = Part(self, self.rows, self.matrix, self.lengths, self.spread, self.graph, True, BitMap(), None)
        return part.kill(members(dead)) if dead else part


@dataclass(frozen=True, slots=True)
class Part:
    """One block or segment at one moment. `dead` holds places; `alive` is the same as a mask, None when all live."""

    source: Block | Segment
    rows: Rows
    matrix: Matrix
    lengths: Floats
    spread: Spread
    graph: Graph | None
    in_order: bool
    dead: BitMap  # never changed in place
    alive: Mask | None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def live(self) -> int:
        """Rows that count."""
        return len(self.rows) - len(self.dead)

    def kill(self, places: Places) -> Part:
        """The same part with these places dead."""
        if not len(places):
            return self
        alive = np.ones(len(self.rows), np.bool_) if self.alive is None else self.alive.copy()
        alive[places] = False
        return replace(self, dead=self.dead | BitMap(places.tolist()), alive=alive)

    def find(self, rows: Rows) -> Places:
        """Live places of those `rows` (int64, ascending, distinct) that lie here, in ascending order of place."""
        if not len(rows) or not len(self.rows):
            return np.empty(0, np.int64)
        if self.in_order:
            places = self._find_in_order(rows)
        else:
            at = np.minimum(np.searchsorted(rows, self.rows), len(rows) - 1)
            places = np.flatnonzero(rows[at] == self.rows)
        return places if self.alive is None else places[self.alive[places]]

    def _find_in_order(self, rows: Rows) -> Places:
        mine = self.rows
        rows = rows[np.searchsorted(rows, mine[0]) : np.searchsorted(rows, mine[-1], side="right")]
        if not len(rows):
            return np.empty(0, np.int64)
        if len(rows) <= len(mine):
            places: Places = np.searchsorted(mine, rows)
        else:
            at = np.minimum(np.searchsorted(rows, mine), len(rows) - 1)
            places = np.arange(len(mine))
            rows = rows[at]
        found: Places = places[mine[places] == rows]
        return found

    def live_places(self) -> Places:
        """int64 places of the rows that count, ascending."""
        return np.arange(len(self.rows)) if self.alive is None else np.flatnonzero(self.alive)


def members(numbers: BitMap) -> NDArray[np.int64]:
    """A bitmap's rows or places as int64, ascending."""
    found: NDArray[np.int64] = np.asarray(numbers.to_array(), dtype=np.int64)
    return found
