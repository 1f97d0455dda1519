"""Reads of apps, inputs, jobs and blob references."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

from postil.store.base import AppRecord, InputRecord, JobRecord
from postil.store.sql import as_json, cursors_in, distinct_ints, listed, page, select_in

INPUT = "row, id, status, anchor, message, created_us, modified_us"
_MESSAGE = (4,)
_PAGE = listed(INPUT, "inputs")
_APP = "row, user_id, id, message"
_JOB = "id, pending, in_progress, success, failed, cancelled, created_us, modified_us"
# Each app and each of its two states of waiting are looked up in the index on (app, status, created_us).
_WAITING_WHERE = (
    " AND user_id <> '' AND (EXISTS (SELECT 1 FROM inputs WHERE app = apps.row AND status = 30001)"
    " OR EXISTS (SELECT 1 FROM inputs WHERE app = apps.row AND status = 30003)) ORDER BY row LIMIT ?2"
)
_WAITING = "SELECT row FROM apps WHERE row > ?1" + _WAITING_WHERE
_WAITING_UP_TO = "SELECT row FROM apps WHERE row <= ?1" + _WAITING_WHERE
_OLDEST = (
    "SELECT created_us, row FROM inputs WHERE app = ?1 AND status = 30001"
    " UNION ALL SELECT created_us, row FROM inputs WHERE app = ?1 AND status = 30003 ORDER BY 1, 2 LIMIT ?2"
)


class InputQueries:
    """Mixed into `SqliteQueries`."""

    _connection: sqlite3.Connection
    room: int

    def app(self, user_id: str, app_id: str) -> AppRecord | None:
        row = self._connection.execute(
            f"SELECT {_APP} FROM apps WHERE user_id = ? AND id = ?", (user_id, app_id)
        ).fetchone()
        return AppRecord._make(row) if row else None

    def apps(self, user_id: str, offset: int, limit: int) -> list[AppRecord]:
        rows = self._connection.execute(
            f"SELECT {_APP} FROM apps WHERE user_id = ? ORDER BY row LIMIT ? OFFSET ?", (user_id, limit, offset)
        )
        return [AppRecord._make(row) for row in page(self.room, (3,), (rows,))]

    def erasing_apps(self) -> list[int]:
        # Nobody's name is empty: a deleted app is found by none of the reads above.
        return [row for (row,) in self._connection.execute("SELECT row FROM apps WHERE user_id = '' ORDER BY row")]

    def input(self, app: int, input_id: str) -> InputRecord | None:
        row = self._connection.execute(
            f"SELECT {INPUT} FROM inputs WHERE app = ? AND id = ?", (app, input_id)
        ).fetchone()
        return InputRecord._make(row) if row else None

    def inputs(self, app: int, input_ids: Sequence[str]) -> dict[str, InputRecord]:
        rows = select_in(
            self._connection, f"SELECT {INPUT} FROM inputs WHERE app = ? AND id IN ({{}})", input_ids, (app,)
        )
        return {row[1]: InputRecord._make(row) for row in rows}

    def inputs_by_row(self, rows: Sequence[int]) -> dict[int, InputRecord]:
        template = f"SELECT {INPUT} FROM inputs WHERE row IN ({{}})"
        found = page(self.room, _MESSAGE, cursors_in(self._connection, template, distinct_ints(rows)))
        return {row[0]: InputRecord._make(row) for row in found}

    def anchors_by_url(self, app: int, url: str) -> list[int]:
        rows = self._connection.execute(
            "SELECT anchor FROM inputs WHERE app = ? AND url = ? AND url <> '' ORDER BY row", (app, url)
        )
        return [anchor for (anchor,) in rows]

    def inputs_by_url(self, app: int, urls: Sequence[str]) -> dict[str, str]:
        wanted = [url for url in dict.fromkeys(urls) if url]
        rows = select_in(
            self._connection,
            "SELECT url, id, row FROM inputs WHERE app = ? AND url <> '' AND url IN ({})",
            wanted,
            (app,),
        )
        rows.sort(key=lambda row: row[2], reverse=True)  # so that the first posted is the last written
        return {row[0]: row[1] for row in rows}

    def list_inputs(
        self, app: int, ids: Sequence[str], statuses: Sequence[int], offset: int, limit: int
    ) -> list[InputRecord]:
        where, order = "app = ?", "created_us"
        bound: list[Any] = [app]
        if ids:
            where += " AND id IN (SELECT value FROM json_each(?))"
            order = "+created_us"  # look the ids up, rather than walk the app in order
            bound.append(as_json(ids))
        if len(statuses) == 1 and not ids:  # the index on status then gives the order as well
            where += " AND status = ?"
            bound.append(int(statuses[0]))
        elif statuses:
            where += " AND +status IN (SELECT value FROM json_each(?))"
            bound.append(as_json(map(int, statuses)))
        rows = self._connection.execute(
            _PAGE.format(f"WHERE {where} ORDER BY {order} DESC, id LIMIT ? OFFSET ?"), (*bound, limit, offset)
        )
        return [InputRecord._make(row) for row in page(self.room, _MESSAGE, (rows,))]

    def stream_inputs(self, app: int, last_id: str, *, by_id: bool, descending: bool, limit: int) -> list[InputRecord]:
        columns = ("id",) if by_id else ("created_us", "id")
        beyond, direction = ("<", "DESC") if descending else (">", "ASC")
        key = ", ".join(columns)
        where, bound = "app = ?", [app, limit]
        params: tuple[Any, ...] = tuple(bound)
        if last_id:
            # An unknown last_id makes the subquery NULL, and so the comparison, and the answer is empty.
            where += f" AND ({key}) {beyond} (SELECT {key} FROM inputs WHERE app = ? AND id = ?)"
            params = (app, app, last_id, limit)
        order = ", ".join(f"{column} {direction}" for column in columns)
        rows = self._connection.execute(_PAGE.format(f"WHERE {where} ORDER BY {order} LIMIT ?"), params)
        return [InputRecord._make(row) for row in page(self.room, _MESSAGE, (rows,))]

    def count_inputs(self, app: int) -> dict[int, int]:
        return dict(
            self._connection.execute("SELECT status, count(*) FROM inputs WHERE app = ? GROUP BY status", (app,))
        )

    def pending_inputs(self, after_app: int, apps: int, limit: int) -> dict[int, list[int]]:
        waiting = self._connection.execute(_WAITING, (after_app, apps)).fetchall()
        if len(waiting) < apps:
            waiting += self._connection.execute(_WAITING_UP_TO, (after_app, apps - len(waiting))).fetchall()
        return {app: [row for _, row in self._connection.execute(_OLDEST, (app, limit))] for (app,) in waiting}

    def hosted_inputs(self, after_row: int, limit: int) -> list[InputRecord]:
        rows = self._connection.execute(
            f"SELECT {INPUT} FROM inputs WHERE row IN"
            " (SELECT DISTINCT input FROM blob_refs WHERE input > ? ORDER BY input LIMIT ?) ORDER BY row",
            (int(after_row), limit),
        )
        return [InputRecord._make(row) for row in rows]

    def pending_of_job(self, app: int, job_id: str) -> list[InputRecord]:
        """Oldest first."""
        rows = self._connection.execute(
            f"SELECT {INPUT} FROM inputs WHERE status IN (30001, 30003) AND +app = ? AND job = ?"
            " ORDER BY created_us, row",
            (app, job_id),
        )
        return [InputRecord._make(row) for row in rows]

    def jobs(self, app: int, offset: int, limit: int) -> list[JobRecord]:
        """In order of creation."""
        rows = self._connection.execute(
            f"SELECT {_JOB} FROM jobs WHERE app = ? ORDER BY created_us, id LIMIT ? OFFSET ?", (app, limit, offset)
        )
        return [_job(row) for row in rows]

    def job(self, app: int, job_id: str) -> JobRecord | None:
        row = self._connection.execute(f"SELECT {_JOB} FROM jobs WHERE app = ? AND id = ?", (app, job_id)).fetchone()
        return _job(row) if row else None

    def blob_used(self, digest: str, app: int | None = None) -> bool:
        if app is None:
            return not self.loose_blobs([digest])
        row = self._connection.execute(
            "SELECT 1 FROM blob_refs r JOIN inputs i ON i.row = r.input WHERE r.digest = ? AND +i.app = ? LIMIT 1",
            (digest, app),
        ).fetchone()
        return row is not None

    def loose_blobs(self, digests: Iterable[str]) -> list[str]:
        left = sorted(set(digests))
        for table in ("blob_refs", "version_blobs"):
            if left:
                found = select_in(self._connection, f"SELECT DISTINCT digest FROM {table} WHERE digest IN ({{}})", left)
                kept = {digest for (digest,) in found}
                left = [digest for digest in left if digest not in kept]
        return left


def _job(row: tuple[Any, ...]) -> JobRecord:
    return JobRecord._make(row)._replace(cancelled=row[5] == 1)
