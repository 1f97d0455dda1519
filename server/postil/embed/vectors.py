"""Small arithmetic that all embedders share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from postil.embed.base import Matrix


class NoDirection(ValueError):
    """A model gave a vector that is zero or not finite, so that it cannot be scaled to length 1."""


def unit_rows(matrix: NDArray[np.float32]) -> Matrix:
    """Scales each row to length 1. Row by row, so that the bits do not depend on how many rows there are.

    Raises:
        NoDirection: A row is zero, infinite or NaN.
    """
    out = np.empty(matrix.shape, np.float32)
    for source, target in zip(matrix, out, strict=True):
        wide = source.astype(np.float64)
        length = float(np.sqrt(wide @ wide))
        if not 0.0 < length < np.inf:
            raise NoDirection("the model gave a vector without a direction (zero or not finite)")
        target[:] = wide / length
    return out
