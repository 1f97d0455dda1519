"""The lock on a data directory: one server at a time."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

NAME = "lock"
# How long whoever opens a store waits: a server that was killed while it started a child may leave that child holding
# its files for a moment, between fork and exec; on a busy machine that moment was seen.
PATIENCE_S = 2.0
_AGAIN_S = 0.05


class DirectoryInUse(Exception):
    """Another process holds the data directory. `args[0]` names the directory and the process."""


class DirectoryLock:
    """Held from construction until `release`; the kernel releases it when the process dies, however it dies.

    Args:
        directory: To lock; a file is made in it.
        patience_s: How long to wait for it.

    Raises:
        DirectoryInUse: Another process, or another store in this one, holds it.
    """

    def __init__(self, directory: Path, patience_s: float = 0.0) -> None:
        self._descriptor = os.open(directory / NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        until = time.monotonic() + patience_s
        while not _locked(self._descriptor):
            if time.monotonic() < until:
                time.sleep(_AGAIN_S)
                continue
            holder = os.pread(self._descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(self._descriptor)
            raise DirectoryInUse(
                f"The data directory {directory} is in use by process {holder}. "
                f"Stop that server first, or choose another directory."
            )
        # The file stays when the lock goes: removing it would let two processes lock two files of one name.
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Lets the next process in. Safe to call twice."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
