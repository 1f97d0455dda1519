"""Framed hits by anchor, kept in memory while nothing that they show has changed.

Reading ten hits from the store costs a search about as much as everything else in core together. The cache follows the
change feed like every derived thing (law 1): what a change might have altered is forgotten, and when in doubt the whole
app is. Bounded in bytes; the oldest entries go first.

An anchor's hits are kept together, for searches that show every annotation, or its own annotation alone, for those that
show one hit of each input: an input may have a thousand labels, and a hit repeats its input.
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


_Shelf = tuple[int, bool]  # app, whether what is on it is kept alone


class _Entry(NamedTuple):
    shelf: _Shelf
    hits: tuple[Framed, ...]
    size: int


class HitCache:
    """Reads hits through memory. Thread-safe.

    A change is *harmless* when it only adds annotations that have vectors of their own: no other anchor's hits show
    them. That is what loading does, so a load does not empty the cache. It is recognised by rows: rows grow with
    creation, so one above every row cached so far is new to the cache. Annotations without vectors of their own, which
    is what labelling adds, are harmless as well to what is kept alone.

    Args:
        limit: Bytes to stay below.
    """

    def __init__(self, limit: int = LIMIT_BYTES) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._entries: dict[int, _Entry] = {}  # by anchor, what is kept alone by ~anchor; oldest first
        self._size = 0
        self._highest = 0  # annotation row in any entry so far
        self._shelves: dict[_Shelf, set[int]] = {}  # keys of the entries
        self._crowds: dict[int, float] = {}  # app -> hits of an anchor, on average in the last read of all
        self._sequences: dict[int, int] = {}  # app -> its last change
        self._spaces: dict[int, tuple[int, list[SpaceRecord]]] = {}  # app -> the sequence it was read at, spaces

    def apply(self, change: Change) -> None:
        """Takes one change from the feed."""
        with self._lock:
            self._sequences[change.app] = change.seq
            only_new = self._only_adds(change)
            for alone, harmless in ((True, only_new), (False, only_new and _all_have_vectors(change))):
                if not harmless:
                    self._forget((change.app, alone))

    def _only_adds(self, change: Change) -> bool:
        if len(change.gone) or change.spaces_gone or not len(change.touched):
            return False
        return int(change.touched.min()) > self._highest

    def _forget(self, shelf: _Shelf) -> None:
        for place in self._shelves.pop(shelf, ()):
            self._size -= self._entries.pop(place).size

    def hits(
        self, queries: Queries, app: AppRecord, anchors: Sequence[int], tail: bytes, *, alone: bool = False
    ) -> dict[int, tuple[Framed, ...]]:
        """anchor -> its hits, by annotation row; anchors without any are left out.

        Args:
            queries: Reads what is not in memory.
            app: The app of all the anchors.
            anchors: Annotation rows.
            tail: `hits.app_tail` of the app.
            alone: Only the annotation that is the anchor, which is the oldest of its hits.
        """
        entries = self._entries
        found: dict[int, tuple[Framed, ...]] = {}
        absent: list[int] = []
        for anchor in anchors:
            entry = entries.get(~anchor if alone else anchor)
            if entry is not None:
                found[anchor] = entry.hits
            else:
                absent.append(anchor)
        if absent:
            found |= self._read(queries, app, absent, tail, alone=alone)
        return found

    def _read(
        self, queries: Queries, app: AppRecord, anchors: list[int], tail: bytes, *, alone: bool
    ) -> dict[int, tuple[Framed, ...]]:
        before = self._sequences.get(app.row)
        grouped: dict[int, list[Framed]] = {}
        for record in queries.hits(anchors, alone=alone):
            grouped.setdefault(record.anchor, []).append(frame(record, tail))
        read = {anchor: tuple(hits) for anchor, hits in grouped.items()}
        if read and not alone:
            self._crowds[app.row] = sum(map(len, read.values())) / len(read)
        with self._lock:
            # A change during the read may or may not be in it, so what was read is used once and not kept.
            if self._sequences.get(app.row) == before:
                self._keep((app.row, alone), read)
        return read

    def _keep(self, shelf: _Shelf, read: dict[int, tuple[Framed, ...]]) -> None:
        for anchor, hits in read.items():
            size = sum(len(hit.rest) for hit in hits) + _OVERHEAD * (1 + len(hits))
            place = ~anchor if shelf[1] else anchor
            self._drop(place)
            self._entries[place] = _Entry(shelf, hits, size)
            self._shelves.setdefault(shelf, set()).add(place)
            self._size += size
            self._highest = max(self._highest, hits[-1].annotation)
        while self._size > self._limit:
            self._drop(next(iter(self._entries)))

    def _drop(self, place: int) -> None:
        entry = self._entries.pop(place, None)
        if entry is not None:
            self._shelves[entry.shelf].discard(place)
            self._size -= entry.size

    def crowd(self, app: int) -> float:
        """How many hits an anchor of the app (a row) stands for, as last seen: 1 or more."""
        return self._crowds.get(app, 1.0)

    def spaces(self, queries: Queries, app: int) -> list[SpaceRecord]:
        """`Queries.spaces`, read again after any change to the app."""
        sequence = self._sequences.get(app, 0)
        known = self._spaces.get(app)
        if known is not None and known[0] == sequence:
            return known[1]
        spaces = queries.spaces(app)
        self._spaces[app] = (sequence, spaces)
        return spaces


def _all_have_vectors(change: Change) -> bool:
    """Whether each annotation that it touched had a vector written."""
    if not change.put:
        return False
    return bool(np.isin(change.touched, np.concatenate([put.rows for put in change.put])).all())
