"""Reads of concepts and labels."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from postil.store.base import ConceptRecord, ConceptTally
from postil.store.sql import page, select_in
from postil.store.vocabulary import Rename

CONCEPT = "row, id, name, message"


class ConceptQueries:
    """Mixed into `SqliteQueries`."""

    _connection: sqlite3.Connection
    room: int

    def concept(self, app: int, concept_id: str) -> ConceptRecord | None:
        row = self._connection.execute(
            f"SELECT {CONCEPT} FROM concepts WHERE app = ? AND id = ?", (app, concept_id)
        ).fetchone()
        return ConceptRecord._make(row) if row else None

    def concepts(self, app: int, ids: Sequence[str]) -> dict[str, ConceptRecord]:
        rows = select_in(
            self._connection, f"SELECT {CONCEPT} FROM concepts WHERE app = ? AND id IN ({{}})", ids, (app,)
        )
        return {row[1]: ConceptRecord._make(row) for row in rows}

    def concepts_by_name(self, app: int, name: str) -> list[ConceptRecord]:
        """In order of creation; the name must match letter for letter."""
        rows = self._connection.execute(
            f"SELECT {CONCEPT} FROM concepts WHERE app = ? AND name = ? ORDER BY row", (app, name)
        )
        return [ConceptRecord._make(row) for row in rows]

    def list_concepts(self, app: int, like: str, offset: int, limit: int) -> list[ConceptRecord]:
        folded = like.casefold()
        rows = self._connection.execute(
            f"SELECT {CONCEPT} FROM concepts WHERE app = ?1"
            " AND (?2 = '' OR instr(id_folded, ?2) > 0 OR instr(name_folded, ?2) > 0)"
            " ORDER BY row LIMIT ?3 OFFSET ?4",
            (app, folded, limit, offset),
        )
        return [ConceptRecord._make(row) for row in page(self.room, (3,), (rows,))]

    def search_concepts(self, app: int, pattern: str, offset: int, limit: int) -> list[ConceptRecord]:
        rows = self._connection.execute(
            f"SELECT {CONCEPT} FROM concepts WHERE app = ? AND name_folded LIKE ? ESCAPE '\\'"
            " ORDER BY name, id LIMIT ? OFFSET ?",
            (app, like_pattern(pattern), limit, offset),
        )
        return [ConceptRecord._make(row) for row in page(self.room, (3,), (rows,))]

    def tally_concepts(self, app: int, offset: int, limit: int) -> list[ConceptTally]:
        concepts = self.list_concepts(app, "", offset, limit)
        counts = select_in(
            self._connection,
            "SELECT l.concept, i.status, sum(l.value > 0), sum(l.value <= 0) FROM labels l"
            " JOIN annotations a ON a.row = l.annotation JOIN inputs i ON i.row = a.input"
            " WHERE l.concept IN ({}) GROUP BY l.concept, i.status",
            [concept.row for concept in concepts],
        )
        tallies = {concept.row: ConceptTally(concept, {}, {}) for concept in concepts}
        for concept, status, positives, negatives in counts:
            if positives:
                tallies[concept].positives[status] = positives
            if negatives:
                tallies[concept].negatives[status] = negatives
        return list(tallies.values())

    def labelled(self, app: int, concept: int, after: int = 0, limit: int = -1) -> list[tuple[int, int, float]]:
        return self._connection.execute(
            "SELECT annotation, anchor, value FROM labels WHERE concept = ?1 AND annotation > ?3"
            " AND EXISTS (SELECT 1 FROM concepts WHERE row = ?1 AND app = ?2) ORDER BY annotation LIMIT ?4",
            (int(concept), app, after, limit),
        ).fetchall()

    def renames(self, limit: int) -> list[Rename]:
        rows = self._connection.execute("SELECT app, concept, done FROM renames ORDER BY concept LIMIT ?", (limit,))
        return list(map(Rename._make, rows))


def like_pattern(pattern: str) -> str:
    """A LIKE pattern, escaped with a backslash, of one where only `*` is special; runs of `*` are one."""
    parts = pattern.casefold().replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_").split("*")
    return "%".join([parts[0], *(part for part in parts[1:-1] if part), parts[-1]]) if len(parts) > 1 else parts[0]
