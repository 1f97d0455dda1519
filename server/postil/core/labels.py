"""Concepts inside a message's data: found, checked, named, and turned into label rows.

A concept is created when it is first used, its name defaulting to its id. The stored message carries the name that the
app knows, so that reading it back needs no lookup; a rename rewrites it (`core/concepts.py`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

from postil.core import ids
from postil.store.base import ConceptRecord, Queries
from postil.v1.concept_pb2 import Concept
from postil.v1.data_pb2 import Data

MAX_NAME = 256  # characters of a concept's name, which is copied into every label that carries it
_KNOWN = 20_000  # names kept


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
        if len(concept.name) > MAX_NAME:
            return f"{where}: concept {position} has a name of {len(concept.name)} characters; use at most {MAX_NAME}"
        problem = ids.problem(concept.id or concept.name)
        if problem:
            return f"{where}: concept id {ids.shown(concept.id or concept.name)} {problem}"
    return ""


class KnownNames:
    """Names that concepts had when an op last confirmed them, to spare most requests the look-up. Thread-safe.

    They may be out of date: `Names.confirm` finds out.
    """

    def __init__(self) -> None:
        self._names: dict[tuple[int, str], str] = {}

    def of(self, app: int, ids: Iterable[str]) -> dict[str, str]:
        """id -> name, of those that are known."""
        found = ((concept_id, self._names.get((app, concept_id))) for concept_id in ids)
        return {concept_id: name for concept_id, name in found if name is not None}

    def note(self, app: int, names: Mapping[str, str]) -> None:
        """Keeps names that were confirmed."""
        if len(self._names) + len(names) > _KNOWN:
            self._names = {}
        self._names.update(((app, concept_id), name) for concept_id, name in names.items())


class Names:
    """The names of the concepts a request uses, looked up once for all its items.

    Args:
        queries: Where to.
        app: Row of the app.
        app_id: Its id.
        used: The concepts; those without an id get one.
        known: Names that need no look-up.
    """

    def __init__(
        self, queries: Queries, app: int, app_id: str, used: Sequence[Concept], known: KnownNames | None = None
    ) -> None:
        self._app_id = app_id
        for concept in used:
            if not concept.id:
                called = queries.concepts_by_name(app, concept.name)
                concept.id = called[0].id if called else concept.name
        mentioned = {concept.id for concept in used}
        names = known.of(app, mentioned) if known is not None else {}
        if missing := mentioned - names.keys():
            names |= {record.id: record.name for record in queries.concepts(app, list(missing)).values()}
        self.wanted: dict[str, str] = {}
        for concept in used:
            if concept.id in self.wanted:
                continue
            self.wanted[concept.id] = names.get(concept.id, concept.name or concept.id)

    def fill(self, concepts: Iterable[Concept]) -> None:
        """Writes name and app into each concept of a message about to be stored."""
        for concept in concepts:
            concept.name = self.wanted[concept.id]
            concept.app_id = self._app_id

    def confirm(self, records: dict[str, ConceptRecord]) -> None:
        """Raises StaleError when the names filled in are no longer the app's."""
        for concept_id, record in records.items():
            if self.wanted[concept_id] != record.name:
                raise StaleError(concept_id)


def label_values(concepts: Iterable[Concept]) -> dict[str, float]:
    """concept id -> value; the last mention of a concept wins."""
    return {concept.id: concept.value for concept in concepts}
