"""Framed hits by anchor, kept in memory while nothing that they show has changed.

Reading ten hits from the store costs a search about as much as everything else in core together. The cache follows the
change feed like every derived thing (law 1): what a change might have altered is never served again, and when in doubt
the whole app is forgotten. Bounded in bytes; the oldest entries go first.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from postil.core.hits import Framed, frame
from postil.store.base import AppRecord, Change, Queries, SpaceRecord

LIMIT_BYTES = 24 << 20
_OVERHEAD = 300  # bytes of Python objects around one entry


class _Entry(NamedTuple):
    generation: int
    hits: tuple[Framed, ...]
    size: int


class HitCache:
    """Reads hits through memory. Thread-safe.

    A change is *harmless* when it only adds annotations that have vectors of their own: no other anchor's hits show
    them. That is what loading does, so a load does not empty the cache. It is recognised by rows: rows grow with
    creation, so one above every row cached so far is new to the cache.

    Args:
        limit: Bytes to stay below.
    """

    def __init__(self, limit: int = LIMIT_BYTES) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._entries: dict[int, _Entry] = {}  # by anchor, oldest first
        self._size = 0
        self._highest = 0  # annotation row in any entry so far
        self._generations: dict[int, int] = {}  # app -> number of changes that were not harmless
        self._sequences: dict[int, int] = {}  # app -> its last change
        self._spaces: dict[int, tuple[int, list[SpaceRecord]]] = {}  # app -> the sequence it was read at, spaces

    def apply(self, change: Change) -> None:
        """Takes one change from the feed."""
        with self._lock:
            self._sequences[change.app] = change.seq
            if not self._harmless(change):
                self._generations[change.app] = self._generations.get(change.app, 0) + 1

    def _harmless(self, change: Change) -> bool:
        if len(change.gone) or change.spaces_gone or not len(change.touched) or not change.put:
            return False
        if int(change.touched.min()) <= self._highest:
            return False
        owners = np.concatenate([put.rows for put in change.put])
        return bool(np.isin(change.touched, owners).all())

    def hits(
        self, queries: Queries, app: AppRecord, anchors: Sequence[int], tail: bytes
    ) -> dict[int, tuple[Framed, ...]]:
        """anchor -> its hits, by annotation row; anchors without any are left out.

        Args:
            queries: Reads what is not in memory.
            app: The app of all the anchors.
            anchors: Annotation rows.
            tail: `hits.app_tail` of the app.
        """
        generation = self._generations.get(app.row, 0)
        entries = self._entries
        found: dict[int, tuple[Framed, ...]] = {}
        absent: list[int] = []
        for anchor in anchors:
            entry = entries.get(anchor)
            if entry is not None and entry.generation == generation:
                found[anchor] = entry.hits
            else:
                absent.append(anchor)
        if absent:
            found |= self._read(queries, app, absent, tail)
        return found

    def _read(self, queries: Queries, app: AppRecord, anchors: list[int], tail: bytes) -> dict[int, tuple[Framed, ...]]:
        before = self._sequences.get(app.row)
        grouped: dict[int, list[Framed]] = {}
        for record in queries.hits(anchors):
            grouped.setdefault(record.anchor, []).append(frame(record, tail))
        read = {anchor: tuple(hits) for anchor, hits in grouped.items()}
        with self._lock:
            # A change during the read may or may not be in it, so what was read is used once and not kept.
            if self._sequences.get(app.row) == before:
                self._keep(self._generations.get(app.row, 0), read)
        return read

    def _keep(self, generation: int, read: dict[int, tuple[Framed, ...]]) -> None:
        for anchor, hits in read.items():
            size = sum(len(hit.rest) for hit in hits) + _OVERHEAD * (1 + len(hits))
            self._drop(anchor)
            self._entries[anchor] = _Entry(generation, hits, size)
            self._size += size
            self._highest = max(self._highest, hits[-1].annotation)
        while self._size > self._limit:
            self._drop(next(iter(self._entries)))

    def _drop(self, anchor: int) -> None:
        entry = self._entries.pop(anchor, None)
        if entry is not None:
            self._size -= entry.size

    def spaces(self, queries: Queries, app: int) -> list[SpaceRecord]:
        """`Queries.spaces`, read again after any change to the app."""
        sequence = self._sequences.get(app, 0)
        known = self._spaces.get(app)
        if known is not None and known[0] == sequence:
            return known[1]
        spaces = queries.spaces(app)
        self._spaces[app] = (sequence, spaces)
        return spaces
