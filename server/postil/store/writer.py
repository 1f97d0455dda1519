"""The writer thread: takes the ops that wait, commits them together, hands their changes on, then answers everybody.

One commit costs one fsync, however many ops it holds. Each op runs in its own savepoint, so that one that fails takes
nothing with it. The group takes what is there and never waits for more: while it commits, the next one gathers.

Every statement gives up the interpreter's lock and takes it again, for which it waits behind all threads that have
something to do: what an op costs here is a matter of how many statements it takes.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple, TypeVar

from postil.store.base import Change, StoreClosed, Transaction
from postil.store.counters import Counters
from postil.store.damage import Health
from postil.store.feed import write_changes
from postil.store.sql import connect
from postil.store.transaction import SqliteTransaction

T = TypeVar("T")

GROUP_S = 0.002  # a group takes in no more ops after this long
KEEP_CHANGES = 1_000_000  # sequence numbers; a consumer further behind rebuilds from rows
TRIM_EVERY = 4_096

_log = logging.getLogger(__name__)


class _Op:
    """One op on its way through the writer. `done` is held until it is answered."""

    __slots__ = ("done", "error", "result", "run")

    def __init__(self, run: Callable[[Transaction], Any]) -> None:
        self.run = run
        self.result: Any = None
        self.error: BaseException | None = None
        self.done = threading.Lock()
        self.done.acquire()


class _Group(NamedTuple):
    """The ops of one commit that have succeeded so far, and what they changed."""

    ops: list[_Op]
    changes: list[Change]


class GroupWriter:
    """Owns the one connection that writes. Raises what opening the database raises."""

    def __init__(self, path: Path, health: Health, keep_changes: int = KEEP_CHANGES) -> None:
        self._path = path
        self._health = health
        self._keep_changes = keep_changes
        self._queue: SimpleQueue[_Op | None] = SimpleQueue()
        self._gate = threading.Lock()  # orders submitting and closing
        self._feed = threading.Lock()  # orders publishing and subscribing
        self._closed = False
        self._consumers: list[Callable[[Change], None]] = []
        self._committed = 0
        self._next_trim = 0
        self._opened: SimpleQueue[BaseException | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._main, name="postil-writer", daemon=True)
        self._thread.start()
        failure = self._opened.get()
        if failure is not None:
            raise failure

    @property
    def committed(self) -> int:
        """The newest durable sequence number."""
        return self._committed

    def write(self, run: Callable[[Transaction], T]) -> T:
        """See `base.Store.write`."""
        if threading.get_ident() == self._thread.ident:
            raise RuntimeError("An op or a subscriber called write(): it would wait for itself.")
        op = _Op(run)
        with self._gate:
            if self._closed:
                raise StoreClosed("The store is closed.")
            self._health.check_writable()
            self._queue.put(op)
        op.done.acquire()
        if op.error is not None:
            try:
                raise op.error
            finally:
                del op  # the traceback holds this frame, and op holds the traceback
        result: T = op.result
        return result

    def subscribe(self, consumer: Callable[[Change], None]) -> int:
        """See `base.Store.subscribe`."""
        with self._feed:
            self._consumers.append(consumer)
            return self._committed

    def close(self) -> None:
        """Runs what was submitted before, then ends the thread. Safe to call twice."""
        with self._gate:
            if not self._closed:
                self._closed = True
                self._queue.put(None)
        self._thread.join()

    def _main(self) -> None:
        try:
            connection = connect(self._path, writer=True)
            self._counters = Counters(connection)
            self._committed = self._counters.peek("changes")
        except BaseException as error:  # noqa: BLE001 - raised again in the constructor
            self._opened.put(error)
            return
        self._connection = connection
        self._opened.put(None)
        while (op := self._queue.get()) is not None:
            if self._run_group(op):
                break
        try:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error:
            _log.warning("the write-ahead log could not be folded in; the next start does it", exc_info=True)
        connection.close()

    def _run_group(self, first: _Op) -> bool:
        """Runs and answers `first` and what waits behind it. True when the store was closed meanwhile."""
        group, closing = _Group([], []), False
        seq = self._counters.peek("changes")
        try:
            self._connection.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            self._answer([first], error)
            return False
        try:
            closing = self._gather(first, group)
            if group.ops:
                write_changes(self._connection, group.changes)
                self._counters.save(self._connection)
            self._connection.execute("COMMIT" if group.ops else "ROLLBACK")
        except Exception as error:  # noqa: BLE001 - whatever it is, nothing was kept and everybody is told
            self._undo(seq)
            self._answer(group.ops, error)
            return closing
        self._publish(group.changes)
        self._answer(group.ops)
        self._trim()
        return closing

    def _gather(self, first: _Op, group: _Group) -> bool:
        """Runs ops until none waits or time is up. True when the last thing that waited was the end."""
        deadline = time.perf_counter() + GROUP_S
        op: _Op | None = first
        while op is not None:
            self._attempt(op, group)
            if time.perf_counter() > deadline:
                return False
            try:
                op = self._queue.get_nowait()
            except Empty:
                return False
        return True

    def _attempt(self, op: _Op, group: _Group) -> None:
        """Runs one op in its savepoint; one that fails is undone and answered at once."""
        connection, counters = self._connection, self._counters
        seq = counters.peek("changes")
        try:
            connection.execute("SAVEPOINT op")
            transaction = SqliteTransaction(connection, counters)
            op.result = op.run(transaction)
            changes = transaction.finish()  # the savepoint stays, with those of the ops before: the commit ends them
        except BaseException as error:  # noqa: BLE001 - belongs to whoever gave the op
            counters.rewind_changes(seq)
            self._answer([op], error)
            # After some disk errors SQLite has rolled back everything. Then this fails, and with it the group.
            connection.execute("ROLLBACK TO op")
            connection.execute("RELEASE op")
        else:
            group.ops.append(op)
            group.changes.extend(changes)

    def _undo(self, seq: int) -> None:
        """Back to what was committed."""
        self._counters.rewind_changes(seq)
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except sqlite3.Error:
            _log.exception("a group of writes could not be rolled back")

    def _publish(self, changes: list[Change]) -> None:
        """Tells the consumers. One that raises is logged and catches up from rows: the write itself is done."""
        if not changes:
            return
        with self._feed:
            self._committed = changes[-1].seq
            for change in changes:
                for consumer in self._consumers:
                    try:
                        consumer(change)
                    except Exception:  # noqa: BLE001 - one consumer's fault is not the writers'
                        _log.exception("a consumer failed on change %d", change.seq)

    def _trim(self) -> None:
        """Keeps the feed at a bounded length."""
        if self._committed < self._next_trim:
            return
        self._next_trim = self._committed + TRIM_EVERY
        try:
            self._connection.execute("DELETE FROM changes WHERE seq <= ?", (self._committed - self._keep_changes,))
        except sqlite3.Error:
            _log.exception("the change feed could not be trimmed")

    def _answer(self, ops: list[_Op], error: BaseException | None = None) -> None:
        """Wakes those who wait; each gets an exception of its own, since raising one adds to it."""
        for op in ops:
            op.error = self._health.explain(error) if error is not None else None
            op.done.release()
