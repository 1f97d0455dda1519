"""Keeps predictions that were answered for a while, so that feedback about them finds what was said.

A prediction does not wait for this: it leaves its outputs in memory, and a thread hands what has gathered to the store
some times a second. The last moments before a crash may be missing.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from itertools import islice

from postil.store.base import OutputRecord, Store, Transaction
from postil.v1.output_pb2 import Output

PUBLIC = 0  # stands for the app of a call under clarifai/main, which has no row

BATCH = 512  # outputs written at a time
EVERY_S = 0.2
MAX_WAITING = 50_000  # outputs in memory; more are dropped
DAYS = 30
_DAY_US = 86_400_000_000
_FORGET_EVERY_S = 600.0
_FORGET_STEP = 2_000

_log = logging.getLogger(__name__)


class OutputLog:
    """The outputs that were answered. Thread-safe.

    Args:
        store: Where they are kept.
        days: How long; 0 keeps none.
    """

    def __init__(self, store: Store, days: int = DAYS) -> None:
        self._store = store
        self._days = days
        self._waiting: dict[tuple[int, str], OutputRecord] = {}  # oldest first; those being written are still here
        self._gate = threading.Lock()
        self._some = threading.Event()
        self._closing = threading.Event()
        self._next_forgetting = 0.0
        self._thread = threading.Thread(target=self._run, name="postil-output-log", daemon=True)

    def start(self) -> None:
        """Begins to write."""
        self._thread.start()

    def close(self) -> None:
        """Writes what is left and ends the thread. Safe to call twice, and without `start`."""
        self._closing.set()
        self._some.set()
        if self._thread.is_alive():
            self._thread.join()

    def record(self, app: int, outputs: Sequence[tuple[str, bytes]]) -> None:
        """Takes note of outputs: (id, serialized Output), made just now in the app of that row, or PUBLIC."""
        if not self._days or not outputs:
            return
        now_us = time.time_ns() // 1000
        with self._gate:
            room = MAX_WAITING - len(self._waiting)
            for output_id, message in outputs[: max(0, room)]:
                self._waiting[app, output_id] = OutputRecord(app, output_id, now_us, message)
        self._some.set()

    def find(self, app: int, output_id: str) -> Output | None:
        """The output answered in the app, written or not; None when there is none, or it was too long ago."""
        with self._gate:
            record = self._waiting.get((app, output_id))
        record = record or self._store.read().outputs(app, [output_id]).get(output_id)
        return Output.FromString(record.message) if record else None

    def _run(self) -> None:
        while True:
            self._some.wait(_FORGET_EVERY_S)
            self._closing.wait(EVERY_S)
            left = self._write()
            self._forget()
            if self._closing.is_set() and not left:
                return

    def _write(self) -> int:
        with self._gate:
            batch = list(islice(self._waiting.items(), BATCH))
        if batch:
            self._try(lambda tx: tx.keep_outputs([record for _, record in batch]))
        with self._gate:
            for key, _ in batch:
                del self._waiting[key]
            left = len(self._waiting)
            if not left and not self._closing.is_set():
                self._some.clear()
        return left

    def _forget(self) -> None:
        now = time.monotonic()
        if now < self._next_forgetting or self._closing.is_set():
            return
        self._next_forgetting = now + _FORGET_EVERY_S
        before_us = time.time_ns() // 1000 - self._days * _DAY_US
        while not self._closing.is_set() and self._try(lambda tx: tx.forget_outputs(before_us, _FORGET_STEP)):
            pass

    def _try(self, op: Callable[[Transaction], int | None]) -> int:
        """What the op gives; 0 when the store fails, which is logged: nobody waits for an answer here."""
        try:
            return self._store.write(op) or 0
        except Exception:  # noqa: BLE001 - a full disk must not end the thread
            _log.exception("outputs could not be written; feedback will not find them")
            return 0
