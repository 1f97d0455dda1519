"""Finishing inputs that were accepted as pending: fetch, open, embed, write.

The queue is the rows themselves (status 30001), so a restart goes on where it stopped, and an input is finished or
failed exactly once however often its work is begun. Apps take turns, and one of them alone never has all workers:
URLs that answer slowly hold up their own app (docs/adr/0026-bounded-answers.md).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from postil.core import base_workflow, predictions, records, statuses
from postil.core.downloads import Downloads
from postil.core.drafts import MEDIA, Draft
from postil.core.hosting import digest_of
from postil.core.intake import Intake, settle
from postil.core.spaces import Spaces
from postil.errors import Failure
from postil.store.base import Corrupt, InputRecord, Queries, Store, Transaction, WriteFailed
from postil.v1.data_pb2 import Data
from postil.v1.input_pb2 import Input
from postil.v1.status_code_pb2 import StatusCode

_AT_ONCE = 8  # fetches wait on the network, so more than there are cores; an app that is alone has half of them
_EMBED_SECONDS = 600.0
_LOOK_AGAIN_SECONDS = 30.0
_PAUSE_SECONDS = 1.0  # after the disk refused
_PENDING = (StatusCode.INPUT_PENDING, StatusCode.INPUT_IN_PROGRESS)

_log = logging.getLogger(__name__)


class Processing:
    """The workers behind pending inputs.

    Args:
        store: Where they are.
        intake: Opens and embeds media.
        downloads: Fetches what was given by URL.
    """

    def __init__(self, store: Store, intake: Intake, downloads: Downloads) -> None:
        self._store = store
        self._intake = intake
        self._downloads = downloads
        self._work = threading.Event()
        self._stopping = threading.Event()
        self._busy: dict[int, int] = {}  # input -> app, as rows
        self._unwanted: set[int] = set()  # of those, which were cancelled or deleted
        self._last = 0  # app whose turn it was
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="processing")
        self._thread = threading.Thread(target=self._run, name="processing", daemon=True)

    def start(self) -> None:
        """Begins with what an earlier run left pending."""
        self._work.set()
        self._thread.start()

    def wake(self) -> None:
        """Says that there may be new pending inputs, or that some are not to be finished any more."""
        self._work.set()

    def close(self) -> None:
        """Lets running work end, but for what still waits for the network; that and the rest stays pending."""
        self._stopping.set()
        self._work.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._work.wait(_LOOK_AGAIN_SECONDS)
            self._work.clear()
            try:
                self._begin()
            except Exception:  # noqa: BLE001 - the thread must outlive a passing fault of the store
                _log.exception("cannot look for pending inputs")

    def _begin(self) -> None:
        """Gives work to free workers, in turn to the apps that have any. An app gets one more only while it has fewer
        than are free: alone it has half of them, and whoever comes next half of what is left."""
        store = self._store.read()
        self._drop(store)
        queues = store.pending_inputs(self._last, 2 * _AT_ONCE, _AT_ONCE)
        begun = True
        while begun:
            begun = False
            for app, rows in queues.items():
                row = self._take(app, rows)
                if row is not None:
                    self._pool.submit(self._one, app, row)
                    self._last, begun = app, True

    def _take(self, app: int, rows: Sequence[int]) -> int | None:
        """The next input of the app, if there is one and a worker for it."""
        with self._lock:
            held = sum(1 for owner in self._busy.values() if owner == app)
            row = next((row for row in rows if row not in self._busy), None)
            if row is None or held >= _AT_ONCE - len(self._busy):
                return None
            self._busy[row] = app
            return row

    def _drop(self, store: Queries) -> None:
        """Takes note of inputs that are worked on and need not be."""
        with self._lock:
            busy = set(self._busy)
        there = {row for row, record in store.inputs_by_row(list(busy)).items() if record.status in _PENDING}
        with self._lock:
            self._unwanted |= (busy - there) & self._busy.keys()

    def _one(self, app: int, row: int) -> None:
        record = None
        try:
            record = self._store.read().inputs_by_row([row]).get(row)
            if record is not None and record.status in _PENDING and self._wanted(row):
                self._finish(app, record)
        except (WriteFailed, Corrupt) as error:  # it was accepted: it waits until the store takes writes again
            _log.warning("input %s stays pending: %s", record.id if record else row, error)
            self._stopping.wait(_PAUSE_SECONDS)
        except Exception:  # noqa: BLE001 - whatever went wrong, the input gets a status instead of waiting for ever
            _log.exception("input %s could not be finished", record.id if record else row)
            if record is not None:
                self._fail(app, record, Failure(StatusCode.INPUT_FAILED, f"input {record.id!r} could not be processed"))
        finally:
            with self._lock:
                self._busy.pop(row, None)
                self._unwanted.discard(row)
            self._work.set()

    def _wanted(self, row: int) -> bool:
        return not self._stopping.is_set() and row not in self._unwanted

    def _finish(self, app: int, record: InputRecord) -> None:
        made = self._draft(record)
        if not self._wanted(record.row):  # it failed because it was cut off, or what it gave came too late
            return
        if made.failure is None:
            owner = self._store.read().app_by_row(app)
            if owner is None:  # deleted meanwhile, and the input with it
                return
            self._intake.take([made], base_workflow.of_app(self._store.read(), owner))
            settle(made, time.monotonic() + _EMBED_SECONDS)
        if made.pending:
            made.failure = Failure(StatusCode.INPUT_FAILED, f"{made.where}: no model answered in {_EMBED_SECONDS:g} s")
        if made.failure is not None:
            self._fail(app, record, made.failure)
        else:
            self._store.write(lambda tx: _complete(tx, app, record.id, made))

    def _draft(self, record: InputRecord) -> Draft:
        message = Input.FromString(record.message)
        medium = next(name for name in MEDIA if _given(message, name))
        made = Draft(f"input {record.id!r}", message, Data(), medium)
        stored = getattr(message.data, medium)
        digest = digest_of(stored.hosted)
        try:
            kept = self._intake.blob(digest) if digest else None
            if kept is not None:
                made.content = kept
            elif medium == "text" and stored.raw:
                made.content = stored.raw.encode()
            else:
                made.content = self._downloads.get(stored.url, wanted=partial(self._wanted, record.row))
        except Failure as failure:
            made.failure = Failure(failure.code, f"{made.where}: {failure.details}", failure.notes)
        return made

    def _fail(self, app: int, record: InputRecord, failure: Failure) -> None:
        self._store.write(lambda tx: _record_failure(tx, app, record.id, failure))


def _given(message: Input, medium: str) -> bool:
    return bool(getattr(message.data, medium).ByteSize())


def _still_pending(tx: Transaction, app: int, input_id: str) -> InputRecord | None:
    record = tx.input(app, input_id)
    return record if record is not None and record.status in _PENDING else None


def _complete(tx: Transaction, app: int, input_id: str, made: Draft) -> None:
    """Writes a finished input; labels that were patched in meanwhile stay."""
    record = _still_pending(tx, app, input_id)
    if record is None:
        return
    spaces = Spaces(tx, app)
    problem = spaces.problem(made.vectors)
    if problem:
        _record_failure(tx, app, input_id, Failure(StatusCode.INPUT_FAILED, f"input {input_id!r}: {problem}"))
        return
    message = Input.FromString(record.message)
    getattr(message.data, made.medium).CopyFrom(getattr(made.message.data, made.medium))
    body = records.input_body(message)
    stored = records.input_message(body, StatusCode.INPUT_SUCCESS, record.created_us, tx.now_us)
    tx.update_input(record.row, stored, status=StatusCode.INPUT_SUCCESS, blobs=made.blobs)
    spaces.add(record.anchor, made.vectors)
    spaces.write()
    if made.values:
        number = tx.reserve_annotations(1)[0]
        said = predictions.new_prediction(number, record.row, record.id, record.anchor, made.values, tx.now_us)
        tx.add_predictions(app, [said])


def _record_failure(tx: Transaction, app: int, input_id: str, failure: Failure) -> None:
    record = _still_pending(tx, app, input_id)
    if record is None:
        return
    message = Input.FromString(record.message)
    message.status.CopyFrom(statuses.of_failure(failure))
    message.modified_at.FromMicroseconds(tx.now_us)
    tx.update_input(record.row, message.SerializeToString(), status=failure.code)
