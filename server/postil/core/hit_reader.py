"""Reads framed hits of one app: by anchor through the cache, by annotation, or all in order of creation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from postil.core.hit_cache import HitCache
from postil.core.hits import Framed, app_tail, frame, within
from postil.store.base import AnnotationRecord, AppRecord, HitRecord, InputRecord, Queries


class Scored(NamedTuple):
    """A hit on its way out."""

    score: float
    hit: Framed


def _itself(hit: Framed) -> Framed:
    return hit


class HitReader:
    """Hits of one app.

    Args:
        queries: Reads.
        cache: What was read before.
        app: The app.
    """

    def __init__(self, queries: Queries, cache: HitCache, app: AppRecord) -> None:
        self._queries = queries
        self._cache = cache
        self._app = app
        self._tail = app_tail(app)

    def of_anchors(self, anchors: Sequence[int], *, alone: bool) -> dict[int, tuple[Framed, ...]]:
        """anchor -> every annotation that it stands for, oldest first, or the oldest alone, which is the anchor."""
        return self._cache.hits(self._queries, self._app, anchors, self._tail, alone=alone)

    def crowd(self) -> float:
        """How many annotations an anchor stands for, about."""
        return self._cache.crowd(self._app.row)

    def of_rows(self, rows: Sequence[int], own: Sequence[int]) -> dict[int, Framed]:
        """annotation row -> its hit; those deleted since are left out.

        Args:
            rows: The annotations.
            own: Those of them that are their own anchors, and so may be in the cache.
        """
        found = {anchor: hit for anchor, (hit,) in self.of_anchors(own, alone=True).items()}
        absent = [row for row in rows if row not in found]
        found.update((hit.annotation, hit) for hit in self.of_annotations(absent))
        return found

    def of_annotations(self, rows: Sequence[int]) -> list[Framed]:
        """The annotations of these rows, in that order; those deleted since are left out."""
        annotations = self._queries.annotations_by_row(rows)
        inputs = self._queries.inputs_by_row(list({annotation.input for annotation in annotations.values()}))
        found = [annotations[row] for row in rows if row in annotations]
        # Many annotations may be of one large input, which each hit repeats.
        framed = (self._frame(inputs[one.input], one) for one in found if one.input in inputs)
        return within(self._queries.room, framed, _itself)

    def _frame(self, of: InputRecord, annotation: AnnotationRecord) -> Framed:
        record = HitRecord(annotation.anchor, annotation.row, of.row, of.message, annotation.message)
        return frame(record, self._tail)
