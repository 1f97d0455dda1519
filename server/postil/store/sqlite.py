"""The store over one SQLite file: opening it, reading, writing, and its change feed.

DIR/lock            held while the store is open
DIR/postil.sqlite3  every row, with its write-ahead log beside it
DIR/keys.stamp      changes whenever keys do
DIR/blobs/          pictures, videos and masks by their digest
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Self, TypeVar, cast

from postil.store import feed
from postil.store.base import Change, Queries, Transaction
from postil.store.blobs import FileBlobs, make_directory
from postil.store.damage import Checker, Health
from postil.store.layout import BLOBS, DATABASE, keep_private, refuse_unfinished
from postil.store.lock import PATIENCE_S, DirectoryLock
from postil.store.migrations import migrate, migrations
from postil.store.queries import Readers
from postil.store.sql import ANY_SIZE
from postil.store.stamp import FileStamp
from postil.store.transaction import SqliteTransaction
from postil.store.writer import KEEP_CHANGES, GroupWriter

T = TypeVar("T")

_TRIM_STEP = 10_000  # changes deleted per op, so that writers wait milliseconds


class SqliteStore:
    """`base.Store` in a directory of its own, created when it is missing.

    Args:
        data_dir: The directory. One store at a time has it open.
        keep_changes: How many sequence numbers the feed keeps; a consumer further behind rebuilds from rows.
        room: Bytes of messages that one page of a list or a search may hold.

    Raises:
        DirectoryInUse: Another process has it open.
        NewerSchema: A newer Postil wrote it.
        Corrupt: The database is damaged beyond opening.
        WriteFailed: The disk is full, or may not be written to.
        Unfinished: A restore into it broke off.
    """

    def __init__(self, data_dir: Path, *, keep_changes: int = KEEP_CHANGES, room: int = ANY_SIZE) -> None:
        make_directory(data_dir)
        self._lock = DirectoryLock(data_dir, PATIENCE_S)
        self._path = path = data_dir / DATABASE
        self.health = Health(path)
        try:
            refuse_unfinished(data_dir)
            migrate(path)
            keep_private(data_dir)
            make_directory(data_dir / BLOBS)
            self.blobs = FileBlobs(data_dir / BLOBS)
            self.key_stamp = FileStamp(data_dir)
            self._readers = Readers(path, room)
            self._identity = self._readers.get().identity()
            self._writer = GroupWriter(path, self.health, keep_changes)
        except BaseException as error:  # noqa: BLE001 - raised again, in words that help
            self._lock.release()
            raise self.health.explain_opening(error)  # noqa: B904 - it has its cause

    @property
    def identity(self) -> str:
        return self._identity

    @property
    def schema(self) -> str:
        """The newest step of the schema: what is derived from rows of another one must be derived again."""
        return str(migrations._migrations[-1].name)  # noqa: SLF001 - no public list of all steps

    @property
    def committed(self) -> int:
        return self._writer.committed

    def read(self) -> Queries:
        return self._readers.get()

    def snapshot(self) -> AbstractContextManager[Queries]:
        return self._readers.snapshot()

    def write(self, op: Callable[[Transaction], T]) -> T:
        return self._writer.write(op)

    def subscribe(self, consumer: Callable[[Change], None]) -> int:
        return self._writer.subscribe(consumer)

    def changes(self, since: int) -> Iterator[Change]:
        return feed.replay(since, self.committed, self._change_rows, self.read)

    def _change_rows(self, after: int) -> list[feed.ChangeRow]:
        return self._readers.get().change_rows(after)

    def trim_changes(self, up_to: int) -> None:
        reach = min(up_to, self.committed)

        def forget(transaction: Transaction) -> int:
            return cast("SqliteTransaction", transaction).forget_changes(reach, _TRIM_STEP)

        while self.write(forget) == _TRIM_STEP:
            pass

    def checker(self, then: Callable[[], object] = lambda: None) -> Checker:
        """Looks through all pages once it is started, then does what else is to be done; `health` tells the outcome."""
        return Checker(self._path, self.health, then)

    def close(self) -> None:
        """Finishes the writes that were submitted, then lets the directory go. Safe to call twice."""
        self.health.close()
        self._writer.close()
        self._readers.close()
        self.key_stamp.close()
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
