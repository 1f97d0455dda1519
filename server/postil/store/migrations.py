"""The schema, as named steps that are only ever appended. A released step is never edited.

Each step runs once, in one transaction with the record of its name. Rows reserve their numbers in `counters`, so that a
number is never given out twice, not even after the row and the process that wrote it are gone.
"""

from __future__ import annotations

import secrets
import sqlite3
import zlib
from contextlib import closing
from pathlib import Path
from typing import Any

from sqlite_utils import Database
from sqlite_utils.migrations import Migrations

from postil.store import seals
from postil.store.hosted import digests_in_part
from postil.store.sql import PAGE_BYTES, connect

OLDEST_SQLITE = (3, 37, 0)  # STRICT tables

migrations = Migrations("postil")


class NewerSchema(Exception):
    """The database was written by a newer Postil. `args[0]` says what to do."""


def migrate(path: Path) -> None:
    """Creates the database or brings it up to date. Raises NewerSchema, or RuntimeError on a SQLite too old for us."""
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        wanted = ".".join(map(str, OLDEST_SQLITE))
        raise RuntimeError(f"SQLite {sqlite3.sqlite_version} is too old: Postil needs {wanted} or newer.")
    with closing(connect(path, writer=True)) as connection:
        connection.execute(f"PRAGMA page_size={PAGE_BYTES}")  # no effect on a database that exists
        connection.execute("PRAGMA journal_mode=WAL")
        database = Database(connection)
        _refuse_newer(database, path)
        if migrations.pending(database):
            migrations.apply(database)


def knows(name: str) -> bool:
    """Whether a step of the schema is one of this version's."""
    return any(step.name == name for step in migrations._migrations)  # noqa: SLF001 - no public list of all steps


def _refuse_newer(database: Database, path: Path) -> None:
    known = {step.name for step in migrations._migrations}  # noqa: SLF001 - no public list of all steps
    unknown = [step.name for step in migrations.applied(database) if step.name not in known]
    if unknown:
        raise NewerSchema(
            f"{path} was written by a newer Postil (it has the migration {unknown[-1]!r}, unknown to this one). "
            f"Install that version, or restore a backup from before the upgrade."
        )


def _table(database: Database, name: str, columns: dict[str, Any], pk: str = "row") -> None:
    database.table(name).create(columns, pk=pk, not_null=set(columns) - {pk}, strict=True)


@migrations()
def m0001_apps_and_concepts(database: Database) -> None:
    """Apps are walls; concepts and spaces live inside them. The folded columns are for search that ignores case."""
    _table(database, "apps", {"row": int, "user_id": str, "id": str, "message": bytes})
    database.table("apps").create_index(["user_id", "id"], unique=True)
    _table(
        database,
        "concepts",
        {"row": int, "app": int, "id": str, "name": str, "id_folded": str, "name_folded": str, "message": bytes},
    )
    database.table("concepts").create_index(["app", "id"], unique=True)
    database.table("concepts").create_index(["app", "name"])


@migrations()
def m0002_inputs(database: Database) -> None:
    """Inputs, their jobs and the blobs they keep. Wide columns come last, so that the others are read without them."""
    _table(
        database,
        "inputs",
        {
            "row": int,
            "app": int,
            "id": str,
            "status": int,
            "anchor": int,
            "created_us": int,
            "modified_us": int,
            "url": str,
            "job": str,
            "message": bytes,
        },
    )
    inputs = database.table("inputs")
    inputs.create_index(["app", "id"], unique=True)
    inputs.create_index(["app", "status", "created_us"])
    inputs.create_index(["app", "created_us"])
    database.execute("CREATE INDEX inputs_url ON inputs(app, url) WHERE url <> ''")
    database.execute("CREATE INDEX inputs_pending ON inputs(created_us) WHERE status IN (30001, 30003)")
    database.execute(
        "CREATE TABLE blob_refs (digest TEXT NOT NULL, input INTEGER NOT NULL, PRIMARY KEY (digest, input))"
        " STRICT, WITHOUT ROWID"
    )
    database.execute("CREATE INDEX blob_refs_input ON blob_refs(input)")
    database.execute(
        "CREATE TABLE jobs (app INTEGER NOT NULL, id TEXT NOT NULL, pending INTEGER NOT NULL,"
        " in_progress INTEGER NOT NULL, success INTEGER NOT NULL, failed INTEGER NOT NULL,"
        " cancelled INTEGER NOT NULL, created_us INTEGER NOT NULL, modified_us INTEGER NOT NULL,"
        " PRIMARY KEY (app, id)) STRICT, WITHOUT ROWID"
    )


@migrations()
def m0003_annotations(database: Database) -> None:
    """Annotations and their labels. A label repeats its anchor: ranking by concept needs no join."""
    _table(
        database,
        "annotations",
        {
            "row": int,
            "app": int,
            "input": int,
            "anchor": int,
            "id": str,
            "status": int,
            "trusted": int,
            "input_level": int,
            "blank": int,
            "created_us": int,
            "modified_us": int,
            "user_id": str,
            "model_version_id": str,
            "workflow_version_id": str,
            "task_id": str,
            "message": bytes,
        },
    )
    annotations = database.table("annotations")
    annotations.create_index(["input", "id"], unique=True)
    annotations.create_index(["anchor"])
    annotations.create_index(["app", "created_us"])
    # One blank annotation comes with every input: listings would wade through them.
    database.execute("CREATE INDEX annotations_listed ON annotations(app, created_us) WHERE blank = 0")
    database.execute(
        "CREATE TABLE labels (concept INTEGER NOT NULL, annotation INTEGER NOT NULL, anchor INTEGER NOT NULL,"
        " value REAL NOT NULL, PRIMARY KEY (concept, annotation)) STRICT, WITHOUT ROWID"
    )
    database.execute("CREATE INDEX labels_annotation ON labels(annotation)")


@migrations()
def m0004_vectors(database: Database) -> None:
    """Vectors by `space << 32 | annotation`: one tree, clustered by space, scanned in order of annotation."""
    _table(
        database,
        "spaces",
        {"row": int, "app": int, "id": str, "name": str, "kind": str, "dim": int, "unit": int},
    )
    database.table("spaces").create_index(["app", "id"], unique=True)
    _table(database, "vectors", {"key": int, "crc": int, "data": bytes}, pk="key")
    # Counting a space would otherwise read every page that holds its vectors.
    database.execute("CREATE INDEX vectors_space ON vectors(key >> 32)")


@migrations()
def m0005_changes(database: Database) -> None:
    """The change feed, the counters of rows and sequence numbers, and what the store knows about itself."""
    _table(
        database,
        "changes",
        {"seq": int, "app": int, "touched": bytes, "gone": bytes, "put": bytes, "spaces_gone": bytes},
        pk="seq",
    )
    names = ("apps", "concepts", "inputs", "annotations", "spaces", "changes", "clock_us")
    _table(database, "counters", {"id": int, **dict.fromkeys(names, int)}, pk="id")
    database.table("counters").insert({"id": 1, **dict.fromkeys(names, 0)})
    _table(database, "identity", {"id": int, "value": str}, pk="id")
    database.table("identity").insert({"id": 1, "value": secrets.token_hex(16)})
    _table(database, "settings", {"name": str, "value": str}, pk="name")


@migrations()
def m0006_vocabulary(database: Database) -> None:
    """Concept names in other languages, and how concepts relate. Names repeat the app: looked up without a join."""
    database.execute(
        "CREATE TABLE concept_names (app INTEGER NOT NULL, concept INTEGER NOT NULL, language TEXT NOT NULL,"
        " name TEXT NOT NULL, name_folded TEXT NOT NULL, definition TEXT NOT NULL,"
        " PRIMARY KEY (concept, language)) STRICT, WITHOUT ROWID"
    )
    database.execute("CREATE INDEX concept_names_found ON concept_names(app, language, name)")
    database.execute(
        "CREATE TABLE relations (row INTEGER PRIMARY KEY AUTOINCREMENT, app INTEGER NOT NULL, id TEXT NOT NULL,"
        " subject INTEGER NOT NULL, predicate TEXT NOT NULL, object INTEGER NOT NULL, graph TEXT NOT NULL,"
        " message BLOB NOT NULL) STRICT"
    )
    database.execute("CREATE UNIQUE INDEX relations_id ON relations(app, id)")
    database.execute("CREATE UNIQUE INDEX relations_edge ON relations(app, subject, predicate, object, graph)")
    database.execute("CREATE INDEX relations_object ON relations(object, predicate)")
    database.execute("CREATE INDEX relations_listed ON relations(app)")


@migrations()
def m0007_kept(database: Database) -> None:
    """What an app keeps under ids of its own (saved searches, filters, graphs), and the searches that ran."""
    database.execute(
        "CREATE TABLE named (row INTEGER PRIMARY KEY AUTOINCREMENT, app INTEGER NOT NULL, kind TEXT NOT NULL,"
        " id TEXT NOT NULL, detail TEXT NOT NULL, message BLOB NOT NULL) STRICT"
    )
    database.execute("CREATE UNIQUE INDEX named_id ON named(app, kind, id)")
    database.execute("CREATE INDEX named_listed ON named(app, kind)")
    database.execute(
        "CREATE TABLE searches_run (row INTEGER PRIMARY KEY, app INTEGER NOT NULL, id TEXT NOT NULL,"
        " time_us INTEGER NOT NULL, sequence INTEGER NOT NULL, endpoint TEXT NOT NULL, page INTEGER NOT NULL,"
        " per_page INTEGER NOT NULL, end_user TEXT NOT NULL, hits BLOB NOT NULL, request BLOB NOT NULL) STRICT"
    )
    database.execute("CREATE UNIQUE INDEX searches_run_id ON searches_run(app, id)")
    database.execute("CREATE INDEX searches_run_time ON searches_run(time_us)")


@migrations()
def m0008_predictions(database: Database) -> None:
    """What models say of inputs, apart from labels, and the outputs that were answered. Values lie by concept, so that
    ranking by one reads a run of neighbours; the other index is for deleting."""
    database.execute(
        "CREATE TABLE model_annotations (row INTEGER PRIMARY KEY, app INTEGER NOT NULL, input INTEGER NOT NULL,"
        " anchor INTEGER NOT NULL, id TEXT NOT NULL, model_version_id TEXT NOT NULL, created_us INTEGER NOT NULL,"
        " modified_us INTEGER NOT NULL, message BLOB NOT NULL) STRICT"
    )
    database.execute("CREATE UNIQUE INDEX model_annotations_id ON model_annotations(input, id)")
    database.execute("CREATE INDEX model_annotations_listed ON model_annotations(app, created_us)")
    database.execute(
        "CREATE TABLE predictions (app INTEGER NOT NULL, concept INTEGER NOT NULL, anchor INTEGER NOT NULL,"
        " annotation INTEGER NOT NULL, value REAL NOT NULL, PRIMARY KEY (app, concept, anchor, annotation))"
        " STRICT, WITHOUT ROWID"
    )
    database.execute("CREATE INDEX predictions_annotation ON predictions(annotation)")
    database.execute(
        "CREATE TABLE outputs (row INTEGER PRIMARY KEY, app INTEGER NOT NULL, id TEXT NOT NULL,"
        " time_us INTEGER NOT NULL, message BLOB NOT NULL) STRICT"
    )
    database.execute("CREATE UNIQUE INDEX outputs_id ON outputs(app, id)")
    database.execute("CREATE INDEX outputs_time ON outputs(time_us)")


@migrations()
def m0009_feedback(database: Database) -> None:
    """What people said of predictions and which hits they chose, with what can be learned from it, and a mark by which
    a search knows whether there is anything new. A row's number is never given out again: marks compare them."""
    database.execute(
        "CREATE TABLE feedback (row INTEGER PRIMARY KEY AUTOINCREMENT, app INTEGER NOT NULL, id TEXT NOT NULL,"
        " event INTEGER NOT NULL, time_us INTEGER NOT NULL, subject TEXT NOT NULL, model_id TEXT NOT NULL,"
        " model_version_id TEXT NOT NULL, input_id TEXT NOT NULL, end_user TEXT NOT NULL, session TEXT NOT NULL,"
        " matched INTEGER NOT NULL, position INTEGER NOT NULL, annotations BLOB NOT NULL, space INTEGER NOT NULL,"
        " key TEXT NOT NULL, chosen INTEGER NOT NULL, passed BLOB NOT NULL, query BLOB NOT NULL,"
        " message BLOB NOT NULL) STRICT"
    )
    database.execute("CREATE UNIQUE INDEX feedback_id ON feedback(app, id)")
    database.execute("CREATE INDEX feedback_listed ON feedback(app, time_us)")
    database.execute("CREATE INDEX feedback_subject ON feedback(app, subject)")
    database.execute("CREATE INDEX feedback_end_user ON feedback(app, end_user) WHERE end_user <> ''")
    database.execute("CREATE INDEX feedback_learned ON feedback(app) WHERE space <> 0")
    database.execute(
        "CREATE TABLE feedback_marks (app INTEGER PRIMARY KEY, last INTEGER NOT NULL, erased INTEGER NOT NULL) STRICT"
    )


@migrations()
def m0010_models(database: Database) -> None:
    """Models that people train, with their versions. What a version learned lies apart from what it is, and so does
    what it learned from: listings read neither. Heads are found by concept, the newest version first."""
    database.execute(
        "CREATE TABLE models (row INTEGER PRIMARY KEY AUTOINCREMENT, app INTEGER NOT NULL, id TEXT NOT NULL,"
        " message BLOB NOT NULL) STRICT"
    )
    database.execute("CREATE UNIQUE INDEX models_id ON models(app, id)")
    database.execute(
        "CREATE TABLE model_versions (row INTEGER PRIMARY KEY AUTOINCREMENT, app INTEGER NOT NULL,"
        " model INTEGER NOT NULL, id TEXT NOT NULL, status INTEGER NOT NULL, message BLOB NOT NULL) STRICT"
    )
    database.execute("CREATE UNIQUE INDEX model_versions_id ON model_versions(app, id)")
    database.execute("CREATE INDEX model_versions_listed ON model_versions(model)")
    database.execute("CREATE INDEX model_versions_waiting ON model_versions(row) WHERE status IN (21101, 21103)")
    database.execute(
        "CREATE TABLE model_heads (version INTEGER PRIMARY KEY, space INTEGER NOT NULL, concepts INTEGER NOT NULL,"
        " dim INTEGER NOT NULL, exclusive INTEGER NOT NULL, crc INTEGER NOT NULL, data BLOB NOT NULL) STRICT"
    )
    database.execute(
        "CREATE TABLE model_concepts (app INTEGER NOT NULL, concept TEXT NOT NULL, version INTEGER NOT NULL,"
        " place INTEGER NOT NULL, PRIMARY KEY (app, concept, version)) STRICT, WITHOUT ROWID"
    )
    database.execute("CREATE INDEX model_concepts_version ON model_concepts(version)")
    database.execute(
        "CREATE TABLE model_examples (version INTEGER PRIMARY KEY, space INTEGER NOT NULL, sequence INTEGER NOT NULL,"
        " seed INTEGER NOT NULL, count INTEGER NOT NULL, concepts INTEGER NOT NULL, crc INTEGER NOT NULL,"
        " data BLOB NOT NULL) STRICT"
    )


@migrations()
def m0011_keys(database: Database) -> None:
    """What opens which app: digests of tokens, never tokens. `app` is 0 for keys that open all apps of their user."""
    database.execute(
        "CREATE TABLE keys (row INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, digest BLOB NOT NULL,"
        " user_id TEXT NOT NULL, app INTEGER NOT NULL, expires_us INTEGER NOT NULL, message BLOB NOT NULL) STRICT"
    )
    database.execute("CREATE UNIQUE INDEX keys_id ON keys(id)")
    database.execute("CREATE UNIQUE INDEX keys_digest ON keys(digest)")
    database.execute("CREATE INDEX keys_user ON keys(user_id)")
    database.execute("CREATE INDEX keys_app ON keys(app) WHERE app <> 0")


@migrations()
def m0012_datasets(database: Database) -> None:
    """Named sets of inputs, and frozen copies of them. A part holds so many inputs of a version, in order."""
    database.execute(
        "CREATE TABLE datasets (row INTEGER PRIMARY KEY AUTOINCREMENT, app INTEGER NOT NULL, id TEXT NOT NULL,"
        " edition INTEGER NOT NULL, message BLOB NOT NULL) STRICT"
    )
    database.execute("CREATE UNIQUE INDEX datasets_id ON datasets(app, id)")
    database.execute(
        "CREATE TABLE dataset_inputs (dataset INTEGER NOT NULL, input INTEGER NOT NULL, added_us INTEGER NOT NULL,"
        " PRIMARY KEY (dataset, input)) STRICT, WITHOUT ROWID"
    )
    database.execute("CREATE INDEX dataset_inputs_input ON dataset_inputs(input)")
    database.execute(
        "CREATE TABLE dataset_versions (row INTEGER PRIMARY KEY AUTOINCREMENT, dataset INTEGER NOT NULL,"
        " id TEXT NOT NULL, message BLOB NOT NULL) STRICT"
    )
    database.execute("CREATE UNIQUE INDEX dataset_versions_id ON dataset_versions(dataset, id)")
    database.execute(
        "CREATE TABLE dataset_version_parts (row INTEGER PRIMARY KEY, version INTEGER NOT NULL, part INTEGER NOT NULL,"
        " inputs INTEGER NOT NULL, content BLOB NOT NULL) STRICT"
    )
    database.execute("CREATE UNIQUE INDEX dataset_version_parts_number ON dataset_version_parts(version, part)")


@migrations()
def m0013_evaluations(database: Database) -> None:
    """How well versions do. What it is in short lies beside what only one reads at a time: curves and cases."""
    database.execute(
        "CREATE TABLE evaluations (row INTEGER PRIMARY KEY AUTOINCREMENT, app INTEGER NOT NULL,"
        " version INTEGER NOT NULL, id TEXT NOT NULL, status INTEGER NOT NULL, message BLOB NOT NULL,"
        " crc INTEGER NOT NULL, details BLOB NOT NULL) STRICT"
    )
    database.execute("CREATE UNIQUE INDEX evaluations_id ON evaluations(version, id)")
    database.execute("CREATE INDEX evaluations_waiting ON evaluations(row) WHERE status IN (21301, 21303)")


@migrations()
def m0014_upkeep(database: Database) -> None:
    """Which media versions keep, how far renames have come, and checksums of the messages that people's work is in."""
    database.execute(
        "CREATE TABLE version_blobs (digest TEXT NOT NULL, version INTEGER NOT NULL, PRIMARY KEY (digest, version))"
        " STRICT, WITHOUT ROWID"
    )
    database.execute("CREATE INDEX version_blobs_version ON version_blobs(version)")
    for version, content in database.execute("SELECT version, content FROM dataset_version_parts"):
        for digest in digests_in_part(content):
            database.execute("INSERT OR IGNORE INTO version_blobs VALUES (?, ?)", (digest, version))
    database.execute(
        "CREATE TABLE renames (concept INTEGER PRIMARY KEY, app INTEGER NOT NULL, done INTEGER NOT NULL) STRICT"
    )
    database.conn.create_function("crc32", 1, zlib.crc32, deterministic=True)
    for table in ("annotations", "inputs", "concepts"):
        database.execute(f"ALTER TABLE {table} ADD COLUMN crc INTEGER NOT NULL DEFAULT 0")
        database.execute(f"UPDATE {table} SET crc = crc32(message)")


@migrations()
def m0015_seals(database: Database) -> None:
    """Checksums of rows that nothing else would tell a flipped bit in."""
    seals.register(database.conn)
    for table in (
        "apps", "spaces", "concept_names", "relations", "named", "jobs", "keys", "settings", "identity", "changes",
        "datasets", "dataset_inputs", "dataset_versions", "dataset_version_parts", "searches_run", "outputs",
        "feedback", "feedback_marks", "models", "model_versions", "model_heads", "model_concepts", "model_examples",
        "evaluations", "model_annotations", "predictions", "renames",
    ):  # fmt: skip
        seals.put(database.conn, table)
