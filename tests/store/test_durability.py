"""What was acknowledged survives kill -9; what the disk refuses is refused clearly, and the store goes on."""

from __future__ import annotations

import os
import random
import resource
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from postil.store.base import Transaction, WriteFailed
from postil.store.sqlite import SqliteStore
from postil.store.verify import verify
from support.stores import Filler, add_inputs

# Three threads add two inputs an op, one id derived from the other, and say which ops were acknowledged.
_WRITER = """
import sys, threading
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from postil.store.sqlite import SqliteStore
from support.stores import add_inputs
store = SqliteStore(Path(sys.argv[1]))
app = store.read().app("me", "app").row
def work(name):
    turn = 0
    while True:
        op = f"{name}-{turn}"
        store.write(lambda tx: add_inputs(tx, app, [op + "-left", op + "-right"]))
        sys.stdout.write(op + "\\n"); sys.stdout.flush()
        turn += 1
for number in range(3):
    threading.Thread(target=work, args=(f"{sys.argv[3]}-{number}",)).start()
"""


def _killed_writer(data_dir: Path, name: str, seconds: float) -> list[str]:
    """Runs the writer, kills it, and returns what it had acknowledged."""
    tests = Path(__file__).parents[1]
    writer = subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(data_dir), str(tests), name], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    acknowledged = [writer.stdout.readline().strip()]  # it is under way
    threading.Timer(seconds, lambda: os.kill(writer.pid, signal.SIGKILL)).start()
    acknowledged += [line.strip() for line in writer.stdout if line.endswith("\n")]
    assert writer.wait() == -signal.SIGKILL
    writer.stdout.close()
    return acknowledged


def test_nothing_acknowledged_is_lost_to_kill_nine(data_dir: Path) -> None:
    with SqliteStore(data_dir) as store:
        app = Filler(store).app()
    rng = random.Random(3)
    acknowledged: list[str] = []
    for turn in range(4):
        acknowledged += _killed_writer(data_dir, str(turn), rng.uniform(0.05, 0.4))
    assert list(verify(data_dir)) == []
    with SqliteStore(data_dir) as store:
        stored = {record.id for record in store.read().list_inputs(app, [], [], 0, 10**6)}
        assert {f"{op}-{side}" for op in acknowledged for side in ("left", "right")} <= stored
        # An op that was cut off is there as a whole or not at all.
        assert {name.removesuffix("-left") for name in stored if name.endswith("-left")} == {
            name.removesuffix("-right") for name in stored if name.endswith("-right")
        }
        assert len(list(store.changes(0))) == len(stored) / 2
    assert len(acknowledged) > 20


def _limit_pages(store: SqliteStore, pages: int) -> None:
    """Keeps the database from growing beyond so many pages (0: not at all)."""

    def op(tx: Transaction) -> None:
        connection: sqlite3.Connection = tx._connection  # type: ignore[attr-defined]
        used = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count={used + pages}")

    store.write(op)


def test_a_full_database_refuses_writes_and_goes_on_reading(store: SqliteStore, fill: Filler) -> None:
    app = fill.app()
    fill.input(app, "a")
    committed = store.committed
    _limit_pages(store, 0)
    with pytest.raises(WriteFailed, match="full"):
        fill.input(app, "big", message=b"x" * 100_000)
    assert store.read().input(app, "big") is None
    assert store.read().input(app, "a") is not None
    assert store.committed == committed
    _limit_pages(store, 100_000)
    fill.input(app, "big", message=b"x" * 100_000)
    assert store.committed == committed + 1


@contextmanager
def _files_no_larger_than(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_commit_that_the_disk_refuses_fails_every_op_of_its_group(
    store: SqliteStore, fill: Filler, data_dir: Path
) -> None:
    app = fill.app()
    fill.input(app, "before")
    committed, handed = store.committed, []
    store.subscribe(lambda change: handed.append(change.seq))
    log = data_dir / "postil.sqlite3-wal"
    outcomes: list[type[BaseException] | None] = []

    def write(name: str) -> None:
        try:
            fill.store.write(lambda tx: add_inputs(tx, app, [name], message=b"x" * 9000))
        except WriteFailed as error:
            outcomes.append(type(error))
        else:
            outcomes.append(None)

    with _files_no_larger_than(log.stat().st_size + 100):
        threads = [threading.Thread(target=write, args=(f"in-{number}",)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert store.read().input(app, "before") is not None
    assert outcomes == [WriteFailed] * 6
    assert (store.committed, handed) == (committed, [])
    assert {record.id for record in store.read().list_inputs(app, [], [], 0, 99)} == {"before"}
    fill.input(app, "after")  # without opening again
    assert handed == [committed + 1]
    assert list(verify(data_dir)) == []


def test_a_write_waits_its_turn_and_says_so_when_another_program_holds_the_database(
    store: SqliteStore, fill: Filler, data_dir: Path
) -> None:
    app = fill.app()
    store.write(lambda tx: tx._connection.execute("PRAGMA busy_timeout=50"))  # type: ignore[attr-defined]
    other = sqlite3.connect(data_dir / "postil.sqlite3", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(WriteFailed, match="locked"):
        fill.input(app, "a")
    other.execute("ROLLBACK")
    other.close()
    fill.input(app, "a")
