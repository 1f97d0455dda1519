"""Deleting annotation rows with what hangs on them: labels, and vectors of every space."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from postil.store.queries_vectors import ROW_BITS
from postil.store.sql import run_in


def erase_annotations(connection: sqlite3.Connection, app: int, rows: Sequence[int]) -> None:
    """Deletes these annotation rows of the app, which the caller has checked."""
    erase_vectors(connection, app, rows)
    run_in(connection, "DELETE FROM labels WHERE annotation IN ({})", rows)
    run_in(connection, "DELETE FROM annotations WHERE row IN ({})", rows)


def erase_predictions(connection: sqlite3.Connection, rows: Sequence[int]) -> None:
    """Deletes predicted annotations with their values; rows of other annotations are passed over."""
    run_in(connection, "DELETE FROM predictions WHERE annotation IN ({})", rows)
    run_in(connection, "DELETE FROM model_annotations WHERE row IN ({})", rows)


def erase_vectors(connection: sqlite3.Connection, app: int, rows: Sequence[int]) -> None:
    """Deletes what these annotation rows of the app have in any space."""
    spaces = [space for (space,) in connection.execute("SELECT row FROM spaces WHERE app = ?", (app,))]
    for space in spaces:
        run_in(connection, "DELETE FROM vectors WHERE key IN ({})", [space << ROW_BITS | row for row in rows])
