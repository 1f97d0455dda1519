"""Writes of concepts."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Mapping

from postil.store.base import ConceptRecord, Duplicate, Missing
from postil.store.counters import Counters
from postil.store.queries_concepts import ConceptQueries
from postil.v1.concept_pb2 import Concept


class ConceptWrites(ConceptQueries):
    """Mixed into `SqliteTransaction`."""

    _connection: sqlite3.Connection
    _counters: Counters
    now_us: int

    def ensure_concepts(self, app: int, wanted: Mapping[str, str]) -> dict[str, ConceptRecord]:
        known = self.concepts(app, list(wanted))
        new = [concept_id for concept_id in wanted if concept_id not in known]
        if new:
            owner = self._connection.execute(
                "SELECT user_id, id FROM apps WHERE row = ? AND user_id <> ''", (app,)
            ).fetchone()
            if owner is None:
                raise Missing(f"app {app}")
            for concept_id in new:
                name = wanted[concept_id] or concept_id
                known[concept_id] = self._insert(app, concept_id, name, self._message(concept_id, name, *owner))
        return known

    def _message(self, concept_id: str, name: str, user_id: str, app_id: str) -> bytes:
        message = Concept(id=concept_id, name=name, value=1.0, language="en", app_id=app_id, user_id=user_id)
        message.created_at.FromMicroseconds(self.now_us)
        return message.SerializeToString()

    def add_concept(self, app: int, concept_id: str, name: str, message: bytes) -> ConceptRecord:
        if self.concept(app, concept_id) is not None:
            raise Duplicate(concept_id)
        return self._insert(app, concept_id, name, message)

    def _insert(self, app: int, concept_id: str, name: str, message: bytes) -> ConceptRecord:
        row = self._counters.reserve("concepts", 1)[0]
        self._connection.execute(
            "INSERT INTO concepts (row, app, id, name, id_folded, name_folded, message, crc)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (row, app, concept_id, name, concept_id.casefold(), name.casefold(), message, zlib.crc32(message)),
        )
        return ConceptRecord(row, concept_id, name, message)

    def put_rename(self, app: int, concept: int, done: int) -> None:
        self._connection.execute(
            "INSERT OR REPLACE INTO renames (concept, app, done) VALUES (?, ?, ?)", (concept, app, done)
        )

    def drop_rename(self, concept: int) -> None:
        self._connection.execute("DELETE FROM renames WHERE concept = ?", (concept,))

    def update_concept(self, row: int, name: str, message: bytes) -> None:
        done = self._connection.execute(
            "UPDATE concepts SET name = ?, name_folded = ?, message = ?, crc = ? WHERE row = ?",
            (name, name.casefold(), message, zlib.crc32(message), row),
        )
        if not done.rowcount:
            raise Missing(f"concept {row}")
