"""Reads of concept names in other languages, and of relations between concepts."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence

from postil.store.queries_concepts import like_pattern
from postil.store.records import ConceptRecord
from postil.store.sql import as_json, distinct_ints, page, select_in
from postil.store.vocabulary import ConceptName, RelationRecord

CONCEPT = "c.row, c.id, c.name, c.message"
NAME = "concept, language, name, definition"
RELATION = "row, id, subject, predicate, object, graph, message"


class VocabularyRows:
    """Mixed into `SqliteQueries`."""

    _connection: sqlite3.Connection
    room: int

    def concepts_by_row(self, rows: Sequence[int]) -> dict[int, ConceptRecord]:
        found = select_in(
            self._connection, f"SELECT {CONCEPT} FROM concepts c WHERE row IN ({{}})", distinct_ints(rows)
        )
        return {row[0]: ConceptRecord._make(row) for row in found}

    def concept_name(self, concept: int, language: str) -> ConceptName | None:
        row = self._connection.execute(
            f"SELECT {NAME} FROM concept_names WHERE concept = ? AND language = ?", (concept, language)
        ).fetchone()
        return ConceptName._make(row) if row else None

    def concept_names(self, concept: int, offset: int, limit: int) -> list[ConceptName]:
        rows = self._connection.execute(
            f"SELECT {NAME} FROM concept_names WHERE concept = ? ORDER BY language LIMIT ? OFFSET ?",
            (concept, limit, offset),
        )
        return [ConceptName._make(row) for row in rows]

    def concepts_named_in(self, app: int, language: str, name: str) -> list[ConceptRecord]:
        rows = self._connection.execute(
            f"SELECT {CONCEPT} FROM concept_names n JOIN concepts c ON c.row = n.concept"
            " WHERE n.app = ?1 AND n.language = ?2 AND n.name = ?3"
            f" UNION SELECT {CONCEPT} FROM concepts c WHERE c.app = ?1 AND c.name = ?3"
            " AND NOT EXISTS (SELECT 1 FROM concept_names n WHERE n.concept = c.row AND n.language = ?2)"
            " ORDER BY 1",
            (app, language, name),
        )
        return [ConceptRecord._make(row) for row in rows]

    def search_concepts_in(
        self, app: int, language: str, pattern: str, offset: int, limit: int
    ) -> list[tuple[ConceptRecord, ConceptName | None]]:
        rows = self._connection.execute(
            f"SELECT {CONCEPT}, n.name, n.definition FROM concepts c"
            " LEFT JOIN concept_names n ON n.concept = c.row AND n.language = ?2"
            " WHERE c.app = ?1 AND coalesce(n.name_folded, c.name_folded) LIKE ?3 ESCAPE '\\'"
            " ORDER BY coalesce(n.name, c.name), c.id LIMIT ?4 OFFSET ?5",
            (app, language, like_pattern(pattern), limit, offset),
        )
        return [
            (ConceptRecord._make(row[:4]), ConceptName(row[0], language, *row[4:]) if row[4] is not None else None)
            for row in rows
        ]

    def relation(self, app: int, relation_id: str) -> RelationRecord | None:
        return self.relations(app, [relation_id]).get(relation_id)

    def relations(self, app: int, ids: Sequence[str]) -> dict[str, RelationRecord]:
        rows = select_in(
            self._connection, f"SELECT {RELATION} FROM relations WHERE app = ? AND id IN ({{}})", ids, (app,)
        )
        return {row[1]: RelationRecord._make(row) for row in rows}

    def find_relation(self, app: int, subject: int, predicate: str, object_: int, graph: str) -> RelationRecord | None:
        row = self._connection.execute(
            f"SELECT {RELATION} FROM relations WHERE app = ? AND subject = ? AND predicate = ? AND object = ?"
            " AND graph = ?",
            (app, subject, predicate, object_, graph),
        ).fetchone()
        return RelationRecord._make(row) if row else None

    def list_relations(self, app: int, predicate: str, graph: str, offset: int, limit: int) -> list[RelationRecord]:
        rows = self._connection.execute(
            f"SELECT {RELATION} FROM relations WHERE app = ?1 AND (?2 = '' OR predicate = ?2)"
            " AND (?3 = '' OR graph = ?3) ORDER BY row LIMIT ?4 OFFSET ?5",
            (app, predicate, graph, limit, offset),
        )
        return [RelationRecord._make(row) for row in page(self.room, (6,), (rows,))]

    def relations_of(
        self, app: int, concept: int, roles: Iterable[tuple[str, bool]], graph: str, offset: int, limit: int
    ) -> list[RelationRecord]:
        wanted = list(roles)
        as_subject = as_json(predicate for predicate, subject in wanted if subject)
        as_object = as_json(predicate for predicate, subject in wanted if not subject)
        rows = self._connection.execute(
            f"SELECT {RELATION} FROM relations WHERE row IN ("
            " SELECT row FROM relations WHERE app = ?1 AND subject = ?2"
            " AND predicate IN (SELECT value FROM json_each(?3))"
            " UNION SELECT row FROM relations WHERE object = ?2 AND +app = ?1"
            " AND predicate IN (SELECT value FROM json_each(?4)))"
            " AND (?5 = '' OR graph = ?5) ORDER BY row LIMIT ?6 OFFSET ?7",
            (app, concept, as_subject, as_object, graph, limit, offset),
        )
        return [RelationRecord._make(row) for row in page(self.room, (6,), (rows,))]

    def hyponyms(self, app: int, concepts: Sequence[int], limit: int) -> list[int]:
        """UNION drops what was reached before, so that cycles end."""
        rows = self._connection.execute(
            "WITH RECURSIVE reached(concept) AS (SELECT value FROM json_each(?2)"
            " UNION SELECT r.subject FROM reached JOIN relations r ON r.object = reached.concept"
            " WHERE +r.app = ?1 AND +r.predicate = 'hyponym' LIMIT ?3) SELECT concept FROM reached",
            (app, as_json(distinct_ints(concepts)), limit + 1),
        )
        return sorted(row for (row,) in rows)
