"""Scores: 1 the same, 0.5 unrelated, 0 the opposite, and both metrics alike on unit vectors."""

from __future__ import annotations

import numpy as np
import pytest

from postil.core.scores import direction, scores
from postil.index.base import Metric


def array(*numbers: float) -> np.ndarray:
    return np.array(numbers, dtype=np.float32)


def test_unit_vectors_score_alike_by_both_metrics() -> None:
    cosines = np.linspace(-1, 1, 21, dtype=np.float32)
    squared = 2 - 2 * cosines
    by_euclid = scores(squared, Metric.EUCLIDEAN, unit=True)
    by_cosine = scores(1 - cosines, Metric.COSINE, unit=True)
    np.testing.assert_allclose(by_euclid, by_cosine, atol=1e-6)
    np.testing.assert_allclose(by_cosine, (1 + cosines) / 2, atol=1e-6)


@pytest.mark.parametrize(("squared", "score"), [(0.0, 1.0), (1.0, 0.5), (9.0, 0.25), (1e30, 1e-15), (-1e-6, 1.0)])
def test_vectors_of_any_length_score_by_the_reciprocal(squared: float, score: float) -> None:
    assert scores(array(squared), Metric.EUCLIDEAN, unit=False)[0] == pytest.approx(score, rel=1e-4)


def test_rounding_never_leaves_the_range() -> None:
    result = scores(array(-1e-6, 4.00001), Metric.EUCLIDEAN, unit=True)
    assert result.tolist() == [1.0, 0.0]
    assert result.dtype == np.float32


def test_scores_fall_as_distances_grow() -> None:
    distances = np.linspace(0, 4, 100, dtype=np.float32)
    for metric, unit in ((Metric.EUCLIDEAN, True), (Metric.EUCLIDEAN, False), (Metric.COSINE, False)):
        assert (np.diff(scores(distances[:50], metric, unit=unit)) < 0).all()


def test_direction_has_length_one_and_leaves_zero_alone() -> None:
    assert direction(array(3, 4)).tolist() == pytest.approx([0.6, 0.8])
    assert direction(array(0, 0)).tolist() == [0.0, 0.0]
