"""The part of the store's contract about words: concepts, their names, and how they relate.

Mixed into the Protocols of `store/base.py`, whose promises hold here too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from postil.store.records import ConceptRecord, ConceptTally


class ConceptName(NamedTuple):
    """What a concept is called in one language, other than the app's own."""

    concept: int
    language: str
    name: str
    definition: str


class RelationRecord(NamedTuple):
    """One edge between two concepts of an app, as it was stored."""

    row: int
    id: str
    subject: int  # concept row
    predicate: str
    object: int  # concept row
    graph: str  # id of a knowledge graph; "" is the app's own
    message: bytes  # postil.v1.ConceptRelation, without what stands in the columns


class Rename(NamedTuple):
    """A concept whose new name is not in all labels yet."""

    app: int
    concept: int  # row
    done: int  # annotations up to this row have it


class VocabularyQueries(Protocol):
    """Reads of concepts, names and relations."""

    def concept(self, app: int, concept_id: str) -> ConceptRecord | None: ...
    def concepts(self, app: int, ids: Sequence[str]) -> dict[str, ConceptRecord]: ...
    def concepts_by_name(self, app: int, name: str) -> list[ConceptRecord]: ...
    def list_concepts(self, app: int, like: str, offset: int, limit: int) -> list[ConceptRecord]:
        """In order of creation. `like`: "" for all, else text found anywhere in id or name, ignoring case."""
        ...

    def search_concepts(self, app: int, pattern: str, offset: int, limit: int) -> list[ConceptRecord]:
        """Names matching a pattern where `*` stands for any run of characters, ignoring case; ordered by name, id."""
        ...

    def tally_concepts(self, app: int, offset: int, limit: int) -> list[ConceptTally]:
        """In order of concept creation."""
        ...

    def labelled(self, app: int, concept: int, after: int = 0, limit: int = -1) -> list[tuple[int, int, float]]:
        """(annotation row, anchor row, value) of the annotations that name the concept, oldest first: `limit` of them
        (-1 for all) after the row `after`."""
        ...

    def renames(self, limit: int) -> list[Rename]:
        """Of all apps."""
        ...

    def concepts_by_row(self, rows: Sequence[int]) -> dict[int, ConceptRecord]: ...

    def concept_name(self, concept: int, language: str) -> ConceptName | None: ...

    def concept_names(self, concept: int, offset: int, limit: int) -> list[ConceptName]:
        """Ordered by language code."""
        ...

    def concepts_named_in(self, app: int, language: str, name: str) -> list[ConceptRecord]:
        """In order of creation; the name must match letter for letter. A concept that has no name in the language goes
        by its own."""
        ...

    def search_concepts_in(
        self, app: int, language: str, pattern: str, offset: int, limit: int
    ) -> list[tuple[ConceptRecord, ConceptName | None]]:
        """As `search_concepts`, by the names in the language; None beside a concept that has none there, and so goes by
        its own."""
        ...

    def relation(self, app: int, relation_id: str) -> RelationRecord | None: ...
    def relations(self, app: int, ids: Sequence[str]) -> dict[str, RelationRecord]: ...
    def find_relation(self, app: int, subject: int, predicate: str, object_: int, graph: str) -> RelationRecord | None:
        """The edge with exactly these ends."""
        ...

    def list_relations(self, app: int, predicate: str, graph: str, offset: int, limit: int) -> list[RelationRecord]:
        """Edges in order of creation; "" for any predicate or graph."""
        ...

    def relations_of(
        self, app: int, concept: int, roles: Iterable[tuple[str, bool]], graph: str, offset: int, limit: int
    ) -> list[RelationRecord]:
        """Edges of one concept in order of creation.

        Args:
            app: The app.
            concept: Row of the concept.
            roles: (predicate, whether the concept is the subject) of the edges wanted.
            graph: Of these alone; "" for any.
            offset: Edges before the page.
            limit: Edges on it.
        """
        ...

    def hyponyms(self, app: int, concepts: Sequence[int], limit: int) -> list[int]:
        """Rows of these concepts and of all that are a kind of them, directly or through others, ascending. At most
        `limit` + 1 of them are found, so that the caller can tell when there are more."""
        ...


class VocabularyWrites(Protocol):
    """Writes of concepts, names and relations."""

    def ensure_concepts(self, app: int, wanted: Mapping[str, str]) -> dict[str, ConceptRecord]:
        """id -> name; creates what is missing (name "" means the id) and returns all of them by id.

        A created message holds id, name, value 1, language "en", created_at, app_id and user_id.
        """
        ...

    def add_concept(self, app: int, concept_id: str, name: str, message: bytes) -> ConceptRecord:
        """Raises Duplicate."""
        ...

    def put_rename(self, app: int, concept: int, done: int) -> None:
        """Remembers how far the name of a concept (row) has come; see `Rename`."""
        ...

    def drop_rename(self, concept: int) -> None: ...
    def update_concept(self, row: int, name: str, message: bytes) -> None: ...

    def put_concept_name(self, app: int, name: ConceptName) -> None:
        """Inserts or replaces. Raises Missing when the app has no such concept."""
        ...

    def add_relation(self, app: int, record: RelationRecord) -> RelationRecord:
        """Stores the edge under a row of its own (`record.row` is not read). Raises Duplicate(id) when the id or the
        edge is there, Missing when the app lacks a concept."""
        ...

    def delete_relations(self, app: int, rows: Sequence[int]) -> None: ...
