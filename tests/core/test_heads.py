"""Heads: what they learn, how sure they are, and that the same examples make the same bits."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from postil.core import heads, neighbours
from postil.core.head_solver import Problem, solve

PIXELS, DIGITS = load_digits(return_X_y=True)
VECTORS = PIXELS.astype(np.float32)
LABELS = np.eye(10, dtype=np.float32)[DIGITS]
ORDER = np.random.default_rng(3).permutation(len(VECTORS))
LEARN, TEST = ORDER[:600], ORDER[600:]


def right(found: np.ndarray) -> float:
    return float((found.argmax(axis=1) == DIGITS[TEST]).mean())


@pytest.mark.parametrize(("exclusive", "least"), [(True, 0.93), (False, 0.92)])
def test_digits_are_told_apart(exclusive: bool, least: float) -> None:
    made = heads.fit(VECTORS[LEARN], LABELS[LEARN], exclusive=exclusive, seed=1)
    found = heads.scores(made, VECTORS[TEST])
    assert right(found) >= least
    assert found.dtype == np.float32
    assert found.min() >= 0.0
    assert found.max() <= 1.0
    if exclusive:
        np.testing.assert_allclose(found.sum(axis=1), 1.0, atol=1e-5)
    theirs = LogisticRegression(max_iter=2000).fit(VECTORS[LEARN], DIGITS[LEARN]).score(VECTORS[TEST], DIGITS[TEST])
    assert right(found) > theirs - 0.03


def test_the_same_examples_make_the_same_bits() -> None:
    first, again = (heads.fit(VECTORS[LEARN], LABELS[LEARN], exclusive=True, seed=1) for _ in range(2))
    assert first.weights.tobytes() == again.weights.tobytes()
    assert first.biases.tobytes() == again.biases.tobytes()


@pytest.mark.parametrize("exclusive", [True, False])
def test_scores_are_shares(exclusive: bool) -> None:
    """On blurred digits, where heads err often: of the labels scored 0.7 to 0.9, that share is right."""
    blurred = VECTORS + np.random.default_rng(5).normal(0.0, 8.0, VECTORS.shape).astype(np.float32)
    made = heads.fit(blurred[LEARN], LABELS[LEARN], exclusive=exclusive, seed=1)
    found = heads.scores(made, blurred[TEST])
    rows = heads.reliability(found, LABELS[TEST], bins=5)
    assert sum(row.known for row in rows) == found.size
    assert all(abs(row.score - row.share) < 0.1 for row in rows if row.known > 200)
    assert sum(row.known for row in rows[1:4]) > 400  # it is unsure of many, so this can fail


def test_the_solver_finds_the_least_loss() -> None:
    rows = ((VECTORS - VECTORS.mean(axis=0)) / 20.0)[LEARN]
    ones = np.ones((len(rows), 1), np.float32)
    problem = Problem(rows, LABELS[LEARN], ones, np.array([1.0], np.float32), True)
    found = solve(problem, lambda _: None, lambda: False)
    theirs = LogisticRegression(C=1.0, max_iter=5000, tol=1e-8).fit(rows, DIGITS[LEARN])
    ours = rows @ found.weights[0].T + found.biases[0]
    expected = rows @ theirs.coef_.T + theirs.intercept_
    ours, expected = (each - each.mean(axis=1, keepdims=True) for each in (ours, expected))
    np.testing.assert_allclose(ours, expected, atol=0.05)


def test_unknown_labels_teach_nothing() -> None:
    labels = LABELS[LEARN].copy()
    labels[300:] = np.nan
    some = heads.fit(VECTORS[LEARN], labels, exclusive=True, seed=1)
    only = heads.fit(VECTORS[LEARN[:300]], LABELS[LEARN[:300]], exclusive=True, seed=1)
    assert some.weights.tobytes() == only.weights.tobytes()
    partly = LABELS[LEARN].copy()
    partly[:, 3] = np.nan
    separate = heads.fit(VECTORS[LEARN], partly, exclusive=False, seed=1)
    assert not separate.weights[3].any()
    assert separate.biases[3] == 0.0


def test_a_concept_with_one_kind_of_label_is_said_as_often_as_it_was() -> None:
    labels = LABELS[LEARN].copy()
    labels[:, 0] = 1.0
    found = heads.scores(heads.fit(VECTORS[LEARN], labels, exclusive=False, seed=1), VECTORS[TEST])
    np.testing.assert_allclose(found[:, 0], 601 / 602, atol=1e-5)


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("exclusive", [True, False])
def test_few_examples_are_enough_to_say_something(count: int, exclusive: bool) -> None:
    found = heads.scores(heads.fit(VECTORS[:count], LABELS[:count], exclusive=exclusive, seed=1), VECTORS[TEST])
    assert np.isfinite(found).all()


def test_vectors_that_are_all_alike_do_no_harm() -> None:
    same = np.ones((20, 4), np.float32)
    labels = np.stack([np.arange(20) % 2, 1 - np.arange(20) % 2], axis=1).astype(np.float32)
    for exclusive in (True, False):
        found = heads.scores(heads.fit(same, labels, exclusive=exclusive, seed=1), same)
        np.testing.assert_allclose(found, 0.5, atol=0.02)


def test_it_can_be_stopped_and_tells_how_far_it_is() -> None:
    told: list[float] = []
    heads.fit(VECTORS[LEARN], LABELS[LEARN], exclusive=True, seed=1, progress=told.append)
    assert told == sorted(told)
    assert told[-1] == 1.0
    with pytest.raises(heads.Stopped):
        heads.fit(VECTORS[LEARN], LABELS[LEARN], exclusive=True, seed=1, stop=lambda: True)


def test_held_out_scores_come_from_heads_that_did_not_see_the_label() -> None:
    labels = LABELS[LEARN].copy()
    labels[0] = np.roll(labels[0], 1)  # wrong
    found = heads.held_out(VECTORS[LEARN], labels, exclusive=True, seed=1)
    assert found[0].argmax() == DIGITS[LEARN[0]]
    assert float((found.argmax(axis=1) == DIGITS[LEARN]).mean()) > 0.9


def test_what_one_example_teaches_is_not_known_without_it() -> None:
    """Two concepts that exclude each other, both said to be true of the one example that says anything."""
    labels = np.array([[1, 1], [0, 0], [np.nan, 0], [0, 0]], np.float32)
    found = heads.held_out(np.eye(4, dtype=np.float32), labels, exclusive=True, seed=1)
    assert found[0].tolist() == [0.5, 0.5]
    assert np.isfinite(found).all()


def test_folds_deal_each_concept_evenly() -> None:
    fold = heads.folds_of(LABELS[LEARN], 1, 5)
    for digit in range(10):
        counts = np.bincount(fold[DIGITS[LEARN] == digit], minlength=5)
        assert counts.max() - counts.min() <= 1


def test_neighbours_vote_by_nearness() -> None:
    near = neighbours.nearest(VECTORS[LEARN], VECTORS[TEST], 10)
    exact = ((VECTORS[TEST][:, None, :] - VECTORS[LEARN][None]) ** 2).sum(axis=2)
    np.testing.assert_array_equal(near.rows[:, 0], exact.argmin(axis=1))
    labels = LABELS[LEARN]
    found = neighbours.neighbour_scores(near.squares, labels[near.rows], neighbours.shares(labels), exclusive=True)
    assert right(found) > 0.95
    np.testing.assert_allclose(found.sum(axis=1), 1.0, atol=1e-5)
    itself = neighbours.nearest(VECTORS[LEARN], VECTORS[LEARN], 3, without_self=True)
    assert not (itself.rows == np.arange(len(LEARN))[:, None]).any()


def test_nobody_near_leaves_the_share() -> None:
    squares = np.full((1, 2), np.inf, np.float32)
    labels = np.full((1, 2, 1), np.nan, np.float32)
    found = neighbours.neighbour_scores(squares, labels, np.array([0.3], np.float32), exclusive=False)
    assert found[0, 0] == pytest.approx(0.3)
