"""Checks a data directory: rows against each other, vectors and blobs against their checksums.

Reads only, in one snapshot and without the lock, so that it runs beside a server as well as on a directory at rest.
Rows stream through: memory does not grow with the store.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from postil.store import seals
from postil.store.base import Queries
from postil.store.blobs import FileBlobs, intact
from postil.store.layout import BLOBS, DATABASE
from postil.store.messages import damaged_messages
from postil.store.migrations import migrations
from postil.store.queries import SqliteQueries
from postil.store.queries_vectors import ROW_BITS, ROW_MASK
from postil.store.sql import connect, connect_still

# What must not be found: a sentence with a place for each column, and the query that looks for it.
_RULES = (
    (
        "Input {} belongs to app {}, which does not exist.",
        "SELECT row, app FROM inputs WHERE app NOT IN (SELECT row FROM apps)",
    ),
    (
        "Concept {} belongs to app {}, which does not exist.",
        "SELECT row, app FROM concepts WHERE app NOT IN (SELECT row FROM apps)",
    ),
    (
        "Space {} belongs to app {}, which does not exist.",
        "SELECT row, app FROM spaces WHERE app NOT IN (SELECT row FROM apps)",
    ),
    (
        "Annotation {} belongs to input {}, which its app does not have.",
        (
            "SELECT a.row, a.input FROM annotations a LEFT JOIN inputs i ON i.row = a.input"
            " WHERE i.row IS NULL OR i.app <> a.app"
        ),
    ),
    (
        "Annotation {} is anchored to annotation {}, which its input does not have.",
        (
            "SELECT a.row, a.anchor FROM annotations a LEFT JOIN annotations b ON b.row = a.anchor"
            " WHERE b.row IS NULL OR b.input <> a.input"
        ),
    ),
    (
        "Input {} names annotation {} as its input-level one, which it is not.",
        (
            "SELECT i.row, i.anchor FROM inputs i LEFT JOIN annotations a ON a.row = i.anchor"
            " WHERE a.row IS NULL OR a.input <> i.row OR NOT a.input_level"
        ),
    ),
    (
        "A label of concept {} is on annotation {}, which does not exist.",
        "SELECT concept, annotation FROM labels WHERE annotation NOT IN (SELECT row FROM annotations)",
    ),
    (
        "The label of concept {} on annotation {} has another anchor than the annotation.",
        (
            "SELECT l.concept, l.annotation FROM labels l JOIN annotations a ON a.row = l.annotation"
            " WHERE a.anchor <> l.anchor"
        ),
    ),
    (
        "Annotation {1} is labelled with concept {0}, which its app does not have.",
        (
            "SELECT l.concept, l.annotation FROM labels l JOIN annotations a ON a.row = l.annotation"
            " LEFT JOIN concepts c ON c.row = l.concept WHERE c.row IS NULL OR c.app <> a.app"
        ),
    ),
    (
        "Concept {} has a name in {!r}, but does not exist in the name's app.",
        (
            "SELECT n.concept, n.language FROM concept_names n LEFT JOIN concepts c ON c.row = n.concept"
            " WHERE c.row IS NULL OR c.app <> n.app"
        ),
    ),
    (
        "Key {!r} opens app {}, which does not exist.",
        "SELECT id, app FROM keys WHERE app <> 0 AND app NOT IN (SELECT row FROM apps)",
    ),
    (
        "Relation {} names a concept that its app does not have.",
        (
            "SELECT r.row FROM relations r LEFT JOIN concepts s ON s.row = r.subject"
            " LEFT JOIN concepts o ON o.row = r.object"
            " WHERE s.row IS NULL OR o.row IS NULL OR s.app <> r.app OR o.app <> r.app"
        ),
    ),
    (
        "Predicted annotation {} is of input {}, which its app does not have, or not with that anchor.",
        (
            "SELECT m.row, m.input FROM model_annotations m LEFT JOIN inputs i ON i.row = m.input"
            " WHERE i.row IS NULL OR i.app <> m.app OR i.anchor <> m.anchor"
        ),
    ),
    (
        "A prediction of concept {} is of annotation {}, which does not exist, or in another app or anchor.",
        (
            "SELECT p.concept, p.annotation FROM predictions p LEFT JOIN model_annotations m ON m.row = p.annotation"
            " WHERE m.row IS NULL OR m.app <> p.app OR m.anchor <> p.anchor"
        ),
    ),
    (
        "Model version {} is of model {}, which its app does not have.",
        (
            "SELECT v.row, v.model FROM model_versions v LEFT JOIN models m ON m.row = v.model"
            " WHERE m.row IS NULL OR m.app <> v.app"
        ),
    ),
    (
        "Heads are kept for model version {}, which does not exist, or is of another app than their space.",
        (
            "SELECT h.version FROM model_heads h LEFT JOIN model_versions v ON v.row = h.version"
            " LEFT JOIN spaces s ON s.row = h.space WHERE v.row IS NULL OR s.row IS NULL OR s.app <> v.app"
        ),
    ),
    (
        "Blob {} is kept for input {}, which does not exist.",
        "SELECT digest, input FROM blob_refs WHERE input NOT IN (SELECT row FROM inputs)",
    ),
    (
        "Blob {} is kept for dataset version {}, which does not exist.",
        "SELECT digest, version FROM version_blobs WHERE version NOT IN (SELECT row FROM dataset_versions)",
    ),
    (
        "The change feed has gaps: {} changes between {} and {}, the newest committed being {}.",
        (
            "SELECT n, first, last, newest"
            " FROM (SELECT count(*) AS n, min(seq) AS first, max(seq) AS last FROM changes)"
            " CROSS JOIN (SELECT changes AS newest FROM counters)"
            " WHERE n > 0 AND (n <> last - first + 1 OR last <> newest)"
        ),
    ),
    *(
        (
            f"Row {{}} of {table} was never given out (the last was {{}}).",
            f"SELECT t.row, c.{table} FROM {table} t JOIN counters c ON t.row > c.{table}",
        )
        for table in ("apps", "concepts", "inputs", "annotations", "spaces")
    ),
)

_VECTORS = (
    "SELECT v.key, v.crc, v.data, s.dim, s.app, a.app FROM vectors v"
    f" LEFT JOIN spaces s ON s.row = v.key >> {ROW_BITS} LEFT JOIN annotations a ON a.row = v.key & {ROW_MASK}"
    " ORDER BY v.key"
)

_BLOBS_KEPT = (
    ("input", "SELECT digest, min(input) FROM blob_refs GROUP BY digest"),
    (
        "dataset version",
        (
            "SELECT digest, min(version) FROM version_blobs"
            " WHERE digest NOT IN (SELECT digest FROM blob_refs) GROUP BY digest"
        ),
    ),
)


def _nothing(_queries: Queries) -> Iterator[str]:
    return iter(())


def verify(data_dir: Path, more: Callable[[Queries], Iterator[str]] = _nothing) -> Iterator[str]:
    """What is wrong with the store in `data_dir`, a sentence each; nothing when it is sound.

    Args:
        data_dir: A data directory.
        more: Looks at the same snapshot and adds to it, if the schema is the newest.
    """
    database = data_dir / DATABASE
    if not database.is_file():
        yield f"There is no database at {database}."
        return
    try:
        with closing(connect(database, writer=False)) as connection:
            connection.execute("BEGIN")
            yield from _database(connection)
            if not migrations.pending(Database(connection)):
                yield from more(SqliteQueries(connection))
            yield from _blobs(connection, FileBlobs(data_dir / BLOBS))
    except sqlite3.DatabaseError as error:
        yield f"The database cannot be read on: {error}."


def database_problems(database: Path) -> Iterator[str]:
    """What is wrong with a database file alone, that nobody writes, a sentence each."""
    try:
        with closing(connect_still(database)) as connection:
            yield from _database(connection)
    except sqlite3.DatabaseError as error:
        yield f"The database cannot be read on: {error}."


def _database(connection: sqlite3.Connection) -> Iterator[str]:
    yield from _pages(connection)
    yield from _rows(connection)
    yield from _vectors(connection)
    if not migrations.pending(Database(connection)):
        yield from damaged_messages(connection)
        yield from seals.broken(connection)


def _pages(connection: sqlite3.Connection) -> Iterator[str]:
    """SQLite's own check of its pages and indexes."""
    for (text,) in connection.execute("PRAGMA integrity_check"):
        if text != "ok":
            yield f"Database: {text}."


def _rows(connection: sqlite3.Connection) -> Iterator[str]:
    for sentence, query in _RULES:
        for row in _selected(connection, query):
            yield sentence.format(*row)


def _selected(connection: sqlite3.Connection, query: str) -> Iterator[tuple[Any, ...]]:
    """The rows of a query; none when it is about what a later step of the schema adds."""
    try:
        yield from connection.execute(query)
    except sqlite3.OperationalError as error:
        if "no such" not in str(error) or not migrations.pending(Database(connection)):
            raise


def _vectors(connection: sqlite3.Connection) -> Iterator[str]:
    for key, crc, data, dim, space_app, annotation_app in _selected(connection, _VECTORS):
        what = f"The vector of annotation {key & ROW_MASK} in space {key >> ROW_BITS}"
        if space_app is None:
            yield f"{what} is of a space that does not exist."
        elif annotation_app != space_app:
            yield f"{what} is of an annotation that the space's app does not have."
        elif len(data) != dim * 4:
            yield f"{what} has {len(data)} bytes instead of {dim * 4}."
        elif zlib.crc32(data) != crc:
            yield f"{what} fails its checksum."


def _blobs(connection: sqlite3.Connection, blobs: FileBlobs) -> Iterator[str]:
    for what, query in _BLOBS_KEPT:
        for digest, kept_for in _selected(connection, query):
            path = blobs.path(digest)
            if path is None:
                yield f"Blob {digest} is missing; {what} {kept_for} refers to it."
            elif not intact(path, digest):
                yield f"Blob {digest} has other content than it was put with; {what} {kept_for} refers to it."
