"""Eight bytes in a file, mapped into memory: how a running server notices at once that another process changed keys.

Reading them is reading memory: no system call, and no moment at which another thread may take over the interpreter.
They are random, so that nobody needs to read before writing.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path

NAME = "keys.stamp"
_SIZE = 8


class FileStamp:
    """`keys.Stamp` in a data directory, created when it is missing."""

    def __init__(self, data_dir: Path) -> None:
        self._descriptor = os.open(data_dir / NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if os.fstat(self._descriptor).st_size != _SIZE:
            os.ftruncate(self._descriptor, _SIZE)
        self._map = mmap.mmap(self._descriptor, _SIZE, prot=mmap.PROT_READ)

    def value(self) -> bytes:
        return self._map[:_SIZE]

    def renew(self) -> None:
        os.pwrite(self._descriptor, os.urandom(_SIZE), 0)

    def close(self) -> None:
        """Safe to call twice. The map goes with the last one who looks at it."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
