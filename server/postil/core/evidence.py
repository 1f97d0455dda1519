"""What a rank goes by where labels do not decide: scores for given anchors, and anchors best first.

`Evidence` is the seam for anything that can score: nearness to a point is here; stored predictions and trained heads
fit the same two methods.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from postil.core import scores
from postil.core.predictions import PredictedConcept
from postil.core.targets import WIDE, Point
from postil.index.base import Metric, Plan, SpaceIndex
from postil.index.rowsets import rows_of

Rows = NDArray[np.int64]
Doubles = NDArray[np.float64]


class Near(NamedTuple):
    """Anchors in order, best first."""

    anchors: Rows  # [n]
    scores: Doubles  # [n]; of an `Average`, what no score exceeds
    complete: bool  # no allowed anchor is left out


NOTHING = Near(np.empty(0, np.int64), np.empty(0, np.float64), complete=True)


class Evidence(Protocol):
    """Scores anchors between 0 and 1."""

    def scores(self, anchors: Rows) -> Doubles:
        """float64 [n] of these anchors (ascending, distinct); NaN where there is nothing to go by."""
        ...

    def best(self, k: int, allow: BitMap | None) -> Near:
        """The k best of the allowed anchors; ties by anchor."""
        ...


class Nearness:
    """Near to a point of a space.

    Args:
        index: The space's index.
        point: Where.
        flip: Far from it instead.
        metric: Of the query; unit spaces know but one.
        exact: Compare with every vector.
        observe: Told of each plan.

    Attributes:
        linear: Scores are a linear function of the vector, so that those of several points can be averaged.
        point: The point; its opposite when flipped, where that has the same scores.
    """

    def __init__(
        self,
        index: SpaceIndex,
        point: Point,
        metric: Metric,
        *,
        flip: bool,
        exact: bool,
        observe: Callable[[Plan], None],
    ) -> None:
        self.index = index
        self.unit = point.space.unit
        self.metric = Metric.EUCLIDEAN if self.unit else metric  # alike on unit vectors: one graph serves both
        self.linear = self.unit or self.metric is Metric.COSINE
        # cos(-q, x) = -cos(q, x): what is nearest to the opposite is farthest, and its score is 1 - s
        self.point = -point.vector if flip and self.linear else point.vector
        self.exact = exact
        self.observe = observe
        self.space = point.space.row
        self._reverse = flip and not self.linear
        # No vectors lie around an opposite, and few around the middle of scattered ones: there a graph must look
        # widely. What is asked for again pays for being compared with all.
        self.far = (flip and self.linear) or point.middle
        self._standing = point.middle

    def wanted(self, k: int) -> int:
        """How many neighbours to ask for, so that the best k are among them."""
        return max(k, WIDE) if self.far else k

    def scores(self, anchors: Rows) -> Doubles:
        return self._scored(self.index.measure(self.point, anchors, metric=self.metric))

    def _scored(self, distances: NDArray[np.float32]) -> Doubles:
        found = scores.scores(distances, self.metric, unit=self.unit)
        return (1.0 - found if self._reverse else found).astype(np.float64)

    def best(self, k: int, allow: BitMap | None) -> Near:
        # The farthest among vectors of any length can only be found by looking at all.
        wanted = max(1, len(self.index)) if self._reverse else self.wanted(k)
        exact = self.exact or self._reverse
        found = self.index.search(
            self.point, wanted, metric=self.metric, exact=exact, allow=allow, standing=self._standing
        )
        self.observe(found.plan)
        values = self._scored(found.distances)
        order = np.lexsort((found.rows, -values))[:k]
        return Near(found.rows[order], values[order], complete=len(values) <= k if self._reverse else len(values) < k)


class Average:
    """The weighted mean of several linear nearnesses in one space, which no weighted geometric mean of them exceeds.

    A mean of linear functions is linear: one walk towards the mean of the points gives the order.

    Args:
        parts: Each with its weight.
    """

    def __init__(self, parts: Sequence[tuple[float, Nearness]]) -> None:
        self._first = first = parts[0][1]
        self._parts = [part for _, part in parts]
        total = sum(weight for weight, _ in parts)
        # A cosine knows directions alone; points of unit spaces have length 1 anyway.
        mean = sum(weight * scores.direction(part.point).astype(np.float64) for weight, part in parts) / total
        self._point = np.ascontiguousarray(mean, np.float32)
        self._square = float(np.dot(self._point.astype(np.float64), self._point))
        self.flat = self._square < 1e-4  # the points cancel each other out: there is no order to walk in
        self._linear_in_cosine = first.metric is Metric.COSINE

    def best(self, k: int, allow: BitMap | None) -> Near:
        first = self._first
        wanted = max(part.wanted(k) for part in self._parts)
        found = first.index.search(self._point, wanted, metric=first.metric, exact=first.exact, allow=allow)
        first.observe(found.plan)
        distances = found.distances.astype(np.float64)
        if self._linear_in_cosine:
            values = (1.0 + np.sqrt(self._square) * (1.0 - distances)) / 2.0
        else:
            values = 1.0 - (1.0 + distances - self._square) / 4.0
        bounds = np.clip(values + 1e-6, 0.0, 1.0)  # rounding
        return Near(found.rows[:k], bounds[:k], complete=len(values) < k)


class Said:
    """What the general model said of inputs. Regions with vectors of their own have not been asked about."""

    def __init__(self, predicted: PredictedConcept, *, flip: bool) -> None:
        self._predicted = predicted
        self._flip = flip

    def scores(self, anchors: Rows) -> Doubles:
        values = self._predicted.scores(anchors).astype(np.float64)
        known = np.isin(anchors, self._predicted.anchors())
        return np.where(known, 1.0 - values if self._flip else values, np.nan)

    def best(self, k: int, allow: BitMap | None) -> Near:
        if allow is None:
            found = self._predicted.best(k, flip=self._flip)
            return Near(found.anchors, found.scores.astype(np.float64), found.complete)
        anchors = rows_of(allow)
        values = self.scores(anchors)
        order = np.lexsort((anchors, -values))[: int(np.count_nonzero(~np.isnan(values)))]  # NaN sorts last
        return Near(anchors[order][:k], values[order][:k], complete=len(order) <= k)


def within(evidence: Evidence | Average, k: int, allow: BitMap | None, left_out: int) -> Near:
    """The k best of the allowed anchors, where `left_out` others are not allowed.

    A few are cheaper passed over than kept out: those that are labelled lie right where a search for them looks.
    """
    if allow is None or left_out > max(64, k):
        return evidence.best(k, allow)
    near = evidence.best(k + left_out, None)
    keep = np.fromiter(map(allow.__contains__, near.anchors.tolist()), np.bool_, len(near.anchors))
    return Near(near.anchors[keep], near.scores[keep], near.complete)


def scan(evidence: Sequence[tuple[float, Evidence]], allow: BitMap) -> tuple[Rows, Doubles]:
    """(anchors, product of the weighted scores) of all allowed anchors that every evidence knows."""
    anchors = rows_of(allow)
    values = product(evidence, anchors)
    known = ~np.isnan(values)
    return anchors[known], values[known]


def product(evidence: Sequence[tuple[float, Evidence]], anchors: Rows) -> Doubles:
    """float64 [n]: the product of scores to the power of their weights; NaN where one is not known."""
    values = np.ones(len(anchors))
    for weight, one in evidence:
        values *= powered(one.scores(anchors), weight)
    return values


def powered(values: Doubles, weight: float) -> Doubles:
    """values ** weight, without rounding where the weight is 1."""
    return values if weight == 1.0 else values**weight
