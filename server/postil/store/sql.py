"""SQL text and parameters that every query shares: connections, lists of values, chunks.

`WHERE +app = ? AND row IN (...)`, here and elsewhere: the plus keeps SQLite from walking an index on app instead of
looking up the few rows. tests/store/test_plans.py counts its steps.
"""

from __future__ import annotations

import json
import sqlite3
import sys
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import quote

from postil.store import seals
from postil.store.faults import TooMuch

CHUNK = 1024  # values per IN list; a power of two, far below SQLite's limit of 32,766 parameters
INSERT_SIZES = (64, 16, 4, 1)  # rows per INSERT: few distinct statements, all of them kept prepared
PAGE_BYTES = 8192  # three vectors of 512 numbers a page where 4096 holds one, and half of it empty
WRITER_CACHE_KIB = 65_536  # keeps the random pages of the id indexes in memory: 1.5 times the load rate
READER_CACHE_KIB = 16_384
ANY_SIZE = sys.maxsize  # of a page: room for anything
LOG_BYTES = 64 << 20  # what one large op has grown the write-ahead log to is given back down to this
_PIECE_BITS = 23  # of a page's bytes, shifted away: so many rows of 1 MiB are an eighth of it
BUSY_MS = 5_000  # only another program on the same file can make us wait


def connect(path: Path, *, writer: bool) -> sqlite3.Connection:
    """Opens the database in autocommit mode: transactions are begun and ended in so many words.

    The writer's connection is bound to the thread that opens it. Readers may be closed from another thread.
    """
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=writer, cached_statements=256)
    seals.register(connection)
    connection.execute(f"PRAGMA busy_timeout={BUSY_MS}")
    connection.execute("PRAGMA temp_store=MEMORY")
    if writer:
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute(f"PRAGMA cache_size=-{WRITER_CACHE_KIB}")
        connection.execute(f"PRAGMA journal_size_limit={LOG_BYTES}")
    else:
        connection.execute(f"PRAGMA cache_size=-{READER_CACHE_KIB}")
        connection.execute("PRAGMA query_only=ON")
    return connection


def connect_still(path: Path) -> sqlite3.Connection:
    """Opens a database that nobody writes, for reading, and leaves no file beside it."""
    connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro&immutable=1", uri=True, isolation_level=None)
    seals.register(connection)
    return connection


@lru_cache(maxsize=512)
def spelled(template: str, count: int) -> str:
    """The statement with its one `{}` replaced by `count` question marks."""
    return template.format(",".join("?" * count))


def padded(values: Sequence[Any]) -> list[Any]:
    """The values, the last one repeated up to a power of two, so that few distinct statements are prepared."""
    missing = (1 << (len(values) - 1).bit_length()) - len(values)
    return [*values, *(values[-1],) * missing]


def chunks(values: Sequence[Any]) -> Iterator[list[Any]]:
    """The values in lists of at most CHUNK, each padded."""
    for start in range(0, len(values), CHUNK):
        yield padded(values[start : start + CHUNK])


def select_in(
    connection: sqlite3.Connection, template: str, values: Sequence[Any], before: tuple[Any, ...] = ()
) -> list[tuple[Any, ...]]:
    """All rows of a SELECT whose `{}` takes the values; `before` binds the parameters that precede them."""
    rows: list[tuple[Any, ...]] = []
    for cursor in cursors_in(connection, template, values, before):
        rows += cursor.fetchall()
    return rows


def cursors_in(
    connection: sqlite3.Connection, template: str, values: Sequence[Any], before: tuple[Any, ...] = ()
) -> Iterator[sqlite3.Cursor]:
    """The same as one cursor after the other, for `page`."""
    for chunk in chunks(values):
        yield connection.execute(spelled(template, len(chunk)), (*before, *chunk))


def listed(columns: str, table: str) -> str:
    """A SELECT of a page; `{}` takes WHERE, ORDER BY and LIMIT. The order is made of row numbers alone, where a plain
    SELECT would sort the messages too: SQLite reads them behind it, row by row, as CROSS JOIN has it."""
    return f"SELECT {columns} FROM (SELECT row AS r FROM {table} {{}}) CROSS JOIN {table} ON row = r"


def page(room: int, columns: Sequence[int], cursors: Iterable[sqlite3.Cursor]) -> list[tuple[Any, ...]]:
    """All rows, read a few at a time, so that what is too much for one answer is never held.

    Args:
        room: Bytes that their messages may hold together.
        columns: Where in a row the messages are, each of 1 MiB at most.
        cursors: Not read from yet.

    Raises:
        TooMuch: They hold more.
    """
    rows: list[tuple[Any, ...]] = []
    size, most = 0, max(1, min(room >> _PIECE_BITS, CHUNK))
    for cursor in cursors:
        while piece := cursor.fetchmany(most):
            rows += piece
            if len(rows) >= most:  # fewer cannot be too much
                size += sum([len(row[column]) for row in piece for column in columns])
                if size > room:
                    raise TooMuch(len(rows), room)
            if len(piece) < most:
                break
    return rows


def run_in(connection: sqlite3.Connection, template: str, values: Sequence[Any], before: tuple[Any, ...] = ()) -> None:
    """Runs a DELETE or UPDATE whose `{}` takes the values."""
    for chunk in chunks(values):
        connection.execute(spelled(template, len(chunk)), (*before, *chunk))


def insert_rows(connection: sqlite3.Connection, head: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """Inserts the rows; `head` is the statement up to and without VALUES.

    Many rows a statement, because executemany gives up the interpreter's lock and takes it again for every row: beside
    threads that search, it takes more than twice as long.
    """
    start = 0
    for size in INSERT_SIZES:
        while len(rows) - start >= size:
            values = chain.from_iterable(rows[start : start + size])
            connection.execute(_insert(head, len(rows[start]), size), tuple(values))
            start += size


@lru_cache(maxsize=128)
def _insert(head: str, columns: int, rows: int) -> str:
    row = f"({','.join('?' * columns)})"
    return f"{head} VALUES {','.join([row] * rows)}"


def distinct_ints(values: Iterable[Any]) -> list[int]:
    """Ascending Python ints without repeats; takes numpy's integers, which SQLite does not."""
    return sorted({int(value) for value in values})


def as_json(values: Iterable[Any]) -> str:
    """One parameter for `IN (SELECT value FROM json_each(?))`."""
    return json.dumps(list(values))
