"""The schema is made once, found again, and refused when it comes from the future."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from sqlite_utils import Database

from postil.store.layout import DATABASE
from postil.store.migrations import NewerSchema, migrate, migrations
from postil.store.sql import PAGE_BYTES
from postil.store.sqlite import SqliteStore
from postil.v1.dataset_pb2 import DatasetVersionInput
from postil.v1.dataset_service_pb2 import MultiDatasetVersionInputResponse
from postil.v1.image_pb2 import HostedURL
from support.stores import Filler

# Released steps: their names are in people's databases. Append; never rename, reorder or remove.
NAMES = [
    "m0001_apps_and_concepts",
    "m0002_inputs",
    "m0003_annotations",
    "m0004_vectors",
    "m0005_changes",
    "m0006_vocabulary",
    "m0007_kept",
    "m0008_predictions",
    "m0009_feedback",
    "m0010_models",
    "m0011_keys",
    "m0012_datasets",
    "m0013_evaluations",
    "m0014_upkeep",
    "m0015_seals",
]


def _query(path: Path, statement: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(statement).fetchall()


def _schema(path: Path) -> list[tuple[object, ...]]:
    return _query(path, "SELECT name, sql FROM sqlite_schema ORDER BY name")


def test_steps_are_recorded_by_name_and_in_order(tmp_path: Path) -> None:
    migrate(tmp_path / "db")
    recorded = _query(tmp_path / "db", "SELECT name FROM _sqlite_migrations WHERE migration_set = 'postil' ORDER BY id")
    assert [name for (name,) in recorded] == NAMES


def test_migrating_again_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "db"
    migrate(path)
    before = (_schema(path), _query(path, "SELECT * FROM identity"), _query(path, "SELECT * FROM counters"))
    migrate(path)
    assert (_schema(path), _query(path, "SELECT * FROM identity"), _query(path, "SELECT * FROM counters")) == before


def test_a_database_stopped_after_any_step_is_finished(tmp_path: Path) -> None:
    migrate(tmp_path / "whole")
    for count, name in enumerate(NAMES):
        path = tmp_path / f"db{count}"
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute(f"PRAGMA page_size={PAGE_BYTES}")
            migrations.apply(Database(connection), stop_before=name)
        migrate(path)
        assert _schema(path) == _schema(tmp_path / "whole")


def test_what_was_written_is_there_after_opening_again(data_dir: Path) -> None:
    with SqliteStore(data_dir) as store:
        app = Filler(store).app()
        record = Filler(store).input(app, "a")
    with SqliteStore(data_dir) as store:
        assert store.read().input(app, "a") == record


def test_a_database_of_a_newer_postil_is_refused_and_left_alone(data_dir: Path, tamper: Callable[..., None]) -> None:
    SqliteStore(data_dir).close()
    tamper("INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('postil', 'm9999_moons', '')")
    with pytest.raises(NewerSchema, match=r"newer Postil.*m9999_moons"):
        SqliteStore(data_dir)
    tamper("DELETE FROM _sqlite_migrations WHERE name = 'm9999_moons'")
    SqliteStore(data_dir).close()  # the lock was let go


def test_the_file_is_as_durable_as_promised(store: SqliteStore, data_dir: Path) -> None:
    def pragmas(tx: object) -> tuple[object, ...]:
        connection: sqlite3.Connection = tx._connection  # type: ignore[attr-defined]
        return tuple(
            connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous", "page_size")
        )

    assert store.write(pragmas) == ("wal", 2, 8192)  # 2 is FULL
    assert (data_dir / DATABASE).stat().st_size > 0
    assert data_dir.stat().st_mode & 0o777 == 0o700


def test_an_old_sqlite_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 36, 0))
    with pytest.raises(RuntimeError, match=r"needs 3\.37\.0 or newer"):
        migrate(tmp_path / "db")


def test_versions_made_before_keep_their_media_from_then_on(data_dir: Path) -> None:
    """The step that brought `version_blobs` reads what the parts of earlier versions show, masks too."""
    one = DatasetVersionInput()
    one.input.data.image.hosted.CopyFrom(HostedURL(prefix="http://here/blobs/", suffix="a" * 64))
    one.annotations.add().data.regions.add().region_info.mask.image.hosted.suffix = "b" * 64
    one.input.data.video.hosted.suffix = "elsewhere"
    content = zlib.compress(MultiDatasetVersionInputResponse(inputs=[one]).SerializeToString())
    path = data_dir / DATABASE
    data_dir.mkdir(exist_ok=True)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA page_size={PAGE_BYTES}")
        migrations.apply(Database(connection), stop_before="m0014_upkeep")
        connection.execute("INSERT INTO dataset_version_parts VALUES (1, 7, 0, 1, ?)", (content,))
        connection.execute(
            "INSERT INTO concepts (row, app, id, name, id_folded, name_folded, message)"
            " VALUES (1, 1, 'c', 'c', 'c', 'c', X'0102')"
        )
    migrate(path)
    assert _query(path, "SELECT digest, version FROM version_blobs") == [("a" * 64, 7), ("b" * 64, 7)]
    assert _query(path, "SELECT crc FROM concepts") == [(zlib.crc32(b"\x01\x02"),)]
