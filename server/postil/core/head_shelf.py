"""Heads that were read, kept in memory: a version never changes once it is trained."""

from __future__ import annotations

import threading
from typing import NamedTuple

from postil.core.heads import Heads
from postil.store.base import Queries, SpaceRecord, Store, StoredHeads

_LIMIT_BYTES = 64 << 20


class PlacedHead(NamedTuple):
    """One head among those of its version, and whose vectors it takes."""

    heads: StoredHeads
    place: int
    space: SpaceRecord


class HeadShelf:
    """Reads heads through memory, bounded in bytes; the oldest go first. Thread-safe.

    Args:
        store: Where they are.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._gate = threading.Lock()
        self._kept: dict[int, StoredHeads] = {}  # by version row, oldest first
        self._size = 0

    def of_concept(
        self, queries: Queries, app: int, concept_id: str, spaces: list[SpaceRecord], version_id: str = ""
    ) -> PlacedHead | None:
        """The newest head for a concept in an app (row), or that of a version; None when there is none.

        Args:
            queries: Reads.
            app: Row.
            concept_id: Of which concept.
            spaces: All of the app's.
            version_id: Of which model version; "" for the newest that has one.
        """
        version = queries.version(app, version_id) if version_id else None
        if version_id and version is None:
            return None
        found = queries.head_of(app, concept_id, version.row if version else None)
        heads = self.get(found[0]) if found is not None else None
        if found is None or heads is None:
            return None
        space = next((space for space in spaces if space.row == heads.space), None)
        return PlacedHead(heads, found[1], space) if space is not None else None

    def get(self, version: int) -> StoredHeads | None:
        """The heads of a version (row)."""
        found = self._kept.get(version)
        if found is not None:
            return found
        found = self._store.read().heads(version)
        if found is not None:
            with self._gate:
                if version not in self._kept:
                    self._kept[version] = found
                    self._size += found.weights.nbytes
                while self._size > _LIMIT_BYTES and len(self._kept) > 1:
                    self._size -= self._kept.pop(next(iter(self._kept))).weights.nbytes
        return found


def heads_of(stored: StoredHeads) -> Heads:
    """The same, as the mathematics takes them."""
    return Heads(stored.weights, stored.biases, stored.exclusive)
