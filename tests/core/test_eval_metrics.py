"""The figures of an evaluation, beside scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as theirs

from postil.core import doubts, eval_metrics
from postil.v1.concept_pb2 import Concept

CONCEPTS = [Concept(id=name, name=name) for name in ("ash", "birch", "cedar")]


def drawn(seed: int, rows: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """Scores with ties, and labels that follow them more or less."""
    numbers = np.random.default_rng(seed)
    raw = numbers.random((rows, 3)) ** 2
    labels = np.eye(3)[[numbers.choice(3, p=row / row.sum()) for row in raw]]
    scores = np.round(raw / raw.sum(axis=1, keepdims=True), 2)
    return scores.astype(np.float32), labels.astype(np.float32)


@pytest.mark.parametrize("seed", range(5))
def test_figures_are_those_of_scikit_learn(seed: int) -> None:
    scores, labels = drawn(seed)
    found = eval_metrics.figures(scores, labels, CONCEPTS)
    for place, one in enumerate(found.binary_metrics):
        truth, said = labels[:, place], scores[:, place]
        assert one.roc_auc == pytest.approx(theirs.roc_auc_score(truth, said), abs=1e-6)
        assert one.avg_precision == pytest.approx(theirs.average_precision_score(truth, said), abs=1e-6)
        assert one.f1 == pytest.approx(theirs.f1_score(truth, said >= 0.5), abs=1e-6)
        assert one.precision == pytest.approx(theirs.precision_score(truth, said >= 0.5), abs=1e-6)
        assert one.recall == pytest.approx(theirs.recall_score(truth, said >= 0.5), abs=1e-6)
        assert len(one.roc_curve.fpr) <= eval_metrics.POINTS
        area = np.trapezoid(one.roc_curve.tpr, one.roc_curve.fpr)
        assert area == pytest.approx(one.roc_auc, abs=0.01)  # thinned, but the same curve
    table = theirs.confusion_matrix(labels.argmax(axis=1), scores.argmax(axis=1))
    cells = {(cell.actual, cell.predicted): cell.value for cell in found.confusion_matrix.matrix}
    names = [concept.id for concept in CONCEPTS]
    ours = [[cells.get((actual, said), 0.0) for said in names] for actual in names]
    np.testing.assert_array_equal(ours, table)
    assert found.summary.top1_accuracy == pytest.approx((labels.argmax(1) == scores.argmax(1)).mean())
    assert found.summary.top5_accuracy == 1.0


def test_unknown_labels_are_left_out_and_one_kind_has_no_curve() -> None:
    scores, labels = drawn(7)
    labels[:, 1] = np.nan
    labels[:, 2] = 0.0
    found = eval_metrics.figures(scores, labels, CONCEPTS)
    assert found.binary_metrics[1].num_tot == 0
    assert found.binary_metrics[2].num_neg == len(labels)
    assert found.binary_metrics[2].roc_auc == 0.0
    assert not found.binary_metrics[2].roc_curve.fpr
    assert found.summary.macro_avg_roc_auc == pytest.approx(found.binary_metrics[0].roc_auc)


def test_the_worst_mistake_comes_first() -> None:
    labels = np.array([[1, 0], [1, 0], [1, 0], [0, 1]], np.float32)
    scores = np.array([[0.9, 0.1], [0.4, 0.6], [0.1, 0.9], [0.2, 0.8]], np.float32)
    assert eval_metrics.mistaken(scores, labels, exclusive=True).tolist() == [2, 1]
    assert eval_metrics.mistaken(scores, labels, exclusive=False).tolist() == [2, 1]
    labels[2, 0] = labels[2, 1] = np.nan
    assert eval_metrics.mistaken(scores, labels, exclusive=False).tolist() == [1]


def test_wrong_labels_are_counted() -> None:
    numbers = np.random.default_rng(1)
    truth = numbers.integers(0, 3, 400)
    scores = np.full((400, 3), 0.05, np.float32)
    scores[np.arange(400), truth] = 0.9
    given = truth.copy()
    given[:20] = (given[:20] + 1) % 3
    labels = np.eye(3, dtype=np.float32)[given]
    assert doubts.wrongs(scores, labels, exclusive=True) == 20
    assert doubts.wrongs(scores, labels, exclusive=False) == 20
    assert doubts.wrongs(scores, np.eye(3, dtype=np.float32)[truth], exclusive=True) == 0
