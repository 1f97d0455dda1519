"""Writes of predictions and of the outputs that were answered."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from postil.store import seals
from postil.store.predictions import NewPrediction, OutputRecord
from postil.store.queries_predictions import PredictionRows
from postil.store.sql import distinct_ints, insert_rows, select_in


class PredictionRowWrites(PredictionRows):
    """Mixed into `SqliteTransaction`."""

    _connection: sqlite3.Connection

    def _check_reserved(self, table: str, rows: Sequence[int]) -> None:
        raise NotImplementedError

    def _check_present(self, table: str, app: int, rows: Sequence[int]) -> None:
        raise NotImplementedError

    def add_predictions(self, app: int, predictions: Sequence[NewPrediction]) -> None:
        if not predictions:
            return
        self._check_reserved("annotations", [one.row for one in predictions])
        self._check_present("inputs", app, [one.input for one in predictions])
        insert_rows(
            self._connection,
            seals.insertion("model_annotations"),
            seals.sealed(
                (p.row, app, p.input, p.anchor, p.id, p.model_version_id, p.created_us, p.created_us, p.message)
                for p in predictions
            ),
        )
        # In the order of the tree that they go into.
        values = sorted((app, concept, p.anchor, p.row, value) for p in predictions for concept, value in p.values)
        insert_rows(self._connection, seals.insertion("predictions"), seals.sealed(values))

    def keep_outputs(self, outputs: Sequence[OutputRecord]) -> None:
        wanted = distinct_ints(output.app for output in outputs)
        apps = {row for (row,) in select_in(self._connection, "SELECT row FROM apps WHERE row IN ({})", wanted)}
        rows = [tuple(output) for output in outputs if output.app in apps or not output.app]
        insert_rows(self._connection, seals.insertion("outputs", ignore=True), seals.sealed(rows))

    def forget_outputs(self, before_us: int, limit: int) -> int:
        return self._connection.execute(
            "DELETE FROM outputs WHERE row IN (SELECT row FROM outputs WHERE time_us < ? ORDER BY time_us LIMIT ?)",
            (before_us, limit),
        ).rowcount
