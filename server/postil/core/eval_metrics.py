"""The figures of an evaluation, from scores that were made without the labels they are compared with.

Areas under curves follow Fawcett (2006): equal scores are one step. Average precision is the sum of precision over
the steps of recall, without interpolation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from postil.core.heads import reliability
from postil.v1.concept_pb2 import Concept
from postil.v1.evaluation_pb2 import BinaryMetrics, EvalMetrics

Matrix = NDArray[np.float32]
Floats = NDArray[np.float64]

POINTS = 101  # of a curve, at most
_SURE = 0.5  # score from which on a concept is said to be present
_TOP = 5


class Curve(NamedTuple):
    """Counts from the highest threshold to the lowest, equal scores as one."""

    thresholds: Floats  # [steps]
    hits: Floats  # [steps] present ones at or above it
    alarms: Floats  # [steps] absent ones at or above it


def figures(scores: Matrix, labels: Matrix, concepts: Sequence[Concept]) -> EvalMetrics:
    """What an evaluation says, but for status, ids and cases.

    Args:
        scores: float32 [n, concepts], in 0..1.
        labels: float32 [n, concepts]: 1 present, 0 absent, NaN unknown.
        concepts: In the order of the columns.
    """
    made = EvalMetrics()
    for place, concept in enumerate(concepts):
        known = ~np.isnan(labels[:, place])
        _binary(made, concept, scores[known, place], labels[known, place] == 1.0)
    _counts(made, labels, concepts)
    _confusion(made, scores, labels, concepts)
    _summary(made, scores, labels)
    _extended(made, scores, labels)
    return made


def curve(scores: Matrix, present: NDArray[np.bool_]) -> Curve:
    """The steps of scores, float32 [n], against what is present, bool [n]."""
    order = np.argsort(-scores, kind="stable")
    sorted_, truth = scores[order].astype(np.float64), present[order]
    last = np.flatnonzero(np.diff(sorted_, append=-np.inf))  # of each run of equal scores
    return Curve(sorted_[last], np.cumsum(truth)[last].astype(np.float64), np.cumsum(~truth)[last].astype(np.float64))


def roc_auc(steps: Curve) -> float:
    """The area under the ROC curve; 0 without labels of both kinds."""
    if not len(steps.hits) or not steps.hits[-1] or not steps.alarms[-1]:
        return 0.0
    hits, alarms = np.r_[0.0, steps.hits], np.r_[0.0, steps.alarms]
    return float(np.trapezoid(hits, alarms) / (hits[-1] * alarms[-1]))


def average_precision(steps: Curve) -> float:
    """The mean of precision over the steps of recall; 0 without labels of both kinds."""
    if not len(steps.hits) or not steps.hits[-1] or not steps.alarms[-1]:
        return 0.0
    gained = np.diff(steps.hits, prepend=0.0)
    return float((gained * steps.hits / (steps.hits + steps.alarms)).sum() / steps.hits[-1])


def losses(scores: Matrix, labels: Matrix) -> Matrix:
    """How surprising each known label is: float32 [n, concepts], 0 where it is unknown."""
    said = np.clip(np.where(labels == 1.0, scores, 1.0 - scores), 1e-6, 1.0)
    return np.asarray(np.where(np.isnan(labels), 0.0, -np.log(said)), dtype=np.float32)


def mistaken(scores: Matrix, labels: Matrix, *, exclusive: bool) -> NDArray[np.int64]:
    """Places of the examples that were got wrong, the worst first.

    One whose likeliest concept is not a label where concepts exclude each other; else one with a known label on the
    other side of one half.
    """
    if exclusive:
        told = (labels == 1.0).any(axis=1)
        wrong = told & (labels[np.arange(len(labels)), scores.argmax(axis=1)] != 1.0)
    else:
        wrong = (((scores >= _SURE) != (labels == 1.0)) & ~np.isnan(labels)).any(axis=1)
    places = np.flatnonzero(wrong)
    worst = losses(scores, labels)[places].max(axis=1, initial=0.0)
    return places[np.argsort(-worst, kind="stable")]


def _binary(made: EvalMetrics, concept: Concept, scores: Matrix, present: NDArray[np.bool_]) -> None:
    positives = int(present.sum())
    one = made.binary_metrics.add(concept=concept, num_pos=positives, num_neg=len(present) - positives)
    one.num_tot = len(present)
    said = scores >= _SURE
    right = float((said & present).sum())
    one.precision = right / max(1.0, float(said.sum()))
    one.recall = right / max(1, positives)
    one.f1 = 2.0 * right / max(1.0, float(said.sum()) + positives)
    if 0 < positives < len(present):
        steps = curve(scores, present)
        one.roc_auc, one.avg_precision = roc_auc(steps), average_precision(steps)
        _curves(one, steps)


def _curves(one: BinaryMetrics, steps: Curve) -> None:
    some = _thinned(len(steps.hits))
    hits, alarms, thresholds = steps.hits[some], steps.alarms[some], steps.thresholds[some]
    one.roc_curve.fpr.extend([0.0, *(alarms / steps.alarms[-1])])
    one.roc_curve.tpr.extend([0.0, *(hits / steps.hits[-1])])
    one.roc_curve.thresholds.extend([float(thresholds[0]) + 1.0, *thresholds])
    one.precision_recall_curve.recall.extend(hits / steps.hits[-1])
    one.precision_recall_curve.precision.extend(hits / (hits + alarms))
    one.precision_recall_curve.thresholds.extend(thresholds)


def _thinned(count: int) -> NDArray[np.int64]:
    """Places of at most POINTS - 1 of so many, evenly, with the first and the last."""
    return np.unique(np.linspace(0, count - 1, min(count, POINTS - 1)).round().astype(np.int64))


def _counts(made: EvalMetrics, labels: Matrix, concepts: Sequence[Concept]) -> None:
    present = (labels == 1.0).astype(np.int64)
    together = present.T @ present
    made.cooccurrence_matrix.concept_ids.extend(concept.id for concept in concepts)
    for row, col in np.argwhere(together).tolist():
        made.cooccurrence_matrix.matrix.add(row=concepts[row].id, col=concepts[col].id, count=int(together[row, col]))
    for place, concept in enumerate(concepts):
        count = int(present[:, place].sum())
        made.label_counts.positive_label_counts.add(concept_name=concept.name, concept=concept, count=count)


def _confusion(made: EvalMetrics, scores: Matrix, labels: Matrix, concepts: Sequence[Concept]) -> None:
    """Likeliest concept against labelled one; an input with several labels counts in parts of one."""
    present = (labels == 1.0).astype(np.float64)
    told = present.any(axis=1)
    parts = present[told] / present[told].sum(axis=1, keepdims=True)
    cells = np.zeros((len(concepts), len(concepts)))  # [actual, predicted]
    np.add.at(cells.T, scores[told].argmax(axis=1), parts)
    made.confusion_matrix.concept_ids.extend(concept.id for concept in concepts)
    for actual, predicted in np.argwhere(cells).tolist():
        made.confusion_matrix.matrix.add(
            predicted=concepts[predicted].id,
            actual=concepts[actual].id,
            value=cells[actual, predicted],
            predicted_concept=concepts[predicted],
            actual_concept=concepts[actual],
        )


def _summary(made: EvalMetrics, scores: Matrix, labels: Matrix) -> None:
    told = (labels == 1.0).any(axis=1)
    if told.any():
        order = np.argsort(-scores[told], axis=1, kind="stable")[:, :_TOP]
        right = np.take_along_axis(labels[told] == 1.0, order, axis=1)
        made.summary.top1_accuracy = right[:, 0].mean()
        made.summary.top5_accuracy = right.any(axis=1).mean()
    judged = [one for one in made.binary_metrics if one.num_pos and one.num_neg]
    if not judged:
        return
    areas, f1s = np.array([one.roc_auc for one in judged]), np.array([one.f1 for one in judged])
    made.summary.macro_avg_roc_auc, made.summary.macro_std_roc_auc = areas.mean(), areas.std()
    made.summary.macro_avg_f1_score, made.summary.macro_std_f1_score = f1s.mean(), f1s.std()
    made.summary.macro_avg_precision = float(np.mean([one.precision for one in judged]))
    made.summary.macro_avg_recall = float(np.mean([one.recall for one in judged]))


def _extended(made: EvalMetrics, scores: Matrix, labels: Matrix) -> None:
    known = max(1, int((~np.isnan(labels)).sum()))
    table = reliability(scores, labels)
    error = sum(row.known * abs(row.score - row.share) for row in table) / known
    more = made.extended_metrics.user_metrics
    more.update(
        {
            "examples": len(labels),
            "accuracy": made.summary.top1_accuracy,
            "log_loss": float(losses(scores, labels).sum()) / known,
            "calibration_error": error,
            "reliability": [
                {"low": row.low, "high": row.high, "labels": row.known, "score": row.score, "share": row.share}
                for row in table
            ],
        }
    )
