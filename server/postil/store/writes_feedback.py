"""Writes of feedback. Each moves the app's mark, by which readers know that there is something new to learn."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import numpy as np

from postil.store.base import Missing
from postil.store.feed import Effects
from postil.store.feedback import FeedbackRecord, NewFeedback
from postil.store.queries_feedback import EVIDENCE, FEEDBACK, FeedbackRows, rows_bytes
from postil.store.sql import run_in


class FeedbackRowWrites(FeedbackRows):
    """Mixed into `SqliteTransaction`."""

    _connection: sqlite3.Connection
    now_us: int

    def _effects(self, app: int) -> Effects:
        raise NotImplementedError

    def add_feedback(self, app: int, new: NewFeedback) -> FeedbackRecord:
        if self._connection.execute("SELECT 1 FROM apps WHERE row = ?", (app,)).fetchone() is None:
            raise Missing(f"app {app}")
        row = self._connection.execute(
            f"INSERT INTO feedback (app, {FEEDBACK}, {EVIDENCE}) VALUES ({', '.join('?' * 19)})",
            (app, *new[:10], rows_bytes(new.annotations), self.now_us, new.message, *_columns(new)),
        ).lastrowid
        self._connection.execute(
            "INSERT INTO feedback_marks (app, last, erased) VALUES (?, ?, 0)"
            " ON CONFLICT (app) DO UPDATE SET last = excluded.last",
            (app, row),
        )
        self._effects(app).noted = True
        return FeedbackRecord(row or 0, *new[:11], self.now_us, new.message)

    def delete_feedback(self, app: int, ids: Sequence[str]) -> None:
        rows = [record.row for record in self.feedback(app, ids)]
        if rows:
            run_in(self._connection, "DELETE FROM feedback WHERE row IN ({})", rows)
            self._connection.execute("UPDATE feedback_marks SET erased = erased + 1 WHERE app = ?", (app,))
            self._effects(app).noted = True


def _columns(new: NewFeedback) -> tuple[int, str, bytes, int, bytes]:
    """The evidence as columns; space 0 where there is none."""
    evidence = new.evidence
    if evidence is None:
        return 0, "", b"", 0, b""
    query = np.ascontiguousarray(evidence.query, dtype="<f4").tobytes()
    return evidence.space, evidence.key, query, evidence.chosen, rows_bytes(evidence.passed)
