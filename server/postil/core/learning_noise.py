"""How noisy a space is, told from a sample of its vectors, and how to look through that noise.

Vectors that mean something lie close to few directions; noise has none, and spreads over all of them alike. So the
share of directions that the sample spreads over tells one from the other. In a noisy space a vector is drawn towards
the directions in which the sample varies most, which is where the signal is (Wiener's filter, with the noise at a share
of the mean variance); in a clear one it stays as it is, and where the sample has fewer vectors than dimensions.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

CLEAR = 0.3  # share of directions up to which a space is clear; from CLEAR + 0.5 on it is noisy altogether
FLOOR = 0.35  # of the noise's variance in one direction, next to the mean variance
ENOUGH = 2  # vectors per dimension at which a sample says all that it can
_UNSURE = 10  # vectors at the origin that the centre of a sample is taken with
_STEPS = 60
_CLOSE = 1e-8


class Noise:
    """What a sample tells of a space.

    Args:
        sample: float64 [n, dim], rows of length 1.

    Attributes:
        share: 0 (clear) to 1 (noisy).
        centre: Mean of the sample, [dim], nearer to the origin the smaller the sample.
    """

    def __init__(self, sample: Floats) -> None:
        self._sample = sample
        self.share = 0.0
        count, dim = sample.shape
        self.centre: Floats = sample.sum(axis=0) / (count + _UNSURE)
        if count > 1 and count >= dim:  # fewer say too little
            apart = sample - sample.mean(axis=0)
            moments = apart.T @ apart
            squares = float(np.einsum("ij,ij->", moments, moments))
            spread = float(np.trace(moments)) ** 2 / squares / dim if squares > 0.0 else 0.0
            self.share = float(np.clip(2.0 * (spread - CLEAR), 0.0, 1.0)) * min(1.0, count / (ENOUGH * dim))

    def cleared(self, vector: Floats) -> Floats:
        """The vector [dim] with as much less noise as the space has, at the length that it had."""
        if not self.share:
            return vector
        clear = vector - self._floor * self._solved(vector)
        length = np.linalg.norm(clear)
        if not length:
            return vector
        mixed: Floats = (1.0 - self.share) * vector + self.share * np.linalg.norm(vector) / length * clear
        return mixed

    @property
    def _floor(self) -> float:
        return FLOOR * float(np.einsum("ij,ij->", self._sample, self._sample)) / self._sample.size

    def _solved(self, wanted: Floats) -> Floats:
        """The x of (second moments of the sample + floor) x = wanted, by conjugate gradients."""
        sample, floor = self._sample, self._floor
        found, rest = np.zeros(len(wanted)), wanted.copy()
        heading, square = rest.copy(), float(rest @ rest)
        enough = square * _CLOSE
        for _ in range(_STEPS):
            if square <= enough:
                break
            pushed = sample.T @ (sample @ heading) / len(sample) + floor * heading
            length = square / float(heading @ pushed)
            found += length * heading
            rest -= length * pushed
            before, square = square, float(rest @ rest)
            heading = rest + (square / before) * heading
        return found
