"""The short way of a search: near to one point, over everything. Hits in their final order, read a little at a time.

Ties go to the older anchor, then to the older annotation. What filters, labels or several ranks have a say in is put in
order by `ranking.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from postil.core import scores
from postil.core.hit_reader import HitReader, Scored
from postil.core.query import Query
from postil.core.targets import WIDE, Point
from postil.index.base import Indexes, Metric, Neighbours, Plan, SpaceIndex
from postil.store.base import TooMuch

_GROWTH = 4
_SHRINK = 8
_READ = 512  # anchors or annotations read at a time


class Near(NamedTuple):
    """Neighbours in order, best first."""

    anchors: NDArray[np.int64]  # [n]
    scores: NDArray[np.float32]  # [n]
    complete: bool  # nothing follows that could be a hit


NOTHING = Near(np.empty(0, np.int64), np.empty(0, np.float32), complete=True)


def nearest(
    indexes: Indexes, point: Point, query: Query, k: int, *, flip: bool, observe: Callable[[Plan], None]
) -> Near:
    """The k best anchors around the point, without those below `query.min_value`."""
    index = indexes.space(point.space.row)
    if index is None:
        return NOTHING
    metric = Metric.EUCLIDEAN if point.space.unit else query.metric  # alike on unit vectors: one graph serves both
    if not flip:
        found = index.search(point.vector, k, metric=metric, exact=query.exact)
        values = scores.scores(found.distances, metric, unit=point.space.unit)
    elif point.space.unit or metric is Metric.COSINE:
        # cos(-q, x) = -cos(q, x): what is nearest to the opposite is farthest, and its score is 1 - s
        found = index.search(-point.vector, max(k, WIDE), metric=metric, exact=query.exact)
        values = scores.scores(found.distances, metric, unit=point.space.unit)
    else:
        found = _all(index, point, metric)
        values = 1.0 - scores.scores(found.distances, metric, unit=False)
    observe(found.plan)
    # Distances that differ may give one score, and then the older anchor comes first.
    order = np.lexsort((found.rows, -values))[:k]
    anchors, values = found.rows[order], values[order]
    if query.min_value <= 0.0:
        return Near(anchors, values, complete=len(values) < k)
    good = int(np.count_nonzero(values >= query.min_value))  # they are sorted: a prefix
    return Near(anchors[:good], values[:good], complete=good < len(values) or len(values) < k)


def _all(index: SpaceIndex, point: Point, metric: Metric) -> Neighbours:
    """Everything: the farthest among vectors of any length can only be found by looking at all."""
    return index.search(point.vector, max(1, len(index)), metric=metric, exact=True)


class Candidates:
    """Hits near a point in order, read when they are asked for.

    Args:
        reader: Of the app.
        near: Where they are.
        wanted: How many hits will be taken, about.
        alone: Give only the oldest annotation of each anchor, not all.
    """

    def __init__(self, reader: HitReader, near: Near, wanted: int, *, alone: bool) -> None:
        self._reader = reader
        self._near = near
        # No more anchors at a time than that takes: each may stand for a thousand annotations.
        self._chunk = min(wanted if alone else math.ceil(wanted / reader.crowd()), _READ)
        self._alone = alone

    def __iter__(self) -> Iterator[Scored]:
        return chain.from_iterable(self._chunks())

    def _chunks(self) -> Iterator[list[Scored]]:
        anchors: list[int] = self._near.anchors.tolist()
        values: list[float] = self._near.scores.tolist()
        start = 0
        while part := anchors[start : start + self._chunk]:
            try:
                found = self._reader.of_anchors(part, alone=self._alone)
            except TooMuch:  # hits before the page are read to be passed over: fewer of them at a time
                if self._chunk == 1:
                    raise
                self._chunk = max(1, self._chunk // _SHRINK)
                continue
            yield [
                Scored(score, hit)
                for anchor, score in zip(part, values[start : start + len(part)], strict=True)
                for hit in found.get(anchor, ())
            ]
            start += len(part)


def one_per_input(hits: Iterator[Scored]) -> Iterator[Scored]:
    """Keeps each input's first, and so best, hit."""
    seen: set[int] = set()
    for scored in hits:
        if scored.hit.input not in seen:
            seen.add(scored.hit.input)
            yield scored


def grown(k: int) -> int:
    """How many neighbours to ask for when k gave too few hits."""
    return k * _GROWTH
