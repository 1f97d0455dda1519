"""Writes of evaluations. They go with their version, see `writes_models.py`."""

from __future__ import annotations

import sqlite3
import zlib

from postil.store.base import Duplicate, Missing
from postil.store.evaluations import EvaluationRecord
from postil.store.queries_evaluations import EvaluationRows


class EvaluationRowWrites(EvaluationRows):
    """Mixed into `SqliteTransaction`."""

    _connection: sqlite3.Connection

    def add_evaluation(self, version: int, evaluation_id: str, status: int, message: bytes) -> EvaluationRecord:
        found = self._connection.execute("SELECT app FROM model_versions WHERE row = ?", (version,)).fetchone()
        if found is None:
            raise Missing(f"model version {version}")
        try:
            row = self._connection.execute(
                "INSERT INTO evaluations (app, version, id, status, message, crc, details)"
                " VALUES (?, ?, ?, ?, ?, 0, x'')",
                (found[0], version, evaluation_id, status, message),
            ).lastrowid
        except sqlite3.IntegrityError as error:
            raise Duplicate(evaluation_id) from error
        return EvaluationRecord(row or 0, found[0], version, evaluation_id, status, message)

    def update_evaluation(self, row: int, status: int, message: bytes, details: bytes | None = None) -> None:
        changed = self._connection.execute(
            "UPDATE evaluations SET status = ?, message = ? WHERE row = ?", (status, message, row)
        ).rowcount
        if not changed:
            raise Missing(f"evaluation {row}")
        if details is not None:
            packed = zlib.compress(details, 6) if details else b""
            self._connection.execute(
                "UPDATE evaluations SET crc = ?, details = ? WHERE row = ?", (zlib.crc32(packed), packed, row)
            )

    def delete_evaluations(self, version: int, keep: int) -> None:
        self._connection.execute(
            "DELETE FROM evaluations WHERE version = ?1 AND row NOT IN"
            " (SELECT row FROM evaluations WHERE version = ?1 ORDER BY row DESC LIMIT ?2)",
            (version, keep),
        )
