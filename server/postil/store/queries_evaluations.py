"""Reads of evaluations."""

from __future__ import annotations

import sqlite3
import zlib

from postil.store.base import Corrupt
from postil.store.evaluations import EvaluationRecord
from postil.store.sql import listed, page

_COLUMNS = "row, app, version, id, status, message"
_PAGE = listed(_COLUMNS, "evaluations")


class EvaluationRows:
    """Mixed into `SqliteQueries`."""

    _connection: sqlite3.Connection
    room: int

    def evaluation(self, version: int, evaluation_id: str) -> EvaluationRecord | None:
        row = self._connection.execute(
            f"SELECT {_COLUMNS} FROM evaluations WHERE version = ? AND id = ?", (version, evaluation_id)
        ).fetchone()
        return EvaluationRecord._make(row) if row else None

    def evaluation_by_row(self, row: int) -> EvaluationRecord | None:
        found = self._connection.execute(f"SELECT {_COLUMNS} FROM evaluations WHERE row = ?", (row,)).fetchone()
        return EvaluationRecord._make(found) if found else None

    def evaluations(self, version: int, offset: int, limit: int) -> list[EvaluationRecord]:
        rows = self._connection.execute(
            _PAGE.format("WHERE version = ? ORDER BY row DESC LIMIT ? OFFSET ?"), (version, limit, offset)
        )
        return [EvaluationRecord._make(row) for row in page(self.room, (5,), (rows,))]

    def evaluation_details(self, row: int) -> bytes:
        found = self._connection.execute("SELECT details, crc FROM evaluations WHERE row = ?", (row,)).fetchone()
        if found is None or not found[0]:
            return b""
        if zlib.crc32(found[0]) != found[1]:
            raise Corrupt(f"The figures of evaluation {row} fail their checksum.")
        return zlib.decompress(found[0])

    def waiting_evaluations(self, app: int | None, limit: int) -> list[EvaluationRecord]:
        rows = self._connection.execute(
            f"SELECT {_COLUMNS} FROM evaluations WHERE status IN (21301, 21303) AND (?1 IS NULL OR app = ?1)"
            " ORDER BY row LIMIT ?2",
            (app, limit),
        )
        return [EvaluationRecord._make(row) for row in rows]
