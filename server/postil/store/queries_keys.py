"""Reads and writes of keys."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from postil.store.base import Missing
from postil.store.keys import KeyRecord
from postil.store.sql import run_in

_KEY = "row, id, digest, user_id, app, expires_us, message"


class KeyRows:
    """Mixed into `SqliteQueries`."""

    _connection: sqlite3.Connection

    def key_by_digest(self, digest: bytes) -> KeyRecord | None:
        row = self._connection.execute(f"SELECT {_KEY} FROM keys WHERE digest = ?", (digest,)).fetchone()
        return KeyRecord._make(row) if row else None

    def key(self, user_id: str, key_id: str) -> KeyRecord | None:
        row = self._connection.execute(
            f"SELECT {_KEY} FROM keys WHERE id = ? AND user_id = ?", (key_id, user_id)
        ).fetchone()
        return KeyRecord._make(row) if row else None

    def list_keys(self, user_id: str, app: int, offset: int, limit: int) -> list[KeyRecord]:
        rows = self._connection.execute(
            f"SELECT {_KEY} FROM keys WHERE user_id = ?1 AND (?2 = 0 OR app = ?2) ORDER BY row LIMIT ?3 OFFSET ?4",
            (user_id, app, limit, offset),
        )
        return [KeyRecord._make(row) for row in rows]

    def ever_had_keys(self) -> bool:
        # SQLite remembers the last row it gave out, also when the row is gone.
        row = self._connection.execute("SELECT 1 FROM sqlite_sequence WHERE name = 'keys' AND seq > 0").fetchone()
        return row is not None


class KeyRowWrites(KeyRows):
    """Mixed into `SqliteTransaction`."""

    def add_key(self, record: KeyRecord) -> None:
        if record.app and not self._connection.execute("SELECT 1 FROM apps WHERE row = ?", (record.app,)).fetchone():
            raise Missing(f"app {record.app}")
        self._connection.execute(
            "INSERT INTO keys (id, digest, user_id, app, expires_us, message) VALUES (?, ?, ?, ?, ?, ?)", record[1:]
        )

    def update_key(self, row: int, expires_us: int, message: bytes) -> None:
        done = self._connection.execute(
            "UPDATE keys SET expires_us = ?, message = ? WHERE row = ?", (expires_us, message, row)
        )
        if not done.rowcount:
            raise Missing(f"key {row}")

    def delete_keys(self, rows: Sequence[int]) -> None:
        if rows:
            run_in(self._connection, "DELETE FROM keys WHERE row IN ({})", rows)
