"""Reads of named things and of the searches that ran."""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Sequence

from postil.store.kept import KeptHit, KeptSearch, NamedRecord
from postil.store.seals import WRITTEN
from postil.store.sql import listed, page, select_in

NAMED = "row, kind, id, detail, message"
_PAGE = listed(NAMED, "named")
SEARCH = WRITTEN["searches_run"]
HIT = struct.Struct("<IIf")  # annotation, input, score


class KeptRows:
    """Mixed into `SqliteQueries`."""

    _connection: sqlite3.Connection
    room: int

    def named(self, app: int, kind: str, thing_id: str) -> NamedRecord | None:
        return self.named_many(app, kind, [thing_id]).get(thing_id)

    def named_many(self, app: int, kind: str, ids: Sequence[str]) -> dict[str, NamedRecord]:
        rows = select_in(
            self._connection, f"SELECT {NAMED} FROM named WHERE app = ? AND kind = ? AND id IN ({{}})", ids, (app, kind)
        )
        return {row[2]: NamedRecord._make(row) for row in rows}

    def list_named(self, app: int, kind: str, offset: int, limit: int) -> list[NamedRecord]:
        rows = self._connection.execute(
            _PAGE.format("WHERE app = ? AND kind = ? ORDER BY row LIMIT ? OFFSET ?"), (app, kind, limit, offset)
        )
        return [NamedRecord._make(row) for row in page(self.room, (4,), (rows,))]

    def kept_search(self, app: int, search_id: str) -> KeptSearch | None:
        row = self._connection.execute(
            f"SELECT {SEARCH} FROM searches_run WHERE app = ? AND id = ?", (app, search_id)
        ).fetchone()
        if row is None:
            return None
        return KeptSearch._make((*row[:-1], tuple(KeptHit._make(hit) for hit in HIT.iter_unpack(row[-1]))))

    def count_kept_searches(self, app: int) -> int:
        row = self._connection.execute("SELECT count(*) FROM searches_run WHERE app = ?", (app,)).fetchone()
        return int(row[0])
