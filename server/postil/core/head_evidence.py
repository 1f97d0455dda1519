"""What a trained head says of inputs, as evidence for ranks: its weight vector is a query against the index.

The score of a head for itself is the sigmoid of w·x + b, which grows with w·x; among vectors of one length the nearest
to w come first, so that a rank by it is a search like any other; a head asks the same until it is trained again, so it
is a standing query of the index, which keeps what it finds. Heads that exclude each other share one softmax. Its
score is no function of one product, but it is bounded by one: with m others, the mean of their margins below,

    p = 1 / (1 + Σ exp(z_other - z))  ≤  1 / (1 + m exp(mean(z_other) - z))        (Jensen's inequality)

so inputs are looked at in the order of that bound until none that is left can enter (the threshold algorithm: Fagin,
Lotem, Naor, 2001). What neither way can answer is scanned.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from postil.core.evidence import Doubles, Near, Rows
from postil.core.head_shelf import PlacedHead
from postil.index.base import Plan, SpaceIndex
from postil.index.rowsets import rows_of
from postil.store.base import SpaceRecord, StoredHeads

_GROWTH = 4
_PIECE = 4096  # vectors multiplied at a time
_SMALL = 2048  # so few are scanned at once
_PREPARED = 100  # concepts of a version that are prepared; ranks by others prepare themselves
_SEGMENTS = 64  # the same, of the segments of a space
_FIRST = 640  # candidates of a softmax that are looked at first, in the order of their bound
_ROUNDING = 1e-5  # of products in float32, as seen in a score


class LinearHead:
    """A head for itself, over vectors of length 1. Scores are as exact as float32, in which hits carry them.

    Args:
        index: The space's index.
        head: Which.
        flip: Score what does not show it: every s becomes 1 - s.
        exact: Compare with every vector.
        observe: Told of each plan.
    """

    def __init__(
        self, index: SpaceIndex, head: PlacedHead, *, flip: bool, exact: bool, observe: Callable[[Plan], None]
    ) -> None:
        sign = -1.0 if flip else 1.0
        weights = head.heads.weights[head.place].astype(np.float64) * sign
        self._index = index
        self._length = float(np.linalg.norm(weights))
        self._bias = float(head.heads.biases[head.place]) * sign
        self._query = (weights / self._length).astype(np.float32)
        self._exact = exact
        self._observe = observe

    def scores(self, anchors: Rows) -> Doubles:
        return self._scored(self._index.measure(self._query, anchors))

    def best(self, k: int, allow: BitMap | None) -> Near:
        wanted = k + 1  # one more than asked tells whether others score as the last does
        while True:
            found = self._index.search(self._query, wanted, exact=self._exact, allow=allow, standing=True)
            self._observe(found.plan)
            values = self._scored(found.distances)
            order = np.lexsort((found.rows, -values))
            complete = len(order) < wanted
            # Far out many scores round to one number, and of those the oldest must come first.
            if complete or values[order[-1]] < values[order[k - 1]]:
                return Near(found.rows[order[:k]], values[order[:k]], complete and len(order) <= k)
            wanted *= _GROWTH

    def prepare(self) -> bool:
        """Has the index look once more; False when it has seen everything."""
        return self._index.search(self._query, 1, standing=True).plan is Plan.GRAPH

    def _scored(self, distances: NDArray[np.float32]) -> Doubles:
        cosines = 1.0 - distances.astype(np.float64) / 2.0
        return _rounded(_sigmoid(self._length * cosines + self._bias))


class ScannedHead:
    """A head of any kind; for one of several that exclude each other, in the order of a bound where there is one.

    Arguments as of `LinearHead`.
    """

    def __init__(
        self, index: SpaceIndex, head: PlacedHead, *, flip: bool, exact: bool, observe: Callable[[Plan], None]
    ) -> None:
        self._index = index
        self._head = head
        self._flip = flip
        self._observe = observe
        self._weights = head.heads.weights.astype(np.float64)
        self._biases = head.heads.biases.astype(np.float64)
        others = np.delete(np.arange(len(self._biases)), head.place)
        self._others = len(others)
        bounded = head.heads.exclusive and head.space.unit and not flip and not exact and len(others) > 0
        lead = self._weights[head.place] - self._weights[others].mean(axis=0) if bounded else np.zeros(1)
        self._length = float(np.linalg.norm(lead))
        self._bounded = bounded and self._length > 0.0
        if self._bounded:
            self._lead = (lead / self._length).astype(np.float32)
            self._shift = float(self._biases[head.place] - self._biases[others].mean())

    def scores(self, anchors: Rows) -> Doubles:
        made = np.full(len(anchors), np.nan)
        for start in range(0, len(anchors), _PIECE):
            rows, vectors = self._index.vectors(anchors[start : start + _PIECE])
            made[np.searchsorted(anchors, rows)] = self._scored(vectors)
        return made

    def best(self, k: int, allow: BitMap | None) -> Near:
        size = len(self._index) if allow is None else len(allow)
        wanted = max(_GROWTH * k, _FIRST)
        while self._bounded and size > _SMALL and wanted * _GROWTH < size:
            found = self._index.search(self._lead, wanted, allow=allow, standing=True)
            self._observe(found.plan)
            anchors = np.sort(found.rows)
            values = self.scores(anchors)
            order = np.lexsort((anchors, -values))
            if len(order) >= k and values[order[k - 1]] > self._bound(float(found.distances[-1])):
                return Near(anchors[order[:k]], values[order[:k]], complete=False)
            wanted *= _GROWTH
        return self._scan(k, rows_of(self._index.live_rows() if allow is None else allow))

    def prepare(self) -> bool:
        """As of `LinearHead`."""
        return self._bounded and self._index.search(self._lead, 1, standing=True).plan is Plan.GRAPH

    def _bound(self, distance: float) -> float:
        """What nothing farther than this from the lead exceeds."""
        margin = self._length * (1.0 - distance / 2.0) + self._shift
        return 1.0 / (1.0 + self._others * float(np.exp(-margin))) + _ROUNDING

    def _scan(self, k: int, anchors: Rows) -> Near:
        self._observe(Plan.SCAN)
        values = self.scores(anchors)
        known = int(np.count_nonzero(~np.isnan(values)))
        order = np.lexsort((anchors, -values))[:known]  # NaN sorts last
        return Near(anchors[order[:k]], values[order[:k]], complete=known <= k)

    def _scored(self, vectors: NDArray[np.float32]) -> Doubles:
        # In float64, so that a score does not depend on which others are asked about with it.
        place = self._head.place
        if self._head.heads.exclusive:
            margins = vectors.astype(np.float64) @ self._weights.T + self._biases
            rest = np.exp(np.clip(margins - margins[:, place : place + 1], -700.0, 700.0)).sum(axis=1)
            values = 1.0 / rest
        else:
            values = _sigmoid(vectors.astype(np.float64) @ self._weights[place] + self._biases[place])
        return _rounded(1.0 - values if self._flip else values)


def prepare(index: SpaceIndex, heads: StoredHeads, space: SpaceRecord, stop: Callable[[], bool]) -> None:
    """Has the index find what ranks by these heads will ask for, so that the first of them does not wait for it. The
    heads may be fresh ones that nobody else knows yet; `stop` is asked before each."""
    for place in range(min(len(heads.biases), _PREPARED)):
        made = evidence(index, PlacedHead(heads, place, space), flip=False, exact=False, observe=lambda _: None)
        for _ in range(_SEGMENTS):
            if stop() or not made.prepare():
                break


def evidence(
    index: SpaceIndex, head: PlacedHead, *, flip: bool, exact: bool, observe: Callable[[Plan], None]
) -> LinearHead | ScannedHead:
    """What the head says, the quickest way that is exact."""
    linear = not head.heads.exclusive and head.space.unit and bool(np.any(head.heads.weights[head.place]))
    kind = LinearHead if linear else ScannedHead
    return kind(index, head, flip=flip, exact=exact, observe=observe)


def _sigmoid(margins: Doubles) -> Doubles:
    return 1.0 / (1.0 + np.exp(-np.clip(margins, -700.0, 700.0)))


def _rounded(values: Doubles) -> Doubles:
    """As hits carry them, so that what looks alike is alike."""
    return values.astype(np.float32).astype(np.float64)
