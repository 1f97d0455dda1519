"""Which of many unlabelled vectors to label next: unsure ones, in crowded places, unlike each other.

Three factors between 0 and 1 are multiplied (docs/adr/0011):

- uncertainty: how small the margin of the likeliest concept is (Scheffer et al., 2001), or how near to one half the
  score of that concept is which is least sure, where concepts stand for themselves
- density: how near the candidate's own neighbours are; an outlier teaches about itself only (Settles and Craven, 2008)
- novelty: how far it is from what is labelled and from what was chosen before it, so near-duplicates never stand
  beside each other
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from postil.core import heads
from postil.core.neighbours import nearest, to_nearest

Matrix = NDArray[np.float32]

_CROWD = 10  # neighbours that tell how crowded a place is
_COMPARED = 2_000  # candidates that the neighbours are taken from


class Known(NamedTuple):
    """What is labelled."""

    vectors: Matrix  # [n, dim]
    labels: Matrix  # [n, concepts]: 1 present, 0 absent, NaN unknown


class Choice(NamedTuple):
    """What was chosen, the most useful first."""

    places: NDArray[np.int64]  # [count] among the candidates
    uncertainty: Matrix  # [count]; 1 where there are no heads
    novelty: Matrix  # [count] beside what was labelled and chosen before
    scores: Matrix | None  # [count, concepts]; None where there are no heads


def choose(
    known: Known,
    candidates: Matrix,
    count: int,
    *,
    exclusive: bool,
    seed: int = 0,
    stop: Callable[[], bool] = lambda: False,
) -> Choice:
    """Chooses up to `count` of the candidates, float32 [m, dim].

    Heads are fitted to what is known where that is enough: positives of two concepts that exclude each other, else
    labels of both kinds of some concept. The same arguments give the same answer.

    Raises:
        heads.Stopped: `stop` said so.
    """
    found = None
    if teaches(known.labels, exclusive=exclusive):
        made = heads.fit(known.vectors, known.labels, exclusive=exclusive, seed=seed, stop=stop)
        found = heads.scores(made, candidates)
    unsure = np.ones(len(candidates), np.float32) if found is None else uncertainty(found, exclusive=exclusive)
    crowd, scale = _crowd(candidates, seed)
    new = _novelty(to_nearest(known.vectors, candidates), scale)
    places, fresh = _greedy(candidates, unsure * crowd, new, scale, count)
    return Choice(places, unsure[places], fresh, None if found is None else found[places])


def teaches(labels: Matrix, *, exclusive: bool) -> bool:
    """Whether heads can be fitted to labels, float32 [n, concepts]."""
    present, absent = (labels == 1.0).any(axis=0), (labels == 0.0).any(axis=0)
    return bool(present.sum() > 1) if exclusive else bool((present & absent).any())


def uncertainty(scores: Matrix, *, exclusive: bool) -> Matrix:
    """How unsure scores, float32 [m, concepts], are: float32 [m], 0 to 1."""
    if exclusive:
        top = np.sort(scores, axis=1)[:, -2:]
        return np.asarray(1.0 - (top[:, 1] - top[:, 0]), dtype=np.float32)
    return np.asarray(1.0 - np.abs(2.0 * scores - 1.0).min(axis=1), dtype=np.float32)


def _crowd(candidates: Matrix, seed: int) -> tuple[Matrix, float]:
    """How crowded each place is, float32 [m], 0 to 1, and a squared distance at which two are no neighbours."""
    among = candidates
    if len(candidates) > _COMPARED:
        among = candidates[np.sort(np.random.default_rng(seed).choice(len(candidates), _COMPARED, replace=False))]
    near = nearest(among, candidates, _CROWD + 1).squares[:, 1:]  # without itself, or what is as near
    if not near.size:
        return np.ones(len(candidates), np.float32), 1.0
    scale = float(np.median(near[:, -1])) or 1.0
    return np.asarray(np.exp(-near.mean(axis=1) / scale), dtype=np.float32), scale


def _novelty(squares: Matrix, scale: float) -> Matrix:
    return np.asarray(1.0 - np.exp(-squares / scale), dtype=np.float32)


def _greedy(
    candidates: Matrix, worth: Matrix, new: Matrix, scale: float, count: int
) -> tuple[NDArray[np.int64], Matrix]:
    """The best one by worth and novelty, then the best beside that, and so on; exact copies are never chosen."""
    lengths = np.einsum("ij,ij->i", candidates, candidates)
    places: list[int] = []
    fresh: list[float] = []
    new = new.copy()
    for _ in range(min(count, len(candidates))):
        place = int(np.argmax(worth * new))
        if worth[place] * new[place] <= 0.0:
            break
        places.append(place)
        fresh.append(float(new[place]))
        squares = np.maximum(lengths - 2.0 * (candidates @ candidates[place]) + lengths[place], 0.0)
        np.minimum(new, _novelty(squares, scale), out=new)
        new[place] = 0.0
    return np.array(places, np.int64), np.array(fresh, np.float32)
