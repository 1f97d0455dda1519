"""Reads of feedback."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from postil.store.feedback import Evidence, EvidenceRecord, FeedbackListing, FeedbackMark, FeedbackRecord
from postil.store.sql import listed, page, select_in

FEEDBACK = (
    "id, event, subject, model_id, model_version_id, input_id, end_user, session, matched, position, annotations,"
    " time_us, message"
)
_PAGE = listed(f"row, {FEEDBACK}", "feedback")
EVIDENCE = "space, key, query, chosen, passed"
_NO_MARK = FeedbackMark(0, 0)


class FeedbackRows:
    """Mixed into `SqliteQueries`."""

    _connection: sqlite3.Connection
    room: int

    def feedback_mark(self, app: int) -> FeedbackMark:
        row = self._connection.execute("SELECT last, erased FROM feedback_marks WHERE app = ?", (app,)).fetchone()
        return FeedbackMark._make(row) if row else _NO_MARK

    def list_feedback(self, app: int, listing: FeedbackListing, offset: int, limit: int) -> list[FeedbackRecord]:
        conditions, values = _conditions(listing)
        rows = self._connection.execute(
            _PAGE.format(f"WHERE app = ?{conditions} ORDER BY row LIMIT ? OFFSET ?"), (app, *values, limit, offset)
        )
        return [_record(row) for row in page(self.room, (13,), (rows,))]

    def feedback(self, app: int, ids: Sequence[str]) -> list[FeedbackRecord]:
        rows = select_in(
            self._connection, f"SELECT row, {FEEDBACK} FROM feedback WHERE app = ? AND id IN ({{}})", ids, (app,)
        )
        return sorted(map(_record, rows))

    def evidence(self, app: int, end_user: str, after_row: int, limit: int) -> list[EvidenceRecord]:
        who, values = (" AND end_user = ?", (end_user,)) if end_user else ("", ())
        rows = self._connection.execute(
            f"SELECT row, end_user, position, time_us, subject, {EVIDENCE} FROM feedback"
            f" WHERE app = ? AND space <> 0{who} AND row > ? ORDER BY row LIMIT ?",
            (app, *values, after_row, limit),
        )
        return [EvidenceRecord._make((*row[:4], _evidence(*row[4:]))) for row in rows]

    def clicks(self, app: int, start_us: int, end_us: int) -> list[tuple[str, str, int]]:
        return self._connection.execute(
            "SELECT subject, end_user, position FROM feedback"
            " WHERE app = ? AND event = 1 AND time_us BETWEEN ? AND ? ORDER BY row",
            (app, start_us, end_us),
        ).fetchall()

    def searches_by_end_user(self, app: int, start_us: int, end_us: int) -> dict[str, int]:
        return dict(
            self._connection.execute(
                "SELECT end_user, count(*) FROM searches_run WHERE app = ? AND time_us BETWEEN ? AND ?"
                " GROUP BY end_user",
                (app, start_us, end_us),
            ).fetchall()
        )


def rows_bytes(rows: Iterable[int]) -> bytes:
    """Rows as they are stored: little-endian, 4 bytes each."""
    return np.array(list(rows), dtype="<u4").tobytes()


def _rows(stored: bytes) -> tuple[int, ...]:
    return tuple(np.frombuffer(stored, dtype="<u4").tolist())


def _conditions(listing: FeedbackListing) -> tuple[str, list[Any]]:
    """SQL to go on after `WHERE app = ?`, and its parameters."""
    columns = ("event", "subject", "model_id", "input_id", "end_user", "session")
    given: list[tuple[str, Any]] = [
        (f"{name} = ?", value) for name in columns if (value := getattr(listing, name)) not in ("", 0)
    ]
    if listing.matched is not None:
        given.append(("matched = ?", int(listing.matched)))
    given += [("time_us >= ?", listing.start_us), ("time_us <= ?", listing.end_us)]
    return "".join(f" AND {text}" for text, _ in given), [value for _, value in given]


def _record(row: tuple[Any, ...]) -> FeedbackRecord:
    return FeedbackRecord._make((*row[:9], row[9] == 1, row[10], _rows(row[11]), *row[12:]))


def _evidence(search: str, space: int, key: str, query: bytes, chosen: int, passed: bytes) -> Evidence:
    return Evidence(search, space, key, np.frombuffer(query, dtype="<f4"), chosen, _rows(passed))
