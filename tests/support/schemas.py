"""Keeps a small database of each schema that was ever released, as SQL text under tests/data/schemas.

`python -m support.schemas` (PYTHONPATH=tests) writes the one of the newest schema, to be checked in with a release.
It holds rows that real calls wrote. `--since STEP` also writes those of earlier schemas from STEP on, from the same
rows, without the tables and columns that came later.
"""

from __future__ import annotations

import sqlite3
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from postil.store import seals
from postil.store.layout import DATABASE
from postil.store.migrations import migrations
from postil.store.sql import PAGE_BYTES
from postil.v1.annotation_pb2 import Annotation
from postil.v1.annotation_service_pb2 import PostAnnotationsRequest
from postil.v1.common_pb2 import UserAppIDSet
from postil.v1.concept_pb2 import Concept
from postil.v1.data_pb2 import Data, Embedding
from postil.v1.input_pb2 import Input
from postil.v1.input_service_pb2 import PostInputsRequest
from support.external import ROOT
from support.server import OWN, Server

FOLDER = ROOT / "tests/data/schemas"
VECTORS = {"left": [1.0, 0.0, 0.0, 0.0], "middle": [0.6, 0.8, 0.0, 0.0], "right": [0.0, 0.0, 1.0, 0.0]}
OTHER = UserAppIDSet(user_id="me", app_id="other")


def names() -> list[str]:
    """Every step of the schema, in order."""
    return [step.name for step in migrations._migrations]


def furnish(server: Server) -> None:
    """Three inputs with vectors and labels, a text, an annotation, and an input in another app."""
    items = []
    for name, vector in VECTORS.items():
        data = Data(embeddings=[Embedding(vector=vector)], concepts=[Concept(id="shape", value=1)])
        data.metadata["name"] = name
        items.append(Input(id=name, data=data))
    text = Input(id="text")
    text.data.text.raw = "a note written in the margin"
    server.call(OWN, "PostInputs", PostInputsRequest(inputs=[*items, text]))
    note = Annotation(input_id="left", id="note", data=Data(concepts=[Concept(id="round", value=1)]))
    server.call(OWN, "PostAnnotations", PostAnnotationsRequest(annotations=[note]))
    far = Input(id="far", data=Data(embeddings=[Embedding(vector=VECTORS["left"])]))
    server.call(OWN, "PostInputs", PostInputsRequest(user_app_id=OTHER, inputs=[far]))


def load(dump: Path, database: Path) -> None:
    """Makes a database of a dump."""
    database.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(database)) as connection:
        connection.execute(f"PRAGMA page_size={PAGE_BYTES}")
        connection.executescript(dump.read_text(encoding="utf-8"))


def reduced(full: Path, target: Path, last: str) -> None:
    """A database of the schema up to the step `last`, with those of the rows that it has a place for."""
    steps = names()
    after = steps[steps.index(last) + 1 :]
    with closing(sqlite3.connect(target, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA page_size={PAGE_BYTES}")
        migrations.apply(Database(connection), stop_before=after[0] if after else None)
        seals.register(connection)
        connection.execute("ATTACH ? AS new", (str(full),))
        for table in _tables(connection, "main"):
            if table.startswith(("_sqlite", "sqlite_")):
                continue
            columns = ", ".join(sorted(_columns(connection, "main", table) & _columns(connection, "new", table)))
            connection.execute(f"DELETE FROM main.{table}")  # noqa: S608
            connection.execute(f"INSERT INTO main.{table} ({columns}) SELECT {columns} FROM new.{table}")  # noqa: S608


def _tables(connection: sqlite3.Connection, schema: str) -> list[str]:
    found = connection.execute(f"SELECT name FROM {schema}.sqlite_schema WHERE type = 'table' ORDER BY name")  # noqa: S608
    return [name for (name,) in found]


def _columns(connection: sqlite3.Connection, schema: str, table: str) -> set[Any]:
    return {row[1] for row in connection.execute(f"PRAGMA {schema}.table_info({table})")}


def _dump(database: Path, target: Path) -> None:
    with closing(sqlite3.connect(database)) as connection:
        target.write_text("\n".join(connection.iterdump()) + "\n", encoding="utf-8")


def main(since: str = "") -> None:
    """Writes the dumps."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    steps = names()
    with tempfile.TemporaryDirectory(prefix="postil-schemas-") as folder:
        server = Server(Path(folder))
        try:
            furnish(server)
        finally:
            server.stop()
        for last in steps[steps.index(since) :] if since else steps[-1:]:
            small = Path(folder) / f"{last}.sqlite3"
            reduced(server.data_dir / DATABASE, small, last)
            _dump(small, FOLDER / f"{last}.sql")


if __name__ == "__main__":
    main(*sys.argv[2:])
