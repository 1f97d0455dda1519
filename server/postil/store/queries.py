"""All reads over one connection, and the readers that threads keep."""

from __future__ import annotations

import sqlite3
import threading
import weakref
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from postil.store.base import StoreClosed
from postil.store.feed import CHUNK_CHANGES, ChangeRow
from postil.store.queries_annotations import AnnotationQueries
from postil.store.queries_concepts import ConceptQueries
from postil.store.queries_datasets import DatasetRows
from postil.store.queries_evaluations import EvaluationRows
from postil.store.queries_facts import FactQueries
from postil.store.queries_feedback import FeedbackRows
from postil.store.queries_inputs import InputQueries
from postil.store.queries_kept import KeptRows
from postil.store.queries_keys import KeyRows
from postil.store.queries_models import ModelRows
from postil.store.queries_predictions import PredictionRows
from postil.store.queries_vectors import VectorQueries
from postil.store.queries_vocabulary import VocabularyRows
from postil.store.sql import ANY_SIZE, connect


class SqliteQueries(
    InputQueries,
    AnnotationQueries,
    ConceptQueries,
    VectorQueries,
    FactQueries,
    VocabularyRows,
    KeptRows,
    KeyRows,
    PredictionRows,
    FeedbackRows,
    ModelRows,
    DatasetRows,
    EvaluationRows,
):
    """`base.Queries` over one connection. Used by one thread at a time."""

    def __init__(self, connection: sqlite3.Connection, room: int = ANY_SIZE) -> None:
        self._connection = connection
        self._dims = {}
        self.room = room

    def setting(self, name: str) -> str | None:
        row = self._connection.execute("SELECT value FROM settings WHERE name = ?", (name,)).fetchone()
        return str(row[0]) if row else None

    def change_rows(self, after: int) -> list[ChangeRow]:
        """The next rows of the feed, in order."""
        return self._connection.execute(
            "SELECT seq, app, touched, gone, put, spaces_gone FROM changes WHERE seq > ? ORDER BY seq LIMIT ?",
            (after, CHUNK_CHANGES),
        ).fetchall()

    def identity(self) -> str:
        """See `base.Store.identity`."""
        row = self._connection.execute("SELECT value FROM identity").fetchone()
        return str(row[0])


class Readers:
    """One read-only connection per thread that reads; closed when its thread ends, or all together.

    `room`: bytes that one page may hold. A snapshot, which is for work of the server's own, has no such bound.
    """

    def __init__(self, path: Path, room: int) -> None:
        self._path = path
        self._room = room
        self._local = threading.local()
        self._gate = threading.Lock()
        self._open: weakref.WeakSet[SqliteQueries] = weakref.WeakSet()
        self._closed = False

    def get(self) -> SqliteQueries:
        """The calling thread's reader. Raises StoreClosed."""
        try:
            reader: SqliteQueries = self._local.reader
        except AttributeError:
            reader = self._connect()
            self._local.reader = reader
        return reader

    def _connect(self) -> SqliteQueries:
        with self._gate:
            if self._closed:
                raise StoreClosed("The store is closed.")
            connection = connect(self._path, writer=False)
            reader = SqliteQueries(connection, self._room)
            # The thread's end drops the reader, and so closes the connection.
            weakref.finalize(reader, connection.close)
            self._open.add(reader)
            return reader

    @contextmanager
    def snapshot(self) -> Iterator[SqliteQueries]:
        """Reads in one transaction, over a connection of their own."""
        with closing(connect(self._path, writer=False)) as connection:
            connection.execute("BEGIN")
            yield SqliteQueries(connection)

    def __len__(self) -> int:
        """Connections now open."""
        return len(self._open)

    def close(self) -> None:
        """Lets go of every reader. One in the middle of a query is closed when that query is done."""
        with self._gate:
            self._closed = True
            self._local = threading.local()
