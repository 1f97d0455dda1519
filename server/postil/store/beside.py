"""Changes keys in the database of a server that runs: short transactions on a connection of its own.

Safe because keys take no number from the counters that the server keeps in memory, and are no part of the change feed:
SQLite orders the two writers, each waiting for the other's milliseconds. Nothing else may be written this way.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TypeVar

from sqlite_utils import Database

from postil.store.base import WriteFailed
from postil.store.layout import DATABASE
from postil.store.migrations import NewerSchema, migrations
from postil.store.queries import SqliteQueries
from postil.store.queries_keys import KeyRowWrites
from postil.store.sql import connect

T = TypeVar("T")


class _Transaction(KeyRowWrites, SqliteQueries):
    """`keys.KeyTransaction`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        super().__init__(connection)
        self.now_us = time.time_ns() // 1000


class KeysBeside:
    """`keys.KeyStore` over the database of a data directory that some server may have open.

    Raises:
        NewerSchema: The database has another schema than this version.
    """

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / DATABASE
        with closing(connect(self._path, writer=True)) as connection:
            pending = migrations.pending(Database(connection))
        if pending:
            raise NewerSchema(f"{self._path} belongs to a server of an older version: use that version's command.")
        self._reader = SqliteQueries(connect(self._path, writer=False))

    def read(self) -> SqliteQueries:
        return self._reader

    def write(self, op: Callable[[_Transaction], T]) -> T:
        """Raises WriteFailed when the disk refused, or the server kept the database for longer than five seconds."""
        with closing(connect(self._path, writer=True)) as connection:
            try:
                connection.execute("BEGIN IMMEDIATE")
                result = op(_Transaction(connection))
                connection.execute("COMMIT")
            except sqlite3.OperationalError as error:
                raise WriteFailed(str(error)) from error
            return result
