"""What one segment holds nearest to queries that are asked again and again: the weight vectors of trained heads.

Such a query points where no vectors lie, so a graph finds its nearest only by looking at a large part of the segment;
but it stays the same until somebody trains again, and a segment never changes. So the first search by it compares with
the whole segment, keeps the nearest of it, and the later ones read them: exact, and cheaper than a walk.
"""

from __future__ import annotations

import threading
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from postil.index.distance import Floats, Query

LENGTH = 4096  # vectors kept of a segment for one query, 32 KiB
QUERIES = 256  # that one segment keeps something for; the oldest goes


class Nearest(NamedTuple):
    """Places in one segment, dead ones included, nearest first. What is left out is no nearer than `reach`."""

    places: NDArray[np.int32]
    distances: Floats
    reach: float


class Standing:
    """Of one segment. Thread-safe: two searches may find the same thing at once, and one of them is kept."""

    __slots__ = ("_gate", "_kept")

    def __init__(self) -> None:
        self._gate = threading.Lock()
        self._kept: dict[bytes, Nearest] = {}

    def get(self, query: Query) -> Nearest | None:
        """What is kept for the query."""
        return self._kept.get(query.key)

    def keep(self, query: Query, distances: Floats) -> Nearest:
        """Keeps the nearest for the query; `distances` float32 [n] are those of all places."""
        reach = np.inf
        best = np.arange(len(distances))
        if len(distances) > LENGTH:
            best = np.argpartition(distances, LENGTH)
            reach, best = float(distances[best[LENGTH]]) - 2.0 * query.slack, best[:LENGTH]
        best = best[np.lexsort((best, distances[best]))]
        found = Nearest(best.astype(np.int32), distances[best], float(reach))
        with self._gate:
            self._kept[query.key] = found
            while len(self._kept) > QUERIES:
                self._kept.pop(next(iter(self._kept)))
        return found
