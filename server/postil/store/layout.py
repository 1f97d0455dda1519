"""What lies where in a data directory, and whether it is all there."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import BinaryIO

DATABASE = "postil.sqlite3"
BLOBS = "blobs"
INDEX = "index"  # derived
# Lies in the directory while a backup is put into it. The database comes last.
RESTORING = "restoring"


_OTHERS = 0o007
_PRIVATE = (DATABASE, f"{DATABASE}-wal", f"{DATABASE}-shm", BLOBS, INDEX)


class Unfinished(Exception):
    """A restore broke off in this directory. `args[0]` says what to do."""


def refuse_unfinished(data_dir: Path) -> None:
    """Raises Unfinished rather than let an empty database be made in the midst of what was to be restored."""
    if (data_dir / RESTORING).exists():
        raise Unfinished(
            f"A restore into {data_dir} broke off. Run the same `postil restore` again: it goes on from there."
        )


def keep_private(data_dir: Path) -> None:
    """Takes what is kept from other users of the machine, where they may read it: a data directory that somebody made
    beforehand need not be closed itself. What was opened to a group alone stays so."""
    for path in (data_dir / name for name in _PRIVATE):
        with contextlib.suppress(FileNotFoundError, PermissionError):  # not there; another user's
            if path.stat().st_mode & _OTHERS:
                path.chmod(0o700 if path.is_dir() else 0o600)


def private_file(path: Path) -> BinaryIO:
    """An empty file for its owner alone, to be written. A link in its place is not followed."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.fdopen(os.open(path, flags, 0o600), "wb")
