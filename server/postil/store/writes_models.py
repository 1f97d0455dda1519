"""Writes of models, their versions, and what those learned from and to."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Sequence

import numpy as np

from postil.store.base import Duplicate, Missing
from postil.store.models import Examples, ModelRecord, StoredHeads, VersionRecord
from postil.store.queries_models import UNKNOWN, ModelRows
from postil.store.sql import insert_rows, run_in

_LEARNED = ("model_heads", "model_concepts", "model_examples", "evaluations")


class ModelRowWrites(ModelRows):
    """Mixed into `SqliteTransaction`."""

    _connection: sqlite3.Connection

    def add_model(self, app: int, model_id: str, message: bytes) -> ModelRecord:
        if self._connection.execute("SELECT 1 FROM apps WHERE row = ?", (app,)).fetchone() is None:
            raise Missing(f"app {app}")
        try:
            row = self._connection.execute(
                "INSERT INTO models (app, id, message) VALUES (?, ?, ?)", (app, model_id, message)
            ).lastrowid
        except sqlite3.IntegrityError as error:
            raise Duplicate(model_id) from error
        return ModelRecord(row or 0, app, model_id, message)

    def update_model(self, row: int, message: bytes) -> None:
        if not self._connection.execute("UPDATE models SET message = ? WHERE row = ?", (message, row)).rowcount:
            raise Missing(f"model {row}")

    def delete_models(self, app: int, ids: Sequence[str]) -> list[str]:
        gone = []
        for model_id in dict.fromkeys(ids):
            found = self.model(app, model_id)
            if found is not None:
                self.delete_versions([version.row for version in self.versions(found.row)])
                self._connection.execute("DELETE FROM models WHERE row = ?", (found.row,))
                gone.append(model_id)
        return gone

    def add_version(self, model: int, version_id: str, status: int, message: bytes) -> VersionRecord:
        found = self.model_by_row(model)
        if found is None:
            raise Missing(f"model {model}")
        row = self._connection.execute(
            "INSERT INTO model_versions (app, model, id, status, message) VALUES (?, ?, ?, ?, ?)",
            (found.app, model, version_id, status, message),
        ).lastrowid
        return VersionRecord(row or 0, found.app, model, version_id, status, message)

    def update_version(self, row: int, status: int, message: bytes) -> None:
        if not self._connection.execute(
            "UPDATE model_versions SET status = ?, message = ? WHERE row = ?", (status, message, row)
        ).rowcount:
            raise Missing(f"model version {row}")

    def delete_versions(self, rows: Sequence[int]) -> None:
        for table in _LEARNED:
            run_in(self._connection, f"DELETE FROM {table} WHERE version IN ({{}})", rows)
        run_in(self._connection, "DELETE FROM model_versions WHERE row IN ({})", rows)

    def put_examples(self, version: int, examples: Examples) -> None:
        self._present(version)
        labels = np.where(np.isnan(examples.labels), np.float32(UNKNOWN), examples.labels)
        raw = b"".join(
            (
                examples.anchors.astype("<u4").tobytes(),
                np.rint(labels).astype("i1").tobytes(),
                examples.annotations.astype("<u4").tobytes(),
            )
        )
        data = zlib.compress(raw, 1)
        self._connection.execute(
            "INSERT OR REPLACE INTO model_examples (version, space, sequence, seed, count, concepts, crc, data)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (version, examples.space, examples.sequence, examples.seed, *labels.shape, zlib.crc32(data), data),
        )

    def put_heads(self, version: int, concept_ids: Sequence[str], heads: StoredHeads) -> None:
        app = self._present(version).app
        data = heads.weights.astype("<f4").tobytes() + heads.biases.astype("<f4").tobytes()
        self._connection.execute(
            "INSERT OR REPLACE INTO model_heads (version, space, concepts, dim, exclusive, crc, data)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (version, heads.space, *heads.weights.shape, heads.exclusive, zlib.crc32(data), data),
        )
        self._connection.execute("DELETE FROM model_concepts WHERE version = ?", (version,))
        places = [(app, concept, version, place) for place, concept in enumerate(concept_ids)]
        insert_rows(self._connection, "INSERT INTO model_concepts (app, concept, version, place)", places)

    def _present(self, version: int) -> VersionRecord:
        found = self.version_by_row(version)
        if found is None:
            raise Missing(f"model version {version}")
        return found
