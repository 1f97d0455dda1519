"""Linear heads on vectors: logistic regressions fitted together, calibrated on held-out folds. Numpy alone.

All concepts, all folds and all strengths of the ridge are columns of one problem, so a step of any of them is one
product of the matrix of vectors with many columns: what the linear algebra library does best (docs/adr/0010).

What calibration finds is folded into the weights. So the sigmoid of w·x + b (the softmax over all concepts, where they
exclude each other) is the score, and a head's weight vector searches the index as any query does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from postil.core.head_solver import Problem, Stopped, sigmoid, softmax, solve

Matrix = NDArray[np.float32]
Floats = NDArray[np.float64]
Progress = Callable[[float], None]
Stop = Callable[[], bool]

__all__ = ["Heads", "Reliability", "Stopped", "fit", "folds_of", "held_out", "reliability", "scores"]

SPREADS = (3.0, 12.0, 50.0, 200.0)  # variances of w·x over the rows before any label is seen; see _spread
CHOOSE_ON = 1_000  # rows that the choice is made on; more would not change it
FOLDS = 5
_MANY = 4_000  # rows from which on three folds tell enough
_PLATT_STEPS = 30


class Heads(NamedTuple):
    """Linear heads of several concepts over one space."""

    weights: Matrix  # [concepts, dim]
    biases: NDArray[np.float32]  # [concepts]
    exclusive: bool  # exactly one of the concepts is true of each thing


class Reliability(NamedTuple):
    """How often scores of one bin turn out to be right; well calibrated when `score` and `share` agree."""

    low: float  # of the bin; the last one holds 1.0, too
    high: float
    known: int  # labels that fall into the bin
    score: float  # mean of the scores in the bin; 0 when there are none
    share: float  # of them, those whose label is 1; 0 when there are none


class _Scale(NamedTuple):
    """How vectors become rows of mean 0 and mean square length 1."""

    mean: Matrix  # [dim]
    length: float


def fit(
    vectors: Matrix,
    labels: Matrix,
    *,
    exclusive: bool,
    seed: int,
    progress: Progress = lambda _: None,
    stop: Stop = lambda: False,
) -> Heads:
    """Heads for labelled vectors. The same arguments, library versions and thread count give the same bits.

    A concept without known labels of both kinds gets a head that says how often it was present. Where concepts exclude
    each other, rows without a present concept teach nothing; when none has one, all concepts are equally likely.

    Args:
        vectors: float32 [n, dim], finite, n > 0.
        labels: float32 [n, concepts]: 1 present, 0 absent, NaN unknown.
        exclusive: Exactly one concept is true of each row.
        seed: Of the folds.
        progress: Told the share done, 0 to 1.
        stop: Asked at every step; True ends it.

    Raises:
        Stopped: `stop` said so.
    """
    vectors, labels = _taught(vectors, labels, exclusive=exclusive)
    if not len(vectors):  # as where all that teaches is in the fold that `held_out` leaves out
        return _unsure(labels.shape[1], vectors.shape[1])
    rows = _scaled(vectors, scale := _scale(vectors))
    spread = _spread(rows, labels, exclusive, seed, stop)
    progress(0.3)
    problem = _problem(rows, labels, exclusive, [*_kept(folds := folds_of(labels, seed)), None], [spread])
    solved = solve(problem, _told(progress, 0.3, 1.0), stop)
    margins = _out_of_fold(rows, solved.weights[:-1], solved.biases[:-1], folds)
    slopes, shifts = (_temperature if exclusive else _platt)(margins, labels)
    weights, biases = solved.weights[-1] * slopes[:, None], solved.biases[-1] * slopes + shifts
    if not exclusive:
        one, bias = _one_kind(labels)
        weights, biases = np.where(one, 0.0, weights), np.where(one[:, 0], bias, biases)
    return _folded(weights, biases, scale, exclusive)


def scores(heads: Heads, vectors: Matrix) -> Matrix:
    """The chance of each concept: float32 [n, concepts] in 0..1, for vectors float32 [n, dim]."""
    margins = vectors @ heads.weights.T + heads.biases
    return softmax(margins) if heads.exclusive else sigmoid(margins)


def held_out(
    vectors: Matrix,
    labels: Matrix,
    *,
    exclusive: bool,
    seed: int,
    folds: int = FOLDS,
    progress: Progress = lambda _: None,
    stop: Stop = lambda: False,
) -> Matrix:
    """Cross-validated scores: of each row by heads that were fitted, calibrated and all, on the other folds.

    Arguments as of `fit`. Gives float32 [n, concepts].

    Raises:
        Stopped: `stop` said so.
    """
    fold_of = folds_of(labels, seed, folds)
    found = np.zeros(labels.shape, dtype=np.float32)
    count = int(fold_of.max()) + 1
    for fold in range(count):
        out, told = fold_of == fold, _told(progress, fold / count, (fold + 1) / count)
        kept = ~out if count > 1 else out
        heads = fit(vectors[kept], labels[kept], exclusive=exclusive, seed=seed, progress=told, stop=stop)
        found[out] = scores(heads, vectors[out])
    return found


def folds_of(labels: Matrix, seed: int, folds: int | None = None) -> NDArray[np.int64]:
    """The fold of each row, int64 [n]; each concept, rarest first, is dealt evenly over the folds.

    Args:
        labels: As of `fit`.
        seed: Of the order in which rows are dealt.
        folds: How many; fewer when there are fewer rows.
    """
    count = min(folds or (FOLDS if len(labels) < _MANY else 3), len(labels))
    present = labels == 1.0
    rarity = np.where(present, np.nan_to_num(present.sum(axis=0)), np.inf)
    key = np.where(present.any(axis=1), rarity.argmin(axis=1), labels.shape[1])
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    dealt = shuffled[np.argsort(key[shuffled], kind="stable")]
    fold = np.empty(len(labels), dtype=np.int64)
    fold[dealt] = np.arange(len(labels)) % count
    return fold


def reliability(scores: Matrix, labels: Matrix, bins: int = 10) -> list[Reliability]:
    """The reliability table over all known labels; scores and labels are float [n, concepts] or [n], NaN unknown."""
    known = ~np.isnan(labels)
    score, label = scores[known].astype(np.float64), labels[known].astype(np.float64)
    at = np.minimum((score * bins).astype(np.int64), bins - 1)
    counts = np.bincount(at, minlength=bins)
    safe = np.maximum(counts, 1)
    means = np.bincount(at, score, minlength=bins) / safe
    shares = np.bincount(at, label, minlength=bins) / safe
    return [
        Reliability(k / bins, (k + 1) / bins, int(counts[k]), float(means[k]), float(shares[k])) for k in range(bins)
    ]


def _unsure(concepts: int, dim: int) -> Heads:
    """Heads of concepts that exclude each other and are equally likely."""
    return Heads(np.zeros((concepts, dim), np.float32), np.zeros(concepts, np.float32), exclusive=True)


def _taught(vectors: Matrix, labels: Matrix, *, exclusive: bool) -> tuple[Matrix, Matrix]:
    """The rows that teach something, with what is known of them made complete where concepts exclude each other."""
    if not exclusive:
        return vectors, labels
    told = (labels == 1.0).any(axis=1)
    one = np.zeros((int(told.sum()), labels.shape[1]), dtype=np.float32)
    one[np.arange(len(one)), np.nan_to_num(labels[told]).argmax(axis=1)] = 1.0
    return vectors[told], one


def _one_kind(labels: Matrix) -> tuple[NDArray[np.bool_], Floats]:
    """Which concepts have no known labels of both kinds, [concepts, 1], and what is then the bias, [concepts]."""
    present, absent = (labels == 1.0).sum(axis=0), (labels == 0.0).sum(axis=0)
    return (np.minimum(present, absent) == 0)[:, None], np.log((present + 1.0) / (absent + 1.0))


def _scale(vectors: Matrix) -> _Scale:
    if not len(vectors):
        return _Scale(np.zeros(vectors.shape[1], dtype=np.float32), 1.0)
    mean = vectors.mean(axis=0, dtype=np.float64)
    square = float(np.einsum("ij,ij->", vectors, vectors, dtype=np.float64)) / len(vectors) - float(mean @ mean)
    return _Scale(mean.astype(np.float32), float(np.sqrt(square)) if square > 1e-12 else 1.0)


def _scaled(vectors: Matrix, scale: _Scale) -> Matrix:
    rows = vectors - scale.mean
    rows *= np.float32(1.0 / scale.length)
    return rows


def _folded(weights: Floats, biases: Floats, scale: _Scale, exclusive: bool) -> Heads:
    """Heads over the vectors as they came."""
    weights = weights / scale.length
    biases = biases - weights @ scale.mean
    return Heads(np.ascontiguousarray(weights, dtype=np.float32), biases.astype(np.float32), exclusive)


def _kept(folds: NDArray[np.int64]) -> list[NDArray[np.bool_]]:
    """Of each fold, the rows that are fitted when it is held out."""
    return [folds != fold for fold in range(int(folds.max(initial=-1)) + 1)]


def _problem(
    rows: Matrix, labels: Matrix, exclusive: bool, kept: list[NDArray[np.bool_] | None], spreads: list[float]
) -> Problem:
    """One problem for each set of rows kept (None: all) under each spread, sets first."""
    everything = np.ones(len(rows), dtype=np.bool_)
    masks = [everything if mask is None else mask for mask in kept for _ in spreads]
    ridges = [1.0 / spread for _ in kept for spread in spreads]
    stacked = np.stack(masks, axis=1).astype(np.float32)
    return Problem(rows, labels, stacked, np.array(ridges, dtype=np.float32), exclusive)


def _spread(rows: Matrix, labels: Matrix, exclusive: bool, seed: int, stop: Stop) -> float:
    """The smallest spread whose heads do, on rows that they have not seen, as well as the best within one error.

    The one-standard-error rule of Breiman et al. (1984), on the differences row by row.
    """
    if len(rows) > CHOOSE_ON:
        some = np.sort(np.random.default_rng(seed).choice(len(rows), CHOOSE_ON, replace=False))
        rows, labels = rows[some], labels[some]
    folds = folds_of(labels, seed, 3)
    masks = _kept(folds)
    if len(masks) < 2:
        return SPREADS[1]
    solved = solve(_problem(rows, labels, exclusive, list(masks), list(SPREADS)), lambda _: None, stop)
    losses = np.empty((len(SPREADS), len(rows)))
    for at in range(len(SPREADS)):
        chosen = slice(at, None, len(SPREADS))
        margins = _out_of_fold(rows, solved.weights[chosen], solved.biases[chosen], folds)
        losses[at] = _losses(margins, labels, exclusive)
    worse = losses - losses[np.argmin(losses.sum(axis=1))]
    within = worse.mean(axis=1) <= worse.std(axis=1) / np.sqrt(len(rows))
    return SPREADS[int(np.argmax(within))]


def _out_of_fold(
    rows: Matrix, weights: NDArray[np.floating], biases: NDArray[np.floating], folds: NDArray[np.int64]
) -> Floats:
    """w·x + b of each row by the heads that have not seen it: float64 [n, concepts]."""
    margins = np.zeros((len(rows), weights.shape[1]))
    for fold in range(len(weights)):
        out = folds == fold
        margins[out] = rows[out] @ weights[fold].T.astype(np.float32) + biases[fold]
    return margins


def _losses(margins: Floats, labels: Matrix, exclusive: bool) -> Floats:
    """Negative log likelihood of each row's known labels: float64 [n]."""
    if exclusive:
        return np.asarray(-np.log(np.maximum((softmax(margins) * (labels == 1.0)).sum(axis=1), 1e-12)))
    each = np.logaddexp(0.0, np.where(labels == 1.0, -margins, margins))
    return np.asarray(np.where(np.isnan(labels), 0.0, each).sum(axis=1))


def _platt(margins: Floats, labels: Matrix) -> tuple[Floats, Floats]:
    """Slopes and shifts, float64 [concepts]: Platt (1999), drawn towards 1 and 0 where few labels speak for others."""
    slopes, shifts = np.ones(labels.shape[1]), np.zeros(labels.shape[1])
    for concept in range(labels.shape[1]):
        known = ~np.isnan(labels[:, concept])
        truth = labels[known, concept].astype(np.float64)
        present, absent = float(truth.sum()), float((1.0 - truth).sum())
        if min(present, absent) < 2.0:
            continue
        target = np.where(truth == 1.0, (present + 1.0) / (present + 2.0), 1.0 / (absent + 2.0))
        design = np.stack([margins[known, concept], np.ones(int(known.sum()))], axis=1)
        found = np.array([1.0, 0.0])
        for _ in range(_PLATT_STEPS):
            chances = sigmoid(design @ found)
            slope = design.T @ (chances - target) + (found - [1.0, 0.0])
            curve = (design * (chances * (1.0 - chances))[:, None]).T @ design + np.eye(2)
            step = np.linalg.solve(curve, slope)
            found = found - step * min(1.0, 1.0 / float(np.abs(step).max() + 1e-12))
            if float(np.abs(step).max()) < 1e-9:
                break
        slopes[concept], shifts[concept] = max(float(found[0]), 0.05), float(found[1])
    return slopes, shifts


def _temperature(margins: Floats, labels: Matrix) -> tuple[Floats, Floats]:
    """One slope for all concepts, found by golden section: Guo et al. (2017). The shifts are 0."""
    low, high = np.log(0.1), np.log(10.0)
    ratio = (np.sqrt(5.0) - 1.0) / 2.0

    def cost(at: float) -> float:
        return float(_losses(margins * np.exp(at), labels, exclusive=True).sum()) + 0.5 * at * at

    for _ in range(40):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        low, high = (low, right) if cost(left) <= cost(right) else (left, high)
    slope = float(np.exp((low + high) / 2.0)) if len(margins) else 1.0
    return np.full(labels.shape[1], slope), np.zeros(labels.shape[1])


def _told(progress: Progress, low: float, high: float) -> Progress:
    return lambda share: progress(low + (high - low) * share)
