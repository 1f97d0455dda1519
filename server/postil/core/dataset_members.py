"""Who is in which dataset, as packed sets for filters: read once for each edition of a dataset, then kept."""

from __future__ import annotations

import threading

from pyroaring import BitMap

from postil.index.rowsets import bitmap
from postil.store.base import DatasetRecord, Queries

_KEPT = 256  # datasets


class DatasetMembers:
    """The newest sets that were asked for. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[int, tuple[int, BitMap]] = {}  # dataset -> (edition, its members), oldest entry first

    def of(self, queries: Queries, dataset: DatasetRecord) -> BitMap:
        """The input-level annotations of a dataset's inputs, and of some that are deleted. Not to be changed."""
        kept = self._kept.get(dataset.row)
        if kept is not None and kept[0] == dataset.edition:
            return kept[1]
        # Whoever joined since the record was read is in the set already; the next edition reads it again.
        found = bitmap(queries.member_anchors(dataset.row))
        with self._lock:
            self._kept.pop(dataset.row, None)
            self._kept[dataset.row] = (dataset.edition, found)
            while len(self._kept) > _KEPT:
                self._kept.pop(next(iter(self._kept)))
        return found
