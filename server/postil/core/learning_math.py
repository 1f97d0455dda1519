"""What a family of clicks teaches, as one vector: half Rocchio, half a logistic head, ready to search by.

Rocchio (1971) moves the query towards what was chosen and away from what was passed over. A logistic head, fitted on
the same vectors against a background, knows which directions matter. Both order vectors by an inner product, so their
blend does too: a learned search is a search by another vector, which the graph serves as it serves any.

The head needs examples before it is to be trusted, so its share grows with them.

People also click by mistake. A click that agrees with neither the query nor the other clicks counts less, and what was
passed over can never outweigh what was chosen. In a noisy space even right clicks agree little, so there disagreement
counts less against them, the head is held back more, and the lesson is cleared of noise.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from postil.core.learning_noise import Noise
from postil.core.scores import direction

Vector = NDArray[np.float32]
Matrix = NDArray[np.float32]
Floats = NDArray[np.float64]

TOWARDS = 1.5  # weight of what was chosen, next to the query's 1
AWAY = 0.3  # weight of what was passed over
TRUST = 5.0  # distinct hits chosen at which the head counts half
PASSED_WEIGHT = 0.25  # of one that was passed over, in the head, next to a chosen one's 1
BACKGROUND_WEIGHT = 5.0  # of all of the background together
PASSED_SHARE = 0.1  # the weights of all that was passed over add up to no more, next to those of what was chosen
AGREEMENT = (4.0, 1.5)  # power of how well a click agrees with the rest, in a clear and in a noisy space
RIDGE = (0.05, 0.3)  # of the head, in a clear and in a noisy space
_LEAST = 0.05  # agreement, next to the click that agrees best
_INTERCEPT_RIDGE = 1e-3
_STEPS = 10
_INNER_STEPS = 25
_RELATIVE = 1e-2  # what may be left of the slope after the inner steps
_CLOSE = 1e-3


class Examples(NamedTuple):
    """Vectors of length 1 with how much each counts; rows of a matrix, float32 [n, dim]."""

    query: Vector  # that the first of them were found by
    chosen: Matrix
    chosen_times: Floats  # [n]
    passed: Matrix
    passed_times: Floats
    background: Matrix


class Lesson(NamedTuple):
    """What was learned: a shift of any query of the family, and a direction of its own."""

    shift: Vector  # [dim]
    head: Vector  # [dim], length 1
    share: float  # of the head, 0 to 1


def learn(examples: Examples) -> Lesson:
    """The lesson of at least one chosen vector. The same examples in the same order give the same bits."""
    noise = Noise(examples.background.astype(np.float64))
    examples = _weighed(examples, noise)
    query = examples.query.astype(np.float64)
    target = query + TOWARDS * _mean(examples.chosen, examples.chosen_times)
    if len(examples.passed):
        target = target - AWAY * _mean(examples.passed, examples.passed_times)
    share = len(examples.chosen) / (len(examples.chosen) + TRUST)
    head = direction(noise.cleared(_head(examples, _between(RIDGE, noise.share))).astype(np.float32))
    return Lesson((noise.cleared(target) - query).astype(np.float32), head, share)


def moved(query: Vector, lesson: Lesson) -> Vector:
    """The query as learned: float32 [dim], of the same length as the query."""
    rocchio = direction(direction(query) + lesson.shift)
    blend = direction((1.0 - lesson.share) * rocchio + lesson.share * lesson.head)
    return np.ascontiguousarray(blend * np.sqrt(np.dot(query, query)), dtype=np.float32)


def unit(matrix: Matrix | Floats) -> Matrix:
    """The rows at length 1; a row of zeros stays."""
    lengths = np.sqrt(np.einsum("ij,ij->i", matrix, matrix))
    return np.ascontiguousarray(matrix / np.where(lengths > 0.0, lengths, 1.0)[:, None], dtype=np.float32)


def _weighed(examples: Examples, noise: Noise) -> Examples:
    """The examples, with less weight on what is likely a mistake.

    Directions are compared as seen from the middle of the space: from far outside, everything in it looks alike.
    """
    chosen, times = unit(examples.chosen - noise.centre).astype(np.float64), examples.chosen_times
    rest = unit((examples.query - noise.centre)[None])[0] + times @ chosen - times[:, None] * chosen
    agreement = np.einsum("ij,ij->i", chosen, unit(rest))  # of each with the query and all others
    trusted = np.maximum(agreement / max(agreement.max(), 1e-6), _LEAST) ** _between(AGREEMENT, noise.share)
    times = times * trusted * (times.sum() / (times @ trusted))
    passed = examples.passed_times
    if len(passed):
        passed = passed * min(1.0, PASSED_SHARE * times.sum() / passed.sum())
    return examples._replace(chosen_times=times, passed_times=passed)


def _between(ends: tuple[float, float], share: float) -> float:
    """A number that goes from the first, in a clear space, to the second, in a noisy one."""
    clear, noisy = ends
    return clear + share * (noisy - clear)


def _mean(matrix: Matrix, times: Floats) -> Floats:
    mean: Floats = times @ matrix.astype(np.float64) / times.sum()
    return mean


def _head(examples: Examples, ridge: float) -> Floats:
    """Weights of a logistic regression that tells what was chosen from what was not."""
    matrix = np.vstack([examples.chosen, examples.passed, examples.background]).astype(np.float64)
    others = len(examples.passed) + len(examples.background)
    targets = np.r_[np.ones(len(examples.chosen)), np.zeros(others)]
    behind = np.full(len(examples.background), BACKGROUND_WEIGHT / max(1, len(examples.background)))
    times = np.r_[examples.chosen_times, PASSED_WEIGHT * examples.passed_times, behind]
    return _logistic(matrix, targets, times, ridge)


def _logistic(matrix: Floats, targets: Floats, times: Floats, strength: float) -> Floats:
    """Ridge logistic regression by Newton's method; the intercept is left out of the answer.

    Steps are found by conjugate gradients. That takes products with the matrix alone, which are so small that the
    linear algebra library does not spread them over threads: milliseconds, also on a machine that is busy.
    """
    design = np.c_[matrix, np.ones(len(matrix))]
    turned = np.ascontiguousarray(design.T)
    ridge = np.full(design.shape[1], strength)
    ridge[-1] = _INTERCEPT_RIDGE
    weights = np.zeros(design.shape[1])
    for _ in range(_STEPS):
        chances = 1.0 / (1.0 + np.exp(-np.clip(design @ weights, -30.0, 30.0)))
        slope = turned @ (times * (chances - targets)) + ridge * weights
        step = _solved(design, turned, times * chances * (1.0 - chances), ridge, slope)
        weights -= step
        if np.abs(step).max() < _CLOSE:
            break
    found: Floats = weights[:-1]
    return found


def _solved(design: Floats, turned: Floats, curve: Floats, ridge: Floats, wanted: Floats) -> Floats:
    """The x of (design' diag(curve) design + diag(ridge)) x = wanted, closely enough for one of several steps."""
    found = np.zeros(len(wanted))
    rest = wanted.copy()
    heading = rest.copy()
    square = float(rest @ rest)
    enough = square * _RELATIVE**2
    for _ in range(_INNER_STEPS):
        if square <= enough:
            break
        pushed = turned @ (curve * (design @ heading)) + ridge * heading
        length = square / float(heading @ pushed)
        found += length * heading
        rest -= length * pushed
        before, square = square, float(rest @ rest)
        heading = rest + (square / before) * heading
    return found
