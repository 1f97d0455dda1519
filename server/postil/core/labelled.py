"""What is labelled with a concept, and where its examples lie: from memory, as packed sets and arrays.

The mean of a concept's examples is kept while neither its labels nor vectors of the app are replaced, since summing
ten thousand vectors costs more than all the rest of a search.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from postil.index.base import Indexes
from postil.index.catalogs import Catalogs
from postil.index.marks import WHOLE, absent, present
from postil.index.rowsets import rows_of

_KEPT = 256  # sums
_PIECE = 2048  # vectors summed at a time


class Sum(NamedTuple):
    """The sum of the vectors that a space has of some anchors."""

    number: int
    total: NDArray[np.float64]  # [dim]


class _Kept(NamedTuple):
    anchors: BitMap
    revectored: int
    sum: Sum


class Labelled:
    """Labels of every app. Thread-safe.

    Args:
        catalogs: What annotations say.
        indexes: Where vectors are read.
    """

    def __init__(self, catalogs: Catalogs, indexes: Indexes) -> None:
        self._catalogs = catalogs
        self._indexes = indexes
        self._lock = threading.Lock()
        self._kept: dict[tuple[int, int], _Kept] = {}  # (space, a concept) -> its newest sum, oldest entry first

    def with_any(self, app: int, concepts: Sequence[int]) -> BitMap:
        """The annotations labelled with any of these concepts (rows)."""
        with self._catalogs.hold(app) as catalog:
            return BitMap(catalog.any_of([present(concept) for concept in concepts]))

    def lacking(self, app: int, concept: int) -> BitMap:
        """The annotations labelled as lacking a concept."""
        with self._catalogs.hold(app) as catalog:
            return BitMap(catalog.marked(absent(concept)))

    def denied(self, app: int, concept: int) -> BitMap:
        """The input-level annotations of inputs that are labelled, as a whole and by any annotation, as lacking it."""
        with self._catalogs.hold(app) as catalog:
            return catalog.anchors_of(catalog.marked(absent(concept)) & catalog.marked(WHOLE))

    def anchors(self, app: int, rows: BitMap) -> BitMap:
        """The anchors whose vectors stand for these annotations."""
        with self._catalogs.hold(app) as catalog:
            return catalog.anchors_of(rows)

    def sum(self, app: int, space: int, concept: int, anchors: BitMap) -> Sum:
        """The vectors that a space has of these anchors, added up.

        Args:
            app: Row of the app.
            space: Row of the space.
            concept: Whose examples these are; one sum is kept for each concept.
            anchors: The examples.
        """
        with self._catalogs.hold(app) as catalog:
            applied, revectored = self._catalogs.applied, catalog.revectored
        known = self._kept.get((space, concept))
        if known is not None and known.revectored == revectored and known.anchors == anchors:
            return known.sum
        whole = self._indexes.applied >= applied  # it may be a change behind, which then is not acknowledged yet
        found = self._added_up(space, rows_of(anchors))
        if whole:
            with self._lock:
                self._kept.pop((space, concept), None)
                self._kept[space, concept] = _Kept(BitMap(anchors), revectored, found)
                while len(self._kept) > _KEPT:
                    self._kept.pop(next(iter(self._kept)))
        return found

    def _added_up(self, space: int, anchors: NDArray[np.int64]) -> Sum:
        index = self._indexes.space(space)
        if index is None:
            return Sum(0, np.zeros(0))
        count, total = 0, np.zeros(0)
        for start in range(0, len(anchors), _PIECE):
            rows, matrix = index.vectors(anchors[start : start + _PIECE])
            if len(rows):
                # In order of rows, so that the sum does not depend on how the index lies on disk.
                summed = matrix[np.argsort(rows)].sum(axis=0, dtype=np.float64)
                total = total + summed if count else summed
                count += len(rows)
        return Sum(count, total)
