"""The lock on a data directory: one server at a time."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

NAME = "lock"


class DirectoryInUse(Exception):
    """Another process holds the data directory. `args[0]` names the directory and the process."""


class DirectoryLock:
    """Held from construction until `release`; the kernel releases it when the process dies, however it dies.

    Raises:
        DirectoryInUse: Another process, or another store in this one, holds it.
    """

    def __init__(self, directory: Path) -> None:
        self._descriptor = os.open(directory / NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(self._descriptor)
            raise DirectoryInUse(
                f"The data directory {directory} is in use by process {holder}. "
                f"Stop that server first, or choose another directory."
            ) from None
        # The file stays when the lock goes: removing it would let two processes lock two files of one name.
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Lets the next process in. Safe to call twice."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
