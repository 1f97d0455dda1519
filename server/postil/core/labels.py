"""Concepts inside a message's data: found, checked, named, and turned into label rows.

A concept is created when it is first used, its name defaulting to its id. The stored message carries the name that the
app knows, so that reading it back needs no lookup; a rename rewrites it (`core/concepts.py`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

from postil.core import ids
from postil.store.base import ConceptRecord, Queries
from postil.v1.concept_pb2 import Concept
from postil.v1.data_pb2 import Data


class StaleError(Exception):
    """Something that an op was prepared with has changed since it was read: prepare again."""


def concepts_in(data: Data) -> Iterator[Concept]:
    """Every concept of the data: of the whole, its regions, its frames and their regions, its time segments."""
    yield from data.concepts
    for region in data.regions:
        yield from region.data.concepts
    for frame in data.frames:
        yield from concepts_in(frame.data)
    for segment in data.time_segments:
        yield from concepts_in(segment.data)


def check(concepts: Iterable[Concept], where: str) -> str:
    """What is wrong with the first bad concept, or "" when all are well."""
    for position, concept in enumerate(concepts):
        if not concept.id and not concept.name:
            return f"{where}: concept {position} has neither id nor name; give it an id"
        if not (math.isfinite(concept.value) and 0.0 <= concept.value <= 1.0):
            shown = ids.shown(concept.id or concept.name)
            return f"{where}: concept {shown} has value {concept.value}; use 1 (present) or 0 (absent)"
        problem = ids.problem(concept.id or concept.name)
        if problem:
            return f"{where}: concept id {ids.shown(concept.id or concept.name)} {problem}"
    return ""


class Names:
    """The names of the concepts a request uses, looked up once for all its items."""

    def __init__(self, queries: Queries, app: int, app_id: str, used: Sequence[Concept]) -> None:
        self._app_id = app_id
        for concept in used:
            if not concept.id:
                known = queries.concepts_by_name(app, concept.name)
                concept.id = known[0].id if known else concept.name
        known_by_id = queries.concepts(app, list({concept.id for concept in used}))
        self.wanted: dict[str, str] = {}
        for concept in used:
            if concept.id in self.wanted:
                continue
            record = known_by_id.get(concept.id)
            self.wanted[concept.id] = record.name if record else concept.name or concept.id

    def fill(self, concepts: Iterable[Concept]) -> None:
        """Writes name and app into each concept of a message about to be stored."""
        for concept in concepts:
            concept.name = self.wanted[concept.id]
            concept.app_id = self._app_id

    def confirm(self, records: dict[str, ConceptRecord]) -> None:
        """Raises StaleError when the names filled in are no longer the app's."""
        for concept_id, name in self.wanted.items():
            if records[concept_id].name != name:
                raise StaleError(concept_id)


def label_values(concepts: Iterable[Concept]) -> dict[str, float]:
    """concept id -> value; the last mention of a concept wins."""
    return {concept.id: concept.value for concept in concepts}
