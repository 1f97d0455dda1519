"""Writes of apps, inputs, their jobs and blob references."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterable, Sequence
from itertools import chain

from postil.store.base import AppRecord, Duplicate, InputFact, Missing, NewInput
from postil.store.counters import Counters
from postil.store.erase import erase_annotations, erase_predictions
from postil.store.feed import Effects
from postil.store.queries_inputs import InputQueries
from postil.store.sql import as_json, distinct_ints, insert_rows, run_in, select_in
from postil.store.writes_datasets import ERASE_DATASETS

_JOB_COLUMN = {30000: "success", 30001: "pending", 30003: "in_progress"}  # StatusCode.INPUT_*; all others failed
_WAITING = ("pending", "in_progress")
_ERASED = 250  # rows of an app that one op erases, inputs counting with all that hangs on them
# What an app may have very many of, after its inputs are gone: so many at a time.
_ERASE_MANY = (
    *(
        f"DELETE FROM {table} WHERE row IN (SELECT row FROM {table} WHERE app = ? LIMIT ?)"
        for table in ("outputs", "searches_run", "feedback", "relations", "named")
    ),
    (
        "DELETE FROM version_blobs WHERE (digest, version) IN (SELECT b.digest, b.version FROM datasets d"
        " JOIN dataset_versions v ON v.dataset = d.row JOIN version_blobs b ON b.version = v.row"
        " WHERE d.app = ? LIMIT ?)"
    ),
    (
        "DELETE FROM dataset_version_parts WHERE row IN (SELECT p.row FROM datasets d"
        " JOIN dataset_versions v ON v.dataset = d.row JOIN dataset_version_parts p ON p.version = v.row"
        " WHERE d.app = ? LIMIT ?)"
    ),
)
_ERASE_REST = (
    *(statement.format("IN (SELECT row FROM datasets WHERE app = ?)") for statement in ERASE_DATASETS),
    "DELETE FROM jobs WHERE app = ?",
    "DELETE FROM keys WHERE app = ?",
    "DELETE FROM renames WHERE app = ?",
    "DELETE FROM concept_names WHERE concept IN (SELECT row FROM concepts WHERE app = ?)",
    "DELETE FROM feedback_marks WHERE app = ?",
    "DELETE FROM model_heads WHERE version IN (SELECT row FROM model_versions WHERE app = ?)",
    "DELETE FROM model_examples WHERE version IN (SELECT row FROM model_versions WHERE app = ?)",
    "DELETE FROM evaluations WHERE app = ?",
    "DELETE FROM model_concepts WHERE app = ?",
    "DELETE FROM model_versions WHERE app = ?",
    "DELETE FROM models WHERE app = ?",
    "DELETE FROM concepts WHERE app = ?",
    "DELETE FROM spaces WHERE app = ?",
    "DELETE FROM apps WHERE row = ?",
)


class InputWrites(InputQueries):
    """Mixed into `SqliteTransaction`."""

    _connection: sqlite3.Connection
    _counters: Counters
    now_us: int

    def _effects(self, app: int) -> Effects:
        raise NotImplementedError

    def _check_reserved(self, table: str, rows: Sequence[int]) -> None:
        raise NotImplementedError

    def put_app(self, user_id: str, app_id: str, message: bytes) -> AppRecord:
        if self.app(user_id, app_id) is not None:
            raise Duplicate(app_id)
        row = self._counters.reserve("apps", 1)[0]
        self._connection.execute(
            "INSERT INTO apps (row, user_id, id, message) VALUES (?, ?, ?, ?)", (row, user_id, app_id, message)
        )
        return AppRecord(row, user_id, app_id, message)

    def update_app(self, row: int, message: bytes) -> None:
        if not self._connection.execute("UPDATE apps SET message = ? WHERE row = ?", (message, row)).rowcount:
            raise Missing(f"app {row}")

    def delete_app(self, row: int) -> None:
        found = self._connection.execute("UPDATE apps SET user_id = '', id = ?1 WHERE row = ?1 RETURNING row", (row,))
        if found.fetchone() is not None:
            self._connection.execute("DELETE FROM keys WHERE app = ?", (row,))
            self.erase_app(row)

    def erase_app(self, row: int) -> bool:
        room = _ERASED
        inputs = self._connection.execute("SELECT row FROM inputs WHERE app = ? LIMIT ?", (row, room)).fetchall()
        self.delete_inputs(row, list(chain.from_iterable(inputs)))
        room -= len(inputs)
        for statement in _ERASE_MANY:
            if room <= 0:
                return True
            room -= self._connection.execute(statement, (row, room)).rowcount
        if room <= 0:
            return True
        spaces = self._connection.execute("SELECT row FROM spaces WHERE app = ?", (row,)).fetchall()
        self._effects(row).spaces_gone += chain.from_iterable(spaces)
        for statement in _ERASE_REST:
            self._connection.execute(statement, (row,))
        return False

    def reserve_inputs(self, n: int) -> range:
        return self._counters.reserve("inputs", n)

    def add_inputs(self, app: int, inputs: Sequence[NewInput]) -> None:
        if not inputs:
            return
        self._check_reserved("inputs", [new.row for new in inputs])
        if self._connection.execute("SELECT 1 FROM apps WHERE row = ? AND user_id <> ''", (app,)).fetchone() is None:
            raise Missing(f"app {app}")
        self._check_new_ids(app, [new.id for new in inputs])
        insert_rows(
            self._connection,
            "INSERT INTO inputs (row, app, id, status, anchor, created_us, modified_us, url, job, message, crc)",
            [
                (i.row, app, i.id, i.status, i.anchor, i.created_us, i.created_us, i.url, i.job, i.message, crc)
                for i, crc in ((new, zlib.crc32(new.message)) for new in inputs)
            ],
        )
        self._keep_blobs((digest, new.row) for new in inputs for digest in new.blobs)
        facts = self._effects(app).inputs
        facts.update((new.row, InputFact(new.row, new.anchor, new.status, new.message)) for new in inputs)

    def _check_new_ids(self, app: int, ids: list[str]) -> None:
        taken = {
            row[0]
            for row in self._connection.execute(
                "SELECT id FROM inputs WHERE app = ? AND id IN (SELECT value FROM json_each(?))", (app, as_json(ids))
            )
        }
        for input_id in ids:
            if input_id in taken:
                raise Duplicate(input_id)
            taken.add(input_id)

    def _keep_blobs(self, references: Iterable[tuple[str, int]]) -> None:
        insert_rows(self._connection, "INSERT OR IGNORE INTO blob_refs (digest, input)", list(references))

    def update_input(self, row: int, message: bytes, *, status: int | None = None, blobs: Iterable[str] = ()) -> None:
        app, job, old, new = self._rewrite_input(row, message, status, self.now_us)
        self._keep_blobs((digest, row) for digest in blobs)
        if job and new != old:
            self._move_in_job(app, job, old, new)

    def replace_input(self, row: int, message: bytes) -> None:
        self._rewrite_input(row, message, None, None)

    def _rewrite_input(
        self, row: int, message: bytes, status: int | None, modified_us: int | None
    ) -> tuple[int, str, int, int]:
        """Its app and job, its status before and now; what is None stays."""
        found = self._connection.execute(
            "SELECT app, anchor, job, status, modified_us FROM inputs WHERE row = ?", (row,)
        ).fetchone()
        if found is None:
            raise Missing(f"input {row}")
        app, anchor, job, old, modified_before = found
        new = old if status is None else int(status)
        self._connection.execute(
            "UPDATE inputs SET message = ?, crc = ?, status = ?, modified_us = ? WHERE row = ?",
            (message, zlib.crc32(message), new, modified_before if modified_us is None else modified_us, row),
        )
        effects = self._effects(app)
        effects.touched.append(anchor)
        effects.inputs[row] = InputFact(row, anchor, new, message)
        return app, job, old, new

    def _move_in_job(self, app: int, job: str, old: int, new: int) -> None:
        for status, step in ((old, -1), (new, 1)):
            self._add_to_job(app, job, _JOB_COLUMN.get(status, "failed"), step)

    def _add_to_job(self, app: int, job: str, column: str, step: int) -> None:
        self._connection.execute(
            f"UPDATE jobs SET {column} = max(0, {column} + ?), modified_us = ? WHERE app = ? AND id = ?",
            (step, self.now_us, app, job),
        )

    def add_blobs(self, input_row: int, digests: Iterable[str]) -> None:
        if self._connection.execute("SELECT 1 FROM inputs WHERE row = ?", (input_row,)).fetchone() is None:
            raise Missing(f"input {input_row}")
        self._keep_blobs((digest, input_row) for digest in digests)

    def delete_inputs(self, app: int, rows: Sequence[int]) -> None:
        found = select_in(
            self._connection,
            "SELECT row, status, job FROM inputs WHERE +app = ? AND row IN ({})",
            distinct_ints(rows),
            (app,),
        )
        if not found:
            return
        mine = sorted({row[0] for row in found})
        for _, status, job in dict.fromkeys(found):
            if job and _JOB_COLUMN.get(status) in _WAITING:  # nobody will finish it
                self._add_to_job(app, job, _JOB_COLUMN[status], -1)
        annotations = select_in(self._connection, "SELECT row FROM annotations WHERE input IN ({})", mine)
        gone = sorted(set(chain.from_iterable(annotations)))
        erase_annotations(self._connection, app, gone)
        self._effects(app).delete(gone)
        predicted = select_in(self._connection, "SELECT row FROM model_annotations WHERE input IN ({})", mine)
        erase_predictions(self._connection, distinct_ints(chain.from_iterable(predicted)))
        run_in(self._connection, "DELETE FROM blob_refs WHERE input IN ({})", mine)
        run_in(self._connection, "DELETE FROM dataset_inputs WHERE input IN ({})", mine)
        run_in(self._connection, "DELETE FROM inputs WHERE row IN ({})", mine)

    def put_job(self, app: int, job_id: str) -> None:
        self._connection.execute(
            "INSERT OR IGNORE INTO jobs (app, id, pending, in_progress, success, failed, cancelled, created_us,"
            " modified_us) VALUES (?, ?, 0, 0, 0, 0, 0, ?, ?)",
            (app, job_id, self.now_us, self.now_us),
        )

    def count_job(self, app: int, job_id: str, *, pending: int = 0, success: int = 0, failed: int = 0) -> None:
        for column, step in (("pending", pending), ("success", success), ("failed", failed)):
            if step:
                self._add_to_job(app, job_id, column, step)

    def cancel_job(self, app: int, job_id: str) -> None:
        self._connection.execute(
            "UPDATE jobs SET cancelled = 1, modified_us = ? WHERE app = ? AND id = ?", (self.now_us, app, job_id)
        )
