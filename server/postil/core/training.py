"""The thread that trains models, one at a time, in the order in which they were asked for.

The queue is the rows themselves (statuses 21103 and 21101), so a restart goes on where it stopped: a training that was
cut off begins again. What is written at its end is written in one op, and only if the version still waits for it; so a
version that was deleted or taken back, with its model or its app, leaves nothing behind.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from postil import processors
from postil.core import head_evidence, heads, own_versions, statuses, training_data
from postil.core.heads import Heads, Stopped
from postil.core.training_data import Lesson
from postil.embed.base import Embedders
from postil.errors import Failure
from postil.index.base import Indexes
from postil.store.base import Examples, Missing, Store, StoredHeads, Transaction, VersionRecord
from postil.v1.model_pb2 import Model, ModelVersion
from postil.v1.status_code_pb2 import StatusCode

_LOOK_AGAIN_SECONDS = 30.0
_TELL_SECONDS = 0.5  # between looks at the row: whether the training is still wanted, how far it is

_WAITING = (StatusCode.MODEL_QUEUED_FOR_TRAINING, StatusCode.MODEL_TRAINING)
_log = logging.getLogger(__name__)


class Training:
    """The worker behind PostModelVersions.

    Args:
        store: Where versions wait, and what they learn from is.
        embedders: Whose vectors they may name.
        indexes: Where ranks by what was learned will look.
    """

    def __init__(self, store: Store, embedders: Embedders, indexes: Indexes) -> None:
        self._store = store
        self._indexes = indexes
        self._embedders = embedders
        self._work = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="training", daemon=True)

    def start(self) -> None:
        """Begins with what an earlier run left."""
        self._work.set()
        self._thread.start()

    def wake(self) -> None:
        """Says that a version may wait."""
        self._work.set()

    def close(self) -> None:
        """Ends the training at hand, which begins again with the next start."""
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
                _log.exception("trainings cannot be looked for")

    def _drain(self) -> None:
        while not self._stopping.is_set():
            waiting = self._store.read().waiting_versions(None, 1)
            if not waiting:
                return
            self._one(waiting[0])

    def _one(self, version: VersionRecord) -> None:
        watch = _Watch(self._store, version.row, self._stopping.is_set)
        try:
            watch.tell(0.0)
            self._train(version, watch)
        except Stopped:  # taken back, deleted, or to be begun again
            return
        except Failure as failure:
            self._fail(version, failure)
        except Missing:
            return
        except MemoryError:
            details = "There is not enough memory for so many labelled vectors; train on fewer of them."
            self._fail(version, Failure(StatusCode.MODEL_TRAINING_FAILED, details))
        except Exception:  # noqa: BLE001 - whatever went wrong, the version gets a state instead of waiting for ever
            _log.exception("model version %s could not be trained", version.id)
            details = "Training broke off for a reason that is in the server's log; train again."
            self._fail(version, Failure(StatusCode.MODEL_TRAINING_FAILED, details))

    def _train(self, version: VersionRecord, watch: _Watch) -> None:
        sequence, queries = self._store.committed, self._store.read()
        record, app = queries.model_by_row(version.model), queries.app_by_row(version.app)
        if record is None or app is None:
            raise Stopped
        message = ModelVersion.FromString(version.message)
        task = own_versions.task_of(Model.FromString(record.message), message, self._embedders)
        labels = training_data.labels_to_train_on(queries, app, message.train_info.params)
        lesson = training_data.lesson(queries, app, task, training_data.table(queries, app, task, labels), watch)
        watch.tell(0.1)
        made = fit(lesson, exclusive=task.exclusive, seed=task.seed, progress=watch.fitting, stop=watch)
        index = self._indexes.space(lesson.space.row)
        if index is not None:
            stored = StoredHeads(lesson.space.row, made.weights, made.biases, made.exclusive)
            head_evidence.prepare(index, stored, lesson.space, watch)
        examples = Examples(lesson.space.row, sequence, task.seed, *lesson.table)
        self._store.write(lambda tx: _finish(tx, version, task.concepts, examples, made))

    def _fail(self, version: VersionRecord, failure: Failure) -> None:
        with suppress(Missing):
            self._store.write(lambda tx: _set_failed(tx, version.row, failure))


def fit(
    lesson: Lesson,
    *,
    exclusive: bool,
    seed: int,
    progress: Callable[[float], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
) -> Heads:
    """The heads that a lesson makes; with the same lesson the same, to the bit. Raises Stopped."""
    return heads.fit(lesson.vectors, lesson.table.labels, exclusive=exclusive, seed=seed, progress=progress, stop=stop)


class _Watch:
    """Called now and then by a training: says whether it shall end, and tells its row how far it is."""

    def __init__(self, store: Store, row: int, closing: Callable[[], bool]) -> None:
        self._store = store
        self._row = row
        self._closing = closing
        self._share = 0.0
        self._next = 0.0

    def __call__(self) -> bool:
        """Whether to stop."""
        if self._closing():
            return True
        if time.monotonic() < self._next:
            return False
        return not self._store.write(self._tell)

    def fitting(self, share: float) -> None:
        """The fit is that far (0 to 1), after a tenth for reading."""
        self._share = 0.1 + 0.9 * share

    def tell(self, share: float) -> None:
        """The training is that far. Raises Stopped when it is not wanted any more."""
        self._share, self._next = share, 0.0
        if self():
            raise Stopped

    def _tell(self, tx: Transaction) -> bool:
        self._next = time.monotonic() + _TELL_SECONDS
        held = tx.version_by_row(self._row)
        if held is None or held.status not in _WAITING:
            return False
        message = ModelVersion.FromString(held.message)
        percent = min(99, int(self._share * 100))
        message.status.CopyFrom(statuses.status(StatusCode.MODEL_TRAINING, f"{percent} % done."))
        message.status.percent_completed = percent
        tx.update_version(self._row, StatusCode.MODEL_TRAINING, message.SerializeToString())
        return True


def _waiting(tx: Transaction, row: int) -> ModelVersion | None:
    held = tx.version_by_row(row)
    return ModelVersion.FromString(held.message) if held is not None and held.status in _WAITING else None


def _finish(
    tx: Transaction, version: VersionRecord, concepts: tuple[str, ...], examples: Examples, made: Heads
) -> None:
    """Writes what was learned, if the version still waits for it."""
    message = _waiting(tx, version.row)
    if message is None:
        return
    tx.put_examples(version.row, examples)
    tx.put_heads(version.row, concepts, StoredHeads(examples.space, made.weights, made.biases, made.exclusive))
    message.status.CopyFrom(statuses.status(StatusCode.MODEL_TRAINED))
    message.active_concept_count = len(concepts)
    message.total_input_count = len(examples.anchors)
    facts = {"sequence": examples.sequence, "seed": examples.seed, "annotations": len(examples.annotations)}
    message.metadata.get_or_create_struct("training").update(facts)
    message.completed_at.FromMicroseconds(tx.now_us)
    message.modified_at.FromMicroseconds(tx.now_us)
    tx.update_version(version.row, StatusCode.MODEL_TRAINED, message.SerializeToString())


def _set_failed(tx: Transaction, row: int, failure: Failure) -> None:
    message = _waiting(tx, row)
    if message is None:
        return
    message.status.CopyFrom(statuses.of_failure(failure))
    message.modified_at.FromMicroseconds(tx.now_us)
    tx.update_version(row, failure.code, message.SerializeToString())
