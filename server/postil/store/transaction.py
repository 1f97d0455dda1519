"""The writes of one op, over the writer's connection. Created for each op on the writer thread, and used only there."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from postil.store.base import Change, InputRecord, Missing
from postil.store.counters import Counters
from postil.store.feed import Effects
from postil.store.queries import SqliteQueries
from postil.store.queries_keys import KeyRowWrites
from postil.store.sql import distinct_ints, select_in
from postil.store.writes_annotations import AnnotationWrites
from postil.store.writes_concepts import ConceptWrites
from postil.store.writes_datasets import DatasetRowWrites
from postil.store.writes_evaluations import EvaluationRowWrites
from postil.store.writes_feedback import FeedbackRowWrites
from postil.store.writes_inputs import InputWrites
from postil.store.writes_kept import KeptRowWrites
from postil.store.writes_models import ModelRowWrites
from postil.store.writes_predictions import PredictionRowWrites
from postil.store.writes_vectors import VectorWrites
from postil.store.writes_vocabulary import VocabularyRowWrites


class SqliteTransaction(
    InputWrites,
    AnnotationWrites,
    ConceptWrites,
    VectorWrites,
    VocabularyRowWrites,
    KeptRowWrites,
    KeyRowWrites,
    FeedbackRowWrites,
    PredictionRowWrites,
    ModelRowWrites,
    DatasetRowWrites,
    EvaluationRowWrites,
    SqliteQueries,
):
    """`base.Transaction`: reads see what the op has written so far."""

    def __init__(self, connection: sqlite3.Connection, counters: Counters) -> None:
        super().__init__(connection)
        self._counters = counters
        self._by_app: dict[int, Effects] = {}
        self._met: set[tuple[int, int]] = set()  # app and row of inputs that this op has read and not deleted
        self._before = {name: counters.peek(name) for name in ("inputs", "annotations")}
        self.now_us = counters.now_us()

    def finish(self) -> list[Change]:
        """What the op changed, for the feed: at most one change per app, usually one in all."""
        changes = []
        for app, effects in self._by_app.items():
            change = effects.change(self._counters.peek("changes") + 1, app)
            if effects.noted or len(change.touched) or len(change.gone) or change.put or change.spaces_gone:
                self._counters.next_change()
                changes.append(change)
        return changes

    def inputs(self, app: int, input_ids: Sequence[str]) -> dict[str, InputRecord]:
        found = super().inputs(app, input_ids)
        self._met.update((app, record.row) for record in found.values())
        return found

    def delete_inputs(self, app: int, rows: Sequence[int]) -> None:
        self._met.clear()
        super().delete_inputs(app, rows)

    def delete_app(self, row: int) -> None:
        self._met.clear()
        super().delete_app(row)

    def put_setting(self, name: str, value: str) -> None:
        self._connection.execute("INSERT OR REPLACE INTO settings (name, value) VALUES (?, ?)", (name, value))

    def forget_changes(self, up_to: int, limit: int) -> int:
        """Deletes at most `limit` of the oldest changes up to and including this sequence number; returns how many."""
        return self._connection.execute(
            "DELETE FROM changes WHERE seq <= ?1 AND seq < (SELECT min(seq) FROM changes) + ?2", (up_to, limit)
        ).rowcount

    def _effects(self, app: int) -> Effects:
        effects = self._by_app.get(app)
        if effects is None:
            effects = self._by_app[app] = Effects()
        return effects

    def _check_reserved(self, table: str, rows: Sequence[int]) -> None:
        """A number from elsewhere would clash with a row that is, was or will be."""
        if min(rows) <= self._before[table] or max(rows) > self._counters.peek(table):
            raise ValueError(f"Rows {min(rows)} to {max(rows)} of {table} were not reserved in this op.")

    def _check_present(self, table: str, app: int, rows: Sequence[int]) -> None:
        """Rows from before the op must be in the app. Those reserved in it cannot have been deleted by others."""
        before, last = self._before[table], self._counters.peek(table)
        met = self._met if table == "inputs" else ()
        old = distinct_ints(row for row in rows if not before < row <= last and (app, row) not in met)
        if not old:
            return
        found = select_in(self._connection, f"SELECT row FROM {table} WHERE +app = ? AND row IN ({{}})", old, (app,))
        absent = set(old) - {row for (row,) in found}
        if absent:
            raise Missing(f"{table} {min(absent)}")
