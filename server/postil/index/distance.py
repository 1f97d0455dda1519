"""Distances from one query to many vectors: fast approximate ones to choose by, exact ones to answer with.

The approximate kernel is a row-wise dot product in float32 (`np.vecdot`: one core, no BLAS threads to fight over, and
the same result for a row wherever it lies). It loses digits between near-identical vectors, so the best candidates are
measured again by subtraction; `slack` bounds what the approximation can be wrong by.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from postil.index.base import Metric

Matrix = NDArray[np.float32]
Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

# A space is `unit` when every length is within this of 1; then both metrics order alike.
UNIT_TOLERANCE = 1e-3
# Relative error allowed to a float32 dot product: 32 units in the last place, ten times what is seen at 4096 numbers.
_DOT_ERROR = 2.0**-18
# Squared lengths outside these bounds could overflow or vanish in float32 sums.
_LARGE, _SMALL, _TINY = 1e30, 1e-30, 1e-36


class Spread(NamedTuple):
    """The range of the squared lengths of some vectors. Without vectors: inf, 0."""

    low: float = math.inf
    high: float = 0.0

    @classmethod
    def of(cls, lengths: Floats) -> Spread:
        """The spread of float32 [n] squared lengths."""
        return cls(float(lengths.min()), float(lengths.max())) if len(lengths) else cls()

    def join(self, other: Spread) -> Spread:
        """The spread of both."""
        return Spread(min(self.low, other.low), max(self.high, other.high))

    @property
    def deviation(self) -> float:
        """Largest distance of a length from 1."""
        if self.low > self.high:
            return 0.0
        return max(abs(math.sqrt(self.low) - 1.0), abs(math.sqrt(self.high) - 1.0))


def squares(matrix: Matrix) -> Floats:
    """Squared length of each row (or of one vector): float32 [n], infinite when it overflows."""
    with np.errstate(over="ignore"):
        found: Floats = np.vecdot(matrix, matrix)
    return found


class Query:
    """One query vector under one metric, against vectors of which only the spread of lengths is known.

    Args:
        vector: float32 [dim], finite.
        metric: Squared Euclidean, or cosine distance (1 for a vector of length zero).
        spread: Of the vectors.
        deviation: Of the spread.

    Attributes:
        point: float32 [dim], what a squared-Euclidean graph is asked for.
        wide: The numbers are too large or too small for float32 sums; everything is measured in float64.
        slack: Largest error of `approximate` and of `from_graph`.
    """

    __slots__ = ("_square", "cosine", "point", "slack", "unit", "vector", "wide")

    def __init__(self, vector: Floats, metric: Metric, spread: Spread, deviation: float) -> None:
        self.vector = vector
        self.cosine = metric is Metric.COSINE
        square = float(squares(vector))
        self.wide = not max(square, spread.high) < _LARGE or (self.cosine and min(square, spread.low) < _SMALL)
        self.unit = deviation <= UNIT_TOLERANCE
        self._square = square
        if self.cosine:
            self.point = vector if self.wide else _directions(vector[None])[0]
            self.slack = 4 * _DOT_ERROR + (2.5 * deviation if self.unit else 0.0)
        else:
            self.point = vector
            self.slack = _DOT_ERROR * (spread.high + square) + _TINY

    @property
    def key(self) -> bytes:
        """What tells it from other queries."""
        return self.point.tobytes() + (b"c" if self.cosine else b"")

    @property
    def graph_usable(self) -> bool:
        """A squared-Euclidean graph over these vectors orders by this metric."""
        return not self.wide and (not self.cosine or self.unit)

    def approximate(self, matrix: Matrix, lengths: Floats) -> Floats:
        """Distances float32 [n], within `slack`. `lengths` are the squared lengths of the rows. Not when `wide`."""
        found: Floats = np.vecdot(matrix, self.point)
        if self.cosine:
            found /= np.sqrt(lengths)
            return np.subtract(1.0, found, out=found)
        found *= -2.0
        found += lengths
        found += np.float32(self._square)
        return found

    def from_graph(self, found: Floats) -> Floats:
        """Turns a graph's squared Euclidean distances into this metric's, within `slack`."""
        return found * np.float32(0.5) if self.cosine else found

    def exact(self, matrix: Matrix) -> NDArray[np.floating]:
        """Distances [n] by subtraction, float32, or float64 when `wide`: an identical vector is at exactly 0.

        `matrix` may be changed.
        """
        if self.wide:
            return self._exact_wide(matrix)
        rows = _directions(matrix) if self.cosine else matrix
        rows -= self.point
        near: Floats = np.vecdot(rows, rows)
        return near * np.float32(0.5) if self.cosine else near

    def _exact_wide(self, matrix: Matrix) -> Doubles:
        rows, target = matrix.astype(np.float64), self.vector.astype(np.float64)
        if not self.cosine:
            rows -= target
            near: Doubles = np.vecdot(rows, rows)
            return near
        norms, norm = np.sqrt(np.vecdot(rows, rows)), float(np.sqrt(np.vecdot(target, target)))
        nothing = norms == 0
        norms[nothing] = 1.0
        rows /= norms[:, None]
        rows -= target / (norm or 1.0)
        found: Doubles = np.vecdot(rows, rows)
        found *= 0.5
        # Cosine is not defined without a direction: nothing is near, nothing is opposite.
        found[nothing] = 1.0
        return found if norm else np.ones(len(found))


def _directions(matrix: Matrix) -> Matrix:
    """The rows at length 1. None may be zero."""
    found: Matrix = matrix / np.sqrt(np.vecdot(matrix, matrix))[:, None]
    return found
