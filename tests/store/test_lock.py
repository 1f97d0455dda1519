"""Two servers cannot share a data directory."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from postil.store.lock import DirectoryInUse, DirectoryLock
from postil.store.sqlite import SqliteStore

_HOLD = """
import sys
from pathlib import Path
from postil.store.lock import DirectoryLock
lock = DirectoryLock(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def test_a_second_store_is_told_who_holds_the_directory(store: SqliteStore, data_dir: Path) -> None:
    with pytest.raises(DirectoryInUse) as caught:
        SqliteStore(data_dir)
    assert str(data_dir) in str(caught.value)
    assert f"process {os.getpid()}." in str(caught.value)
    assert store.read().setting("x") is None  # the first goes on


def test_the_lock_goes_with_its_process_however_that_ends(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(DirectoryInUse, match=f"process {holder.pid}"):
            DirectoryLock(tmp_path)
        holder.kill()
    lock = DirectoryLock(tmp_path)
    lock.release()
    lock.release()
    DirectoryLock(tmp_path).release()


def test_a_store_waits_for_what_a_killed_server_has_left(data_dir: Path) -> None:
    """A child that it was starting holds its files until it has become another program."""
    data_dir.mkdir()
    held = DirectoryLock(data_dir)
    left = os.dup(held._descriptor)  # as a fork does
    held.release()
    with pytest.raises(DirectoryInUse):
        DirectoryLock(data_dir)
    threading.Timer(0.3, os.close, [left]).start()
    SqliteStore(data_dir).close()


def test_closing_a_store_lets_the_directory_go(data_dir: Path) -> None:
    for _ in range(3):
        SqliteStore(data_dir).close()
