"""From a target to hits in their final order, read from the store a little at a time.

The order is: labelled best (score 1, oldest first), then neighbours by score, then labelled worst (score 0). Ties
among neighbours go to the older anchor, then to the older annotation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from postil.core import scores
from postil.core.hit_reader import HitReader, Scored
from postil.core.query import Query
from postil.core.targets import Point, Target
from postil.index.base import Indexes, Metric, Neighbours, Plan, SpaceIndex

_BAND = 10  # neighbours; the index searches one list for all k of a band (index/planner.py)
_GROWTH = 4
_READ = 512  # anchors or annotations read at a time


class Near(NamedTuple):
    """Neighbours in order, best first."""

    anchors: NDArray[np.int64]  # [n]
    scores: NDArray[np.float32]  # [n]
    complete: bool  # nothing follows that could be a hit


NOTHING = Near(np.empty(0, np.int64), np.empty(0, np.float32), complete=True)


def band(wanted: int) -> int:
    """The smallest of 10, 20, 40, ... that holds `wanted` neighbours. The pages of a search that share a band are cut
    from one list."""
    size = _BAND
    while size < wanted:
        size *= 2
    return size


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
        found = index.search(-point.vector, k, metric=metric, exact=query.exact)
        values = scores.scores(found.distances, metric, unit=point.space.unit)
    else:
        found = _all(index, point, metric)
        values = 1.0 - scores.scores(found.distances, metric, unit=False)
    observe(found.plan)
    order = np.lexsort((found.rows, -values))[:k]
    anchors, values = found.rows[order], values[order]
    good = int(np.count_nonzero(values >= query.min_value))  # they are sorted: a prefix
    return Near(anchors[:good], values[:good], complete=good < len(values) or len(values) < k)


def _all(index: SpaceIndex, point: Point, metric: Metric) -> Neighbours:
    """Everything: the farthest among vectors of any length can only be found by looking at all."""
    return index.search(point.vector, max(1, len(index)), metric=metric, exact=True)


class Candidates:
    """Hits of a target in order, found with a given number of neighbours.

    Iterating a second time starts over. `complete` tells, after an iteration that ran out, whether more neighbours
    would have given more hits.
    """

    def __init__(
        self, reader: HitReader, target: Target, query: Query, near: Callable[[Point], Near], count: int, chunk: int
    ) -> None:
        self._reader = reader
        self._target = target
        self._min_value = query.min_value
        self._near = near
        self._count = count
        self._chunk = min(chunk, _READ)
        self.complete = True

    def __iter__(self) -> Iterator[Scored]:
        return chain.from_iterable(self._chunks())

    def _chunks(self) -> Iterator[list[Scored]]:
        """The hits in order, in lists, each read when it is asked for."""
        target = self._target
        if target.best and self._min_value <= scores.PRESENT:
            yield from self._labelled(target.best, scores.PRESENT)
        near = self._found()
        if near is not None:
            yield from self._neighbours(near)
            self.complete = near.complete
        if target.worst and self.complete and self._min_value <= scores.ABSENT:
            yield from self._labelled(target.worst, scores.ABSENT)

    def _found(self) -> Near | None:
        """What the order is made of besides labels."""
        target = self._target
        if target.predicted is not None:
            said = target.predicted.best(self._count, flip=target.flip)
            good = int(np.count_nonzero(said.scores >= self._min_value))  # they are sorted: a prefix
            return Near(said.anchors[:good], said.scores[:good], said.complete or good < len(said.scores))
        point = target.point()
        return self._near(point) if point is not None else None

    def _labelled(self, rows: Sequence[int], score: float) -> Iterator[list[Scored]]:
        for start in range(0, len(rows), self._chunk):
            yield [Scored(score, hit) for hit in self._reader.of_annotations(rows[start : start + self._chunk])]

    def _neighbours(self, near: Near) -> Iterator[list[Scored]]:
        """Every annotation of every anchor, but those that are labelled and so have their place already."""
        labelled = frozenset(self._target.best).union(self._target.worst)
        anchors: list[int] = near.anchors.tolist()
        values: list[float] = near.scores.tolist()
        for start in range(0, len(anchors), self._chunk):
            part = anchors[start : start + self._chunk]
            found = self._reader.of_anchors(part)
            yield [
                Scored(score, hit)
                for anchor, score in zip(part, values[start : start + self._chunk], strict=True)
                for hit in found.get(anchor, ())
                if hit.annotation not in labelled
            ]


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
