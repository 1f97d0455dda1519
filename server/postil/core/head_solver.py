"""Many ridge logistic regressions over one matrix, solved together by a truncated Newton method in float32.

Steps are found by conjugate gradients, which take products with the matrix alone (Lin, Weng and Keerthi, 2008); each
product serves every concept of every problem at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from postil.core.blas import threads_for

Matrix = NDArray[np.float32]
Floats = NDArray[np.float32]
_Real = TypeVar("_Real", np.float32, np.float64)

_STEPS = 30
_INNER_STEPS = 30
_INNER = 0.1  # what may be left of the slope after the inner steps, as a share of it
_CLOSE = 2e-3  # of the slope at the start
_SHARES = (1.0, 0.5, 0.25, 0.1, 0.03, 0.01, 0.0)  # of a step, tried in this order
_BIAS_RIDGE = 1e-3  # so that a concept that is always present has an answer


class Stopped(Exception):
    """The caller asked to stop."""


class Problem(NamedTuple):
    """What is to be solved: for each of several problems, one weight vector and bias per concept."""

    rows: Matrix  # [n, dim]
    labels: Matrix  # [n, concepts]: 1 present, 0 absent, NaN unknown
    masks: Matrix  # [n, problems]: how much a row counts
    ridges: Floats  # [problems]
    exclusive: bool  # softmax over the concepts in place of a sigmoid for each


class Solved(NamedTuple):
    """The answer."""

    weights: Matrix  # [problems, concepts, dim]
    biases: Matrix  # [problems, concepts]


def sigmoid(margins: NDArray[_Real]) -> NDArray[_Real]:
    """1 / (1 + exp(-margins)), without overflow; in the precision of the margins."""
    return np.asarray(0.5 * np.tanh(0.5 * margins) + 0.5, dtype=margins.dtype)


def softmax(margins: NDArray[_Real]) -> NDArray[_Real]:
    """The softmax over the last axis; in the precision of the margins."""
    raised = np.exp(margins - margins.max(axis=-1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=-1, keepdims=True), dtype=margins.dtype)


def solve(problem: Problem, progress: Callable[[float], None], stop: Callable[[], bool]) -> Solved:
    """The weights and biases with the least loss: the sum over rows, plus the ridge.

    Args:
        problem: What to solve.
        progress: Told the share done, 0 to 1.
        stop: Asked before every product with the matrix.

    Raises:
        Stopped: `stop` said so.
    """
    columns = problem.masks.shape[1] * problem.labels.shape[1]
    with threads_for(problem.rows.size * columns):
        return _Newton(problem, stop).run(progress)


class _Newton:
    """The state between steps. Columns are the concepts of the first problem, then of the second, and so on."""

    def __init__(self, problem: Problem, stop: Callable[[], bool]) -> None:
        self._rows, self._stop, self._exclusive = problem.rows, stop, problem.exclusive
        self._problems, self._concepts = problem.masks.shape[1], problem.labels.shape[1]
        columns = self._problems * self._concepts
        self._targets = np.nan_to_num(problem.labels)[:, None, :]
        known = ~np.isnan(problem.labels)
        self._counts = (problem.masks[:, :, None] * known[:, None, :]).astype(np.float32)  # [n, problems, concepts]
        self._ridge = np.repeat(problem.ridges, self._concepts) * np.ones((len(problem.rows[0]) + 1, 1), np.float32)
        self._ridge[-1] = _BIAS_RIDGE
        self._weights = np.zeros((problem.rows.shape[1] + 1, columns), dtype=np.float32)  # biases last
        self._margins = np.zeros((len(problem.rows), columns), dtype=np.float32)

    def run(self, progress: Callable[[float], None]) -> Solved:
        slope, chances = self._slope()
        enough = self._dot(slope, slope) * np.float32(_CLOSE**2)
        for step in range(_STEPS):
            progress(step / _STEPS)
            open_ = self._dot(slope, slope) > enough
            if not open_.any():
                break
            heading = self._step(slope, chances, open_)
            if not self._move(heading):
                break
            slope, chances = self._slope()
        progress(1.0)
        found = self._weights.T.reshape(self._problems, self._concepts, -1)
        return Solved(np.ascontiguousarray(found[:, :, :-1]), np.ascontiguousarray(found[:, :, -1]))

    def _forward(self, weights: Matrix) -> Matrix:
        """The margins that weights give: [n, columns]."""
        if self._stop():
            raise Stopped
        return np.asarray(self._rows @ weights[:-1] + weights[-1])

    def _backward(self, rest: Matrix) -> Matrix:
        """The weights that margins pull at: [dim + 1, columns]."""
        found = np.empty_like(self._weights)
        np.matmul(self._rows.T, rest, out=found[:-1])
        rest.sum(axis=0, out=found[-1])
        return found

    def _split(self, margins: Matrix) -> Matrix:
        return margins.reshape(len(margins), self._problems, self._concepts)

    def _slope(self) -> tuple[Matrix, Matrix]:
        """The gradient, [dim + 1, columns], and the chances that the margins mean, [n, problems, concepts]."""
        margins = self._split(self._margins)
        chances = softmax(margins) if self._exclusive else sigmoid(margins)
        rest = (chances - self._targets) * self._counts
        return self._backward(rest.reshape(self._margins.shape)) + self._ridge * self._weights, chances

    def _curved(self, heading: Matrix, chances: Matrix) -> Matrix:
        """The Hessian times a heading."""
        margins = self._split(self._forward(heading))
        if self._exclusive:
            pushed = chances * (margins - (chances * margins).sum(axis=2, keepdims=True))
        else:
            pushed = chances * (1.0 - chances) * margins
        pushed *= self._counts
        return self._backward(pushed.reshape(self._margins.shape)) + self._ridge * heading

    def _dot(self, left: Matrix, right: Matrix) -> Floats:
        """Inner products, repeated for each column: of columns, or of whole problems where concepts are coupled."""
        found = np.einsum("ij,ij->j", left, right)
        if self._exclusive:
            found = np.repeat(found.reshape(self._problems, self._concepts).sum(axis=1), self._concepts)
        return np.asarray(found, dtype=np.float32)

    def _step(self, slope: Matrix, chances: Matrix, open_: NDArray[np.bool_]) -> Matrix:
        """Where to go from here: nearly the inverse of the Hessian times the slope; 0 in columns that are done."""
        found = np.zeros_like(slope)
        rest = slope * open_
        heading = rest.copy()
        square = self._dot(rest, rest)
        enough = square * np.float32(_INNER**2)
        for _ in range(_INNER_STEPS):
            going = square > enough
            if not going.any():
                break
            pushed = self._curved(heading, chances)
            curve = self._dot(heading, pushed)
            length = np.divide(square, curve, out=np.zeros_like(square), where=going & (curve > 0.0))
            found += length * heading
            rest -= length * pushed
            after = self._dot(rest, rest)
            kept = np.divide(after, square, out=np.zeros_like(square), where=going)
            heading = np.asarray(rest + kept * heading, dtype=np.float32)
            square = np.where(going, after, square)
        return found

    def _move(self, heading: Matrix) -> bool:
        """Takes of each column's step the largest share that lessens its loss; whether anything moved."""
        pushed = self._forward(heading)
        before = self._loss(self._margins, self._weights)
        share = np.zeros(self._weights.shape[1], dtype=np.float32)
        left = np.ones(len(share), dtype=np.bool_)
        for tried in _SHARES:
            after = self._loss(self._margins - tried * pushed, self._weights - tried * heading)
            better = left & (after < before)
            share[better] = tried
            left &= ~better
            if not left.any():
                break
        self._weights -= share * heading
        self._margins -= share * pushed
        return bool(share.any())

    def _loss(self, margins: Matrix, weights: Matrix) -> NDArray[np.float64]:
        """The loss of each column, or of its problem where concepts are coupled: float64 [columns]."""
        split = self._split(margins)
        if self._exclusive:
            top = split.max(axis=2, keepdims=True)
            total = np.log(np.exp(split - top).sum(axis=2, keepdims=True)) + top
            each = (total - split) * self._targets * self._counts
        else:
            each = (np.logaddexp(0.0, split) - split * self._targets) * self._counts
        summed = each.sum(axis=0, dtype=np.float64).ravel() + 0.5 * np.einsum(
            "ij,ij,ij->j", self._ridge, weights, weights, dtype=np.float64
        )
        if self._exclusive:
            summed = np.repeat(summed.reshape(self._problems, self._concepts).sum(axis=1), self._concepts)
        return np.asarray(summed)
