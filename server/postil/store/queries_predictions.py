"""Reads of predictions and of the outputs that were answered."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from postil.store.predictions import OutputRecord, Predicted
from postil.store.records import AppRecord
from postil.store.seals import WRITTEN
from postil.store.sql import select_in

OUTPUT = WRITTEN["outputs"]


class PredictionRows:
    """Mixed into `SqliteQueries`."""

    _connection: sqlite3.Connection

    def app_by_row(self, row: int) -> AppRecord | None:
        found = self._connection.execute(
            "SELECT row, user_id, id, message FROM apps WHERE row = ? AND user_id <> ''", (row,)
        ).fetchone()
        return AppRecord._make(found) if found else None

    def predicted(self, app: int, concept: int) -> Predicted:
        rows = self._connection.execute(
            "SELECT anchor, value FROM predictions WHERE app = ? AND concept = ? ORDER BY anchor", (app, int(concept))
        ).fetchall()
        table = np.array(rows, np.float64).reshape(-1, 2)  # rows are below 2**32: exact in 53 bits
        return Predicted(table[:, 0].astype(np.int64), table[:, 1].astype(np.float32))

    def has_predictions(self, app: int) -> bool:
        found = self._connection.execute("SELECT 1 FROM predictions WHERE app = ? LIMIT 1", (app,)).fetchone()
        return found is not None

    def input_anchors(self, app: int) -> NDArray[np.int64]:
        rows = self._connection.execute("SELECT anchor FROM inputs WHERE app = ? ORDER BY row", (app,)).fetchall()
        return np.array(rows, np.int64).reshape(-1)

    def outputs(self, app: int, ids: Sequence[str]) -> dict[str, OutputRecord]:
        rows = select_in(
            self._connection, f"SELECT {OUTPUT} FROM outputs WHERE app = ? AND id IN ({{}})", ids, (int(app),)
        )
        return {row[1]: OutputRecord._make(row) for row in rows}
