"""Checksums of the messages that people's work is in: SQLite notices damaged pages, not a flipped bit in a text."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Callable, Iterator

_CHUNK = 1000  # rows; a long read would keep the log from being folded into the file


def damaged_messages(connection: sqlite3.Connection, go_on: Callable[[], bool] = lambda: True) -> Iterator[str]:
    """A sentence for each message that is not as it was written, until `go_on` says no. Needs the newest schema."""
    for table in ("inputs", "annotations", "concepts"):
        after = 0
        while go_on():
            found = connection.execute(
                f"SELECT row, crc, message FROM {table} WHERE row > ? ORDER BY row LIMIT ?", (after, _CHUNK)
            ).fetchall()
            for row, crc, message in found:
                if not isinstance(message, bytes) or zlib.crc32(message) != crc:
                    yield f"The message of row {row} of {table} fails its checksum."
            if len(found) < _CHUNK:
                break
            after = found[-1][0]
