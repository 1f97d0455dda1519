"""What lies where in a data directory, and whether it is all there."""

from __future__ import annotations

from pathlib import Path

DATABASE = "postil.sqlite3"
BLOBS = "blobs"
INDEX = "index"  # derived
# Lies in the directory while a backup is put into it. The database comes last.
RESTORING = "restoring"


class Unfinished(Exception):
    """A restore broke off in this directory. `args[0]` says what to do."""


def refuse_unfinished(data_dir: Path) -> None:
    """Raises Unfinished rather than let an empty database be made in the midst of what was to be restored."""
    if (data_dir / RESTORING).exists():
        raise Unfinished(
            f"A restore into {data_dir} broke off. Run the same `postil restore` again: it goes on from there."
        )
