"""Writes of concept names in other languages, and of relations between concepts."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from postil.store.base import Duplicate, Missing
from postil.store.queries_vocabulary import VocabularyRows
from postil.store.sql import distinct_ints, run_in
from postil.store.vocabulary import ConceptName, RelationRecord


class VocabularyRowWrites(VocabularyRows):
    """Mixed into `SqliteTransaction`."""

    _connection: sqlite3.Connection

    def put_concept_name(self, app: int, name: ConceptName) -> None:
        self._check_concepts(app, [name.concept])
        self._connection.execute(
            "INSERT OR REPLACE INTO concept_names (app, concept, language, name, name_folded, definition)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (app, name.concept, name.language, name.name, name.name.casefold(), name.definition),
        )

    def add_relation(self, app: int, record: RelationRecord) -> RelationRecord:
        self._check_concepts(app, [record.subject, record.object])
        try:
            row = self._connection.execute(
                "INSERT INTO relations (app, id, subject, predicate, object, graph, message)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (app, *record[1:]),
            ).lastrowid
        except sqlite3.IntegrityError as error:
            raise Duplicate(record.id) from error
        return record._replace(row=row or 0)

    def delete_relations(self, app: int, rows: Sequence[int]) -> None:
        run_in(
            self._connection, f"DELETE FROM relations WHERE +app = {int(app)} AND row IN ({{}})", distinct_ints(rows)
        )

    def _check_concepts(self, app: int, rows: Sequence[int]) -> None:
        for row in rows:
            if not self._connection.execute("SELECT 1 FROM concepts WHERE row = ? AND app = ?", (row, app)).fetchone():
                raise Missing(f"concept {row}")
