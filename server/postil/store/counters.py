"""The numbers that are never given out twice: rows, sequence numbers, times. Written with each commit."""

from __future__ import annotations

import sqlite3
import time

LIMIT = 1 << 32
_NAMES = ("apps", "concepts", "inputs", "annotations", "spaces", "changes", "clock_us")
_SAVE = f"UPDATE counters SET {', '.join(f'{name} = ?' for name in _NAMES)} WHERE id = 1"


class Counters:
    """The last number given out of each kind. Numbers of an op that failed are skipped, changes excepted."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        row = connection.execute(f"SELECT {', '.join(_NAMES)} FROM counters WHERE id = 1").fetchone()
        self._last: dict[str, int] = dict(zip(_NAMES, row, strict=True))

    def save(self, connection: sqlite3.Connection) -> None:
        """Part of the commit that used them."""
        connection.execute(_SAVE, tuple(self._last.values()))

    def peek(self, name: str) -> int:
        """The last number given out."""
        return self._last[name]

    def reserve(self, name: str, count: int) -> range:
        """The next `count` numbers. Raises OverflowError when 32 bits are used up."""
        first = self._last[name] + 1
        if first + count > LIMIT:
            raise OverflowError(f"No row numbers are left for {name}: 2**32 were used.")
        self._last[name] += count
        return range(first, first + count)

    def next_change(self) -> int:
        """The next sequence number; 64 bits."""
        self._last["changes"] += 1
        return self._last["changes"]

    def rewind_changes(self, seq: int) -> None:
        """After a rollback: sequence numbers have no gaps."""
        self._last["changes"] = seq

    def now_us(self) -> int:
        """Microseconds since the epoch, greater than ever before even when the clock was set back."""
        now = max(time.time_ns() // 1000, self._last["clock_us"] + 1)
        self._last["clock_us"] = now
        return now
