"""The thread that evaluates trained versions, one at a time, in the order in which they were asked for.

As with trainings the queue is the rows themselves (statuses 21303 and 21301), so a restart goes on where it stopped,
and what is found is written only if the evaluation still waits for it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from postil import processors
from postil.core import eval_metrics, evaluations, heads, own_cards, statuses, training_data
from postil.core.heads import Stopped
from postil.errors import Failure
from postil.store.base import EvaluationRecord, Missing, Queries, Store, Transaction, VersionRecord
from postil.v1.concept_pb2 import Concept
from postil.v1.evaluation_pb2 import EvalMetrics, EvalTestSetEntry
from postil.v1.model_pb2 import ModelVersion
from postil.v1.status_code_pb2 import StatusCode

CASES = 200  # examples got wrong that are kept
KEPT = 20  # evaluations of a version; older ones are forgotten
FEWEST = 10  # examples

_LOOK_AGAIN_SECONDS = 30.0
_SHOWN = 5  # concepts said of a case
_WAITING = (StatusCode.MODEL_QUEUED_FOR_EVALUATION, StatusCode.MODEL_EVALUATING)
_log = logging.getLogger(__name__)


class Evaluating:
    """The worker behind PostModelVersionMetrics and PostModelVersionEvaluations.

    Args:
        store: Where evaluations wait, and what they judge is.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._work = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="evaluating", daemon=True)

    def start(self) -> None:
        """Begins with what an earlier run left."""
        self._work.set()
        self._thread.start()

    def wake(self) -> None:
        """Says that an evaluation may wait."""
        self._work.set()

    def close(self) -> None:
        """Ends the evaluation at hand, which begins again with the next start."""
        self._stopping.set()
        self._work.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        processors.step_back(processors.LONG_WORK)
        while not self._stopping.is_set():
            self._work.wait(_LOOK_AGAIN_SECONDS)
            self._work.clear()
            try:
                self._drain()
            except Exception:  # noqa: BLE001 - the thread must outlive a passing fault of the store
                _log.exception("evaluations cannot be looked for")

    def _drain(self) -> None:
        while not self._stopping.is_set():
            waiting = self._store.read().waiting_evaluations(None, 1)
            if not waiting:
                return
            self._one(waiting[0])

    def _one(self, record: EvaluationRecord) -> None:
        try:
            found = self._evaluate(record)
            self._store.write(lambda tx: _finish(tx, record, found))
        except (Stopped, Missing):  # deleted, or to be begun again
            return
        except Failure as failure:
            self._fail(record, failure)
        except Exception:  # noqa: BLE001 - whatever went wrong, it gets a state instead of waiting for ever
            _log.exception("evaluation %s broke off", record.id)
            details = "The evaluation broke off for a reason that is in the server's log; evaluate again."
            self._fail(record, Failure(StatusCode.MODEL_EVALUATION_FAILED, details))

    def _evaluate(self, record: EvaluationRecord) -> EvalMetrics:
        queries = self._store.read()
        version, app = queries.version_by_row(record.version), queries.app_by_row(record.app)
        model = queries.model_by_row(version.model) if version else None
        if version is None or app is None or model is None:
            raise Stopped
        self._store.write(lambda tx: _begin(tx, record))
        concepts = own_cards.concepts(queries, app, model, version)
        rows, vectors, labels = _examples(queries, version)
        asked = evaluations.asked(EvalMetrics.FromString(record.message).eval_info)
        exclusive = ModelVersion.FromString(version.message).output_info.output_config.concepts_mutually_exclusive
        folds = min(asked.folds, len(rows))
        said = heads.held_out(
            vectors, labels, exclusive=exclusive, seed=asked.seed, folds=folds, stop=self._stopping.is_set
        )
        found = eval_metrics.figures(said, labels, concepts)
        found.extended_metrics.user_metrics.update({"folds": folds})
        wrong = eval_metrics.mistaken(said, labels, exclusive=exclusive)
        found.test_set.extend(_cases(queries, concepts, rows[wrong], said[wrong], labels[wrong]))
        return found

    def _fail(self, record: EvaluationRecord, failure: Failure) -> None:
        with suppress(Missing):
            self._store.write(lambda tx: _set_failed(tx, record, failure))


def _examples(
    queries: Queries, version: VersionRecord
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]:
    """(anchors [n], vectors [n, dim], labels [n, concepts]) that the version was trained on, as far as they exist.

    Raises:
        Failure: MODEL_EVALUATION_NEED_INPUTS when too few are left.
    """
    examples = queries.examples(version.row)
    spaces = {space.row: space for space in queries.spaces(version.app)}
    if examples is None or examples.space not in spaces:
        raise Failure(
            StatusCode.MODEL_EVALUATION_NEED_INPUTS, "The vectors that it was trained on are gone; train it again."
        )
    rows, vectors = training_data.read_vectors(queries, spaces[examples.space], examples.anchors)
    if len(rows) < FEWEST:
        raise Failure(
            StatusCode.MODEL_EVALUATION_NEED_INPUTS,
            f"{len(rows)} of the inputs that it was trained on are left, {FEWEST} are needed; label more and train it "
            "again.",
        )
    return rows, vectors, examples.labels[np.isin(examples.anchors, rows)]


def _cases(
    queries: Queries,
    concepts: Sequence[Concept],
    anchors: NDArray[np.int64],
    scores: NDArray[np.float32],
    labels: NDArray[np.float32],
) -> list[EvalTestSetEntry]:
    """What was got wrong, as far as it still exists."""
    rows = anchors[:CASES].tolist()
    records = queries.annotations_by_row(rows)
    inputs = queries.inputs_by_row([record.input for record in records.values()])
    made = []
    for row, said, known in zip(rows, scores, labels, strict=False):
        if row not in records or records[row].input not in inputs:
            continue
        entry = EvalTestSetEntry()
        entry.input.id = inputs[records[row].input].id
        entry.annotation.id, entry.annotation.input_id = records[row].id, entry.input.id
        for place in np.argsort(-said, kind="stable")[:_SHOWN].tolist():
            entry.predicted_concepts.add(id=concepts[place].id, name=concepts[place].name, value=said[place])
        for place in np.flatnonzero((known == 1.0) | ((known == 0.0) & (said >= 0.5))).tolist():
            entry.ground_truth_concepts.add(id=concepts[place].id, name=concepts[place].name, value=known[place])
        made.append(entry)
    return made


def _waiting(tx: Transaction, record: EvaluationRecord) -> EvalMetrics | None:
    held = tx.evaluation_by_row(record.row)
    return EvalMetrics.FromString(held.message) if held is not None and held.status in _WAITING else None


def _begin(tx: Transaction, record: EvaluationRecord) -> None:
    message = _waiting(tx, record)
    if message is None:
        raise Missing(f"evaluation {record.row}")
    message.status.CopyFrom(statuses.status(StatusCode.MODEL_EVALUATING))
    tx.update_evaluation(record.row, StatusCode.MODEL_EVALUATING, message.SerializeToString())


def _finish(tx: Transaction, record: EvaluationRecord, found: EvalMetrics) -> None:
    """Writes what was found, if it still waits."""
    message = _waiting(tx, record)
    if message is None:
        return
    message.status.CopyFrom(statuses.status(StatusCode.MODEL_EVALUATED))
    message.summary.CopyFrom(found.summary)
    message.extended_metrics.CopyFrom(found.extended_metrics)
    found.ClearField("summary")
    found.ClearField("extended_metrics")
    tx.update_evaluation(record.row, StatusCode.MODEL_EVALUATED, message.SerializeToString(), found.SerializeToString())
    tx.delete_evaluations(record.version, KEPT)


def _set_failed(tx: Transaction, record: EvaluationRecord, failure: Failure) -> None:
    message = _waiting(tx, record)
    if message is not None:
        message.status.CopyFrom(statuses.of_failure(failure))
        tx.update_evaluation(record.row, failure.code, message.SerializeToString())
