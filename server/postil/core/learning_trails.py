"""Where searches looked, kept in memory until somebody may click: a click teaches about the vector searched by.

A search that is forgotten here, or that ran before a restart, is resolved again from the request that the log of
searches has kept.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import NamedTuple

from postil.core.targets import Point

LIMIT_BYTES = 16 << 20
_OVERHEAD = 500  # bytes of Python objects around one trail


class Trail(NamedTuple):
    """Where a search looked before any learning."""

    key: str  # see store.base.Evidence
    point: Point


class Trails:
    """The trails of the newest searches. Thread-safe.

    Args:
        limit: Bytes to stay below.
    """

    def __init__(self, limit: int = LIMIT_BYTES) -> None:
        self._limit = limit
        self._gate = threading.Lock()
        self._trails: OrderedDict[tuple[int, str], Trail] = OrderedDict()
        self._size = 0

    def remember(self, app: int, search_id: str, trail: Trail) -> None:
        """Keeps the trail of a search of the app (a row)."""
        with self._gate:
            self._trails[app, search_id] = trail
            self._size += trail.point.vector.nbytes + _OVERHEAD
            while self._size > self._limit:
                _, oldest = self._trails.popitem(last=False)
                self._size -= oldest.point.vector.nbytes + _OVERHEAD

    def find(self, app: int, search_id: str) -> Trail | None:
        """The trail of a search, if it is still kept."""
        with self._gate:
            return self._trails.get((app, search_id))
