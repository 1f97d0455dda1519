"""Rows that nothing else would tell a flipped bit in are sealed: what a server wrote keeps its seals; a changed row is
named by `postil verify`, and by the look that follows a start."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from damage.pages import served
from postil.store import seals
from postil.store.layout import DATABASE
from postil.store.sqlite import SqliteStore
from postil.upkeep import verify_directory

# Tables without a seal, and who tells damage in them instead.
_OTHERWISE = {
    "inputs": "store/messages.py, core/agreement.py",
    "annotations": "store/messages.py, core/agreement.py",
    "concepts": "store/messages.py, core/agreement.py",
    "labels": "core/agreement.py",
    "vectors": "store/verify.py, by a checksum of each",
    "blob_refs": "store/verify.py: a digest without a blob, an input that is not there",
    "version_blobs": "store/verify.py: likewise",
    "counters": "store/verify.py: rows that were never given out",
    "_sqlite_migrations": "the next start, which knows the names",
    "sqlite_sequence": "nobody: numbers of rows that are not there",
}
_RARE = {"feedback_marks", "relations", "outputs", "renames"}  # the directory below has none of these


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return served(tmp_path_factory.mktemp("sealed"))


def _tables(data_dir: Path) -> dict[str, int]:
    """Rows of each table."""
    with closing(sqlite3.connect(data_dir / DATABASE)) as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        return {name: connection.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for name in names}  # noqa: S608


def test_every_table_is_sealed_or_checked_otherwise(data_dir: Path) -> None:
    assert sorted(_tables(data_dir)) == sorted({*seals.SEALED, *_OTHERWISE})


def test_what_a_server_wrote_keeps_its_seals(data_dir: Path) -> None:
    rows = _tables(data_dir)
    assert {name for name in seals.SEALED if not rows[name]} <= _RARE
    assert list(verify_directory(data_dir)) == []


@pytest.mark.parametrize("table", [name for name in seals.SEALED if name not in _RARE])
def test_a_changed_row_is_named(data_dir: Path, tmp_path: Path, table: str) -> None:
    """Each column of some row, one at a time."""
    damaged = tmp_path / "data"
    shutil.copytree(data_dir, damaged, ignore=shutil.ignore_patterns("models", "index"))
    with closing(sqlite3.connect(damaged / DATABASE, isolation_level=None)) as connection:
        seals.register(connection)
        for trigger in ("inserted", "updated"):
            connection.execute(f"DROP TRIGGER IF EXISTS {table}_{trigger}")
        columns = [(name, kind) for _, name, kind, _, _, place in _info(connection, table) if not place]
        for column, kind in columns:
            connection.execute("BEGIN")
            changed = {
                "INTEGER": f"{column} + 1",
                "REAL": f"{column} / 2",
                "TEXT": f"{column} || '.'",
                "BLOB": f"CAST({column} || 'x' AS BLOB)",
            }[kind]
            one = "" if table in _keyed(connection) else f"WHERE _rowid_ = (SELECT min(_rowid_) FROM {table})"  # noqa: S608
            connection.execute(f"UPDATE {table} SET {column} = {changed} {one}")  # noqa: S608
            assert any(f"of {table} fails its checksum" in said for said in seals.broken(connection)), column
            connection.execute("ROLLBACK")


def _info(connection: sqlite3.Connection, table: str) -> list[tuple[int, str, str, int, object, int]]:
    return connection.execute(f"PRAGMA table_info({table})").fetchall()


def _keyed(connection: sqlite3.Connection) -> set[str]:
    """Tables without row numbers."""
    found = connection.execute("SELECT name FROM sqlite_schema WHERE sql LIKE '%WITHOUT ROWID'")
    return {name for (name,) in found}


@pytest.mark.parametrize(
    ("table", "change"),
    [("keys", "expires_us = expires_us + 1"), ("named", "detail = CAST(x'ff' AS TEXT)")],  # the latter is no text
)
def test_the_look_after_a_start_finds_it_and_writes_stop(
    data_dir: Path, tmp_path: Path, table: str, change: str
) -> None:
    damaged = tmp_path / "data"
    shutil.copytree(data_dir, damaged, ignore=shutil.ignore_patterns("models", "index"))
    with closing(sqlite3.connect(damaged / DATABASE, isolation_level=None)) as connection:
        connection.execute(f"DROP TRIGGER {table}_updated")
        connection.execute(f"UPDATE {table} SET {change} WHERE row = 1")  # noqa: S608
    assert f"Row 1 of {table} fails its checksum." in verify_directory(damaged)
    with SqliteStore(damaged) as store:
        checker = store.checker()
        checker.start()
        checker.wait()
        assert f"Row 1 of {table} fails its checksum." in str(store.health.damage)
