"""Writes of datasets, their members and their versions."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from itertools import chain

from postil.store import seals
from postil.store.base import Duplicate, Missing
from postil.store.datasets import DatasetRecord, DatasetVersionRecord, Part
from postil.store.queries_datasets import DatasetRows
from postil.store.sql import insert_rows, run_in, select_in


class DatasetRowWrites(DatasetRows):
    """Mixed into `SqliteTransaction`."""

    _connection: sqlite3.Connection
    now_us: int

    def add_dataset(self, app: int, dataset_id: str, message: bytes) -> DatasetRecord:
        if self._connection.execute("SELECT 1 FROM apps WHERE row = ?", (app,)).fetchone() is None:
            raise Missing(f"app {app}")
        try:
            row = self._connection.execute(
                "INSERT INTO datasets (app, id, edition, message) VALUES (?, ?, 0, ?)", (app, dataset_id, message)
            ).lastrowid
        except sqlite3.IntegrityError as error:
            raise Duplicate(dataset_id) from error
        return DatasetRecord(row or 0, dataset_id, 0, message)

    def update_dataset(self, row: int, message: bytes) -> None:
        if not self._connection.execute("UPDATE datasets SET message = ? WHERE row = ?", (message, row)).rowcount:
            raise Missing(f"dataset {row}")

    def delete_datasets(self, app: int, ids: Sequence[str]) -> None:
        for record in self.datasets(app, ids).values():
            for statement in ERASE_DATASETS:
                self._connection.execute(statement.format("= ?"), (record.row,))

    def add_members(self, dataset: int, inputs: Sequence[int]) -> int:
        app = self._app_of(dataset)
        mine = select_in(self._connection, "SELECT row FROM inputs WHERE +app = ? AND row IN ({})", inputs, (app,))
        before = self._connection.total_changes
        insert_rows(
            self._connection,
            seals.insertion("dataset_inputs", ignore=True),
            seals.sealed((dataset, row, self.now_us) for row in sorted({row for (row,) in mine})),
        )
        return self._edited(dataset, before)

    def remove_members(self, dataset: int, inputs: Sequence[int]) -> None:
        before = self._connection.total_changes
        run_in(self._connection, "DELETE FROM dataset_inputs WHERE dataset = ? AND input IN ({})", inputs, (dataset,))
        self._edited(dataset, before)

    def _edited(self, dataset: int, before: int) -> int:
        """How many rows changed since then; if any, the dataset is in a new edition."""
        changed = self._connection.total_changes - before
        if changed:
            self._connection.execute("UPDATE datasets SET edition = edition + 1 WHERE row = ?", (dataset,))
        return changed

    def _app_of(self, dataset: int) -> int:
        row = self._connection.execute("SELECT app FROM datasets WHERE row = ?", (dataset,)).fetchone()
        if row is None:
            raise Missing(f"dataset {dataset}")
        return int(row[0])

    def add_dataset_version(
        self, dataset: int, version_id: str, message: bytes, parts: Iterable[Part]
    ) -> DatasetVersionRecord:
        self._app_of(dataset)
        try:
            row = self._connection.execute(
                "INSERT INTO dataset_versions (dataset, id, message) VALUES (?, ?, ?)", (dataset, version_id, message)
            ).lastrowid
        except sqlite3.IntegrityError as error:
            raise Duplicate(version_id) from error
        for number, part in enumerate(parts):
            self._connection.execute(
                "INSERT INTO dataset_version_parts (version, part, inputs, content) VALUES (?, ?, ?, ?)",
                (row, number, part.inputs, part.content),
            )
            kept = [(digest, row) for digest in sorted(part.blobs)]
            insert_rows(self._connection, "INSERT OR IGNORE INTO version_blobs (digest, version)", kept)
        return DatasetVersionRecord(row or 0, version_id, message)

    def delete_dataset_versions(self, dataset: int, ids: Sequence[str]) -> None:
        found = select_in(
            self._connection, "SELECT row FROM dataset_versions WHERE dataset = ? AND id IN ({})", ids, (dataset,)
        )
        rows = sorted(set(chain.from_iterable(found)))
        run_in(self._connection, "DELETE FROM dataset_version_parts WHERE version IN ({})", rows)
        run_in(self._connection, "DELETE FROM version_blobs WHERE version IN ({})", rows)
        run_in(self._connection, "DELETE FROM dataset_versions WHERE row IN ({})", rows)


# Everything of some datasets; `{}` says which, as "= ?" or "IN (SELECT …)".
ERASE_DATASETS = (
    "DELETE FROM dataset_version_parts WHERE version IN (SELECT row FROM dataset_versions WHERE dataset {})",
    "DELETE FROM version_blobs WHERE version IN (SELECT row FROM dataset_versions WHERE dataset {})",
    "DELETE FROM dataset_versions WHERE dataset {}",
    "DELETE FROM dataset_inputs WHERE dataset {}",
    "DELETE FROM datasets WHERE row {}",
)
