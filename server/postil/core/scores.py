"""Scores: from a distance to a number between 0 and 1, where 1 is the same, 0.5 unrelated, 0 the opposite.

With unit vectors the squared Euclidean distance is d² = |q - x|² = 2 - 2 cos(q, x), so that

    (1 + cos) / 2  =  1 - d² / 4

and both metrics give one number: 1 for equal directions, 0.5 for orthogonal ones, 0 for opposite ones, as the schema
asks of `Hit.score`. The similarity 1 / (1 + d) for vectors of any length is the usual reciprocal form (Segaran,
*Programming Collective Intelligence*, 2007, chapter 2). The mean of the positively labelled vectors as a stand-in
for a classifier is the nearest centroid rule (Rocchio, 1971).

Every score falls strictly as the distance grows, so that nearest first is best first.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from postil.index.base import Metric

PRESENT = 1.0
ABSENT = 0.0
EVERYTHING = 1.0  # a search without a rank: all units match alike

Floats = NDArray[np.float32]


def scores(distances: Floats, metric: Metric, *, unit: bool) -> Floats:
    """float32 [n] in 0..1 of the distances of the index: squared Euclidean, or 1 - cos.

    Args:
        distances: float32 [n].
        metric: What the distances are.
        unit: Query and stored vectors have length 1.
    """
    if metric is Metric.COSINE:
        result: Floats = 1.0 - distances / 2.0
    elif unit:
        result = 1.0 - distances / 4.0
    else:
        result = (1.0 / (1.0 + np.sqrt(np.maximum(distances, 0.0)))).astype(np.float32, copy=False)
    np.maximum(result, 0.0, out=result)  # rounding may step over the ends
    return np.minimum(result, 1.0, out=result)


def direction(vector: Floats) -> Floats:
    """The vector of length 1 that points the same way; zero stays zero."""
    length = math.sqrt(np.dot(vector, vector))
    return vector * np.float32(1.0 / length) if length > 0.0 else vector
