"""Writes of named things and of the searches that ran."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from postil.store import seals
from postil.store.base import Duplicate, Missing
from postil.store.kept import KeptSearch, NamedRecord
from postil.store.queries_kept import HIT, KeptRows
from postil.store.sql import distinct_ints, insert_rows, run_in, select_in


class KeptRowWrites(KeptRows):
    """Mixed into `SqliteTransaction`."""

    _connection: sqlite3.Connection

    def add_named(self, app: int, kind: str, thing_id: str, detail: str, message: bytes) -> NamedRecord:
        if self._connection.execute("SELECT 1 FROM apps WHERE row = ?", (app,)).fetchone() is None:
            raise Missing(f"app {app}")
        try:
            row = self._connection.execute(
                "INSERT INTO named (app, kind, id, detail, message) VALUES (?, ?, ?, ?, ?)",
                (app, kind, thing_id, detail, message),
            ).lastrowid
        except sqlite3.IntegrityError as error:
            raise Duplicate(thing_id) from error
        return NamedRecord(row or 0, kind, thing_id, detail, message)

    def update_named(self, row: int, message: bytes) -> None:
        if not self._connection.execute("UPDATE named SET message = ? WHERE row = ?", (message, row)).rowcount:
            raise Missing(f"named {row}")

    def delete_named(self, app: int, kind: str, ids: Sequence[str]) -> list[str]:
        found = self.named_many(app, kind, ids)
        run_in(self._connection, "DELETE FROM named WHERE row IN ({})", [record.row for record in found.values()])
        return list(found)

    def keep_searches(self, searches: Sequence[KeptSearch]) -> None:
        wanted = distinct_ints(search.app for search in searches)
        apps = {row for (row,) in select_in(self._connection, "SELECT row FROM apps WHERE row IN ({})", wanted)}
        insert_rows(
            self._connection,
            seals.insertion("searches_run", ignore=True),
            seals.sealed(
                (*search[:-1], b"".join([HIT.pack(*hit) for hit in search.hits]))
                for search in searches
                if search.app in apps
            ),
        )

    def forget_searches(self, before_us: int, limit: int) -> int:
        return self._connection.execute(
            "DELETE FROM searches_run WHERE row IN"
            " (SELECT row FROM searches_run WHERE time_us < ? ORDER BY time_us LIMIT ?)",
            (before_us, limit),
        ).rowcount
