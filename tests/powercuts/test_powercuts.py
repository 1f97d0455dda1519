"""The short form of `make powercuts`, and the file system by itself."""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from crash.supervisor import Broken
from powercuts.lossy import SECTOR, Change, LossyDisk, needed, survivors
from powercuts.run import run

_INSERTS = """
import os, signal, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute(f"PRAGMA synchronous={sys.argv[2]}")
for number in range(50):
    connection.execute("INSERT INTO t VALUES (?)", (number,))
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(autouse=True)
def fuse() -> None:
    """What CI installs where there is FUSE; a container without /dev/fuse goes without."""
    try:
        needed()
    except OSError as error:
        pytest.skip(str(error))


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[LossyDisk]:
    try:
        made = LossyDisk(tmp_path / "disk")
    except OSError as error:
        pytest.skip(str(error))
    with made:
        yield made


def test_only_what_was_synced_is_there_after_a_cut(disk: LossyDisk) -> None:
    file = disk.path / "file"
    with file.open("wb") as out:
        out.write(b"synced")
        out.flush()
        os.fsync(out.fileno())
        out.write(b", and not synced")
    assert file.read_bytes() == b"synced, and not synced"
    disk.cut("all", 1)
    assert file.read_bytes() == b"synced"


def test_a_rename_may_come_before_the_bytes_it_names(disk: LossyDisk) -> None:
    aside, file = disk.path / "aside", disk.path / "file"
    aside.write_bytes(b"never synced")
    aside.rename(file)
    disk.cut("all", 1)
    assert file.read_bytes() == b""


def test_torn_writes_keep_whole_sectors() -> None:
    content = b"".join(bytes([number]) * SECTOR for number in range(40))
    kept = list(survivors([Change(0, content)], "torn", random.Random(4)))
    assert 5 < len(kept) < 35
    assert all(change.content == content[change.offset : change.offset + SECTOR] for change in kept)


@pytest.mark.parametrize(("synchronous", "rows"), [("FULL", 50), ("NORMAL", 0)])
def test_it_loses_what_sqlite_says_that_it_may_lose(disk: LossyDisk, synchronous: str, rows: int) -> None:
    """WAL with NORMAL is documented to lose commits: the file system is one that would show it."""
    database = disk.path / "database"
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE t (number)")
    killed = subprocess.run([sys.executable, "-c", _INSERTS, str(database), synchronous], check=False)
    assert killed.returncode == -9
    disk.cut("all", 1)
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("SELECT count(*) FROM t").fetchone() == (rows,)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_servers_lose_nothing_that_they_acknowledged(tmp_path: Path) -> None:
    lines = run(tmp_path / "disk", seed=3, cuts=5)
    assert lines[0].startswith("The power was cut 5 times")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_disk_that_lies_about_syncs_is_noticed(tmp_path: Path) -> None:
    with pytest.raises((Broken, sqlite3.DatabaseError)):  # the second where it was to get an older schema
        run(tmp_path / "disk", seed=3, cuts=12, lie=True)
