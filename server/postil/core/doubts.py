"""Which labels are likely wrong: those that neither their neighbours nor heads fitted without them agree with.

The two are averaged, as each errs where the other does not: neighbours know any shape but few examples, heads know all
examples but only flat borders. How many labels are wrong is counted as confident learning does (Northcutt, Jiang and
Chuang, 2021). Measured in docs/models.md; docs/adr/0011 says why it is our own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from postil.core import heads
from postil.core.neighbours import NEIGHBOURS, nearest, neighbour_scores, shares

Matrix = NDArray[np.float32]

_MANY = 2_000  # examples from which on three folds tell enough


class Opinion(NamedTuple):
    """What the other labels say of each example."""

    scores: Matrix  # [n, concepts], the mean of the next two
    held_out: Matrix  # [n, concepts], of heads that were fitted without it
    neighbours: Matrix  # [n, concepts], of its nearest neighbours
    votes: NDArray[np.int64]  # [n, concepts], how many of those neighbours show the concept
    asked: int  # neighbours


def opinion(
    vectors: Matrix,
    labels: Matrix,
    *,
    exclusive: bool,
    seed: int = 0,
    stop: Callable[[], bool] = lambda: False,
) -> Opinion:
    """What the labels, float32 [n, concepts] (NaN unknown), say of each other over vectors, float32 [n, dim].

    Raises:
        heads.Stopped: `stop` said so.
    """
    folds = heads.FOLDS if len(vectors) < _MANY else 3
    fitted = heads.held_out(vectors, labels, exclusive=exclusive, seed=seed, folds=folds, stop=stop)
    near = nearest(vectors, vectors, NEIGHBOURS, without_self=True)
    theirs = labels[near.rows]
    voted = neighbour_scores(near.squares, theirs, shares(labels), exclusive=exclusive)
    return Opinion((fitted + voted) / 2.0, fitted, voted, (theirs == 1.0).sum(axis=1), near.rows.shape[1])


def wrongs(scores: Matrix, labels: Matrix, *, exclusive: bool) -> int:
    """How many examples bear a wrong label, as far as scores, float32 [n, concepts], can tell.

    An example counts when another class than its label's has a score that is usual for members of that class.
    """
    if exclusive:
        return _off_diagonal(scores, labels == 1.0)
    either = np.stack([1.0 - scores, scores], axis=2)
    wrong = np.zeros(len(labels), dtype=np.bool_)
    for concept in range(labels.shape[1]):
        known = ~np.isnan(labels[:, concept])
        if len(np.unique(labels[known, concept])) > 1:
            given = labels[known, concept].astype(np.int64)
            wrong[np.flatnonzero(known)[_misplaced(either[known, concept], np.eye(2, dtype=np.bool_)[given])]] = True
    return int(wrong.sum())


def _off_diagonal(scores: Matrix, given: NDArray[np.bool_]) -> int:
    told = given.any(axis=1)
    return int(_misplaced(scores[told], given[told]).sum()) if told.any() else 0


def _misplaced(scores: Matrix, given: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whose confident class is not the given one: bool [n]."""
    members = given.sum(axis=0)
    usual = np.where(members > 0, (scores * given).sum(axis=0) / np.maximum(members, 1), np.inf)
    confident = np.where(scores >= usual, scores, -1.0)
    best = confident.argmax(axis=1)
    rows = np.arange(len(scores))
    return np.asarray((confident[rows, best] > 0.0) & ~given[rows, best])
