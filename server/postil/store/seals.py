"""Checksums of whole rows, kept by triggers, since SQLite keeps none of its pages: a flipped bit in a saved search or a
key reads as if somebody had written it (docs/adr/0027-sealed-rows.md).

Not sealed are the tables whose rows are checked otherwise: inputs, annotations, labels and concepts against messages
with checksums (store/messages.py, core/agreement.py), vectors by their own, blobs by their names; and the counters,
which every op changes.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

# By triggers, whoever writes.
_WATCHED = (
    "apps", "spaces", "concept_names", "relations", "named", "jobs", "keys", "settings", "identity", "datasets",
    "dataset_versions", "dataset_version_parts", "feedback", "feedback_marks", "models", "model_versions",
    "model_heads", "model_concepts", "model_examples", "evaluations", "renames",
)  # fmt: skip
# Rows that come by the hundred and never change: who inserts them seals them (`sealed`), since a trigger would take the
# interpreter's lock once for each. Their columns, in the order of the seal.
WRITTEN = {
    "changes": "seq, app, touched, gone, put, spaces_gone",
    "dataset_inputs": "dataset, input, added_us",
    "model_annotations": "row, app, input, anchor, id, model_version_id, created_us, modified_us, message",
    "predictions": "app, concept, anchor, annotation, value",
    "searches_run": "app, id, time_us, sequence, endpoint, request, page, per_page, end_user, hits",
    "outputs": "app, id, time_us, message",
}
SEALED = (*_WATCHED, *WRITTEN)
_CHUNK = 1000  # rows; a long read would keep the log from being folded into the file
_COLUMN = "seal"


class _Table(NamedTuple):
    """A table as it is in the database."""

    name: str
    key: tuple[str, ...]
    columns: tuple[str, ...]  # what a seal is of, in order
    texts: frozenset[str]  # those of them that are texts

    def seal(self, of: str = "") -> str:
        """The SQL of a row's seal; `of` is what stands before each column. Texts go as bytes: one may be damaged."""
        parts = (f"CAST({of}{name} AS BLOB)" if name in self.texts else of + name for name in self.columns)
        return f"postil_seal({', '.join(parts)})"


def register(connection: sqlite3.Connection) -> None:
    """Gives a connection the function that the triggers call."""
    connection.create_function("postil_seal", -1, _seal, deterministic=True)


def insertion(table: str, *, ignore: bool = False) -> str:
    """The head of an INSERT of rows that `sealed` made."""
    return f"INSERT {'OR IGNORE ' if ignore else ''}INTO {table} ({WRITTEN[table]}, {_COLUMN})"


def sealed(rows: Iterable[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Rows of a table of WRITTEN, each with its seal. Values must be as they are read again: 1.0, not 1, if REAL."""
    return [(*row, _seal(*row)) for row in rows]


def put(connection: sqlite3.Connection, table: str) -> None:
    """Seals the rows that a table has and will have. To be called again when it is given another column."""
    if not any(row[1] == _COLUMN for row in connection.execute(f"PRAGMA table_info({table})")):
        connection.execute(f"ALTER TABLE {table} ADD COLUMN {_COLUMN} INTEGER NOT NULL DEFAULT 0")
    found = _table(connection, table)
    for name in ("inserted", "updated"):
        connection.execute(f"DROP TRIGGER IF EXISTS {table}_{name}")
    connection.execute(f"UPDATE {table} SET {_COLUMN} = {found.seal()}")
    if table in WRITTEN:
        return
    this = " AND ".join(f"{column} = NEW.{column}" for column in found.key)
    action = f"BEGIN UPDATE {table} SET {_COLUMN} = {found.seal('NEW.')} WHERE {this}; END"
    columns = ", ".join(found.columns)
    connection.execute(f"CREATE TRIGGER {table}_inserted AFTER INSERT ON {table} {action}")
    connection.execute(f"CREATE TRIGGER {table}_updated AFTER UPDATE OF {columns} ON {table} {action}")


def broken(connection: sqlite3.Connection, go_on: Callable[[], bool] = lambda: True) -> Iterator[str]:
    """A sentence for each row that is not as it was written, until `go_on` says no. Needs the newest schema."""
    for name in SEALED:
        table = _table(connection, name)
        key = ", ".join(table.key)
        query = f"SELECT {key}, {_COLUMN} <> {table.seal()} FROM {name} {{}} ORDER BY {key} LIMIT {_CHUNK}"
        further = query.format(f"WHERE ({key}) > ({', '.join('?' * len(table.key))})")
        found, before = connection.execute(query.format("")).fetchall(), None
        while found and go_on():
            for *row, wrong in found:
                if wrong:
                    yield f"Row {', '.join(map(repr, row))} of {name} fails its checksum."
            last = found[-1][:-1]
            if before is not None and last <= before:  # in a damaged tree one could go round for ever
                break
            found, before = connection.execute(further, last).fetchall(), last


def _table(connection: sqlite3.Connection, name: str) -> _Table:
    found = connection.execute(f"PRAGMA table_info({name})").fetchall()
    key = sorted((place, column) for _, column, _, _, _, place in found if place)
    columns = tuple(WRITTEN[name].split(", ") if name in WRITTEN else (row[1] for row in found if row[1] != _COLUMN))
    texts = frozenset(column for _, column, kind, *_ in found if kind == "TEXT")
    return _Table(name, tuple(column for _, column in key), columns, texts)


def _seal(*values: object) -> int:
    """CRC-32 over the values, each with its length before it; a text is its bytes, a number what Python writes."""
    crc = 0
    for value in values:
        content = value if isinstance(value, bytes) else (value if isinstance(value, str) else repr(value)).encode()
        crc = zlib.crc32(content, zlib.crc32(b"%d:" % len(content), crc))
    return crc
