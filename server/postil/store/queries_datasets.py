"""Reads of datasets, their members and their versions."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from itertools import chain

import numpy as np

from postil.store.base import Missing
from postil.store.datasets import DatasetRecord, DatasetVersionRecord, Member
from postil.store.records import Rows
from postil.store.sql import distinct_ints, listed, page, select_in

DATASET = "row, id, edition, message"
_PAGE = listed(DATASET, "datasets")
_VERSIONS = listed("row, id, message", "dataset_versions")
_MEMBER = (
    "SELECT inputs.row, dataset_inputs.added_us, inputs.message FROM dataset_inputs"
    " CROSS JOIN inputs ON inputs.row = dataset_inputs.input WHERE dataset_inputs.dataset = ?"
)


class DatasetRows:
    """Mixed into `SqliteQueries`."""

    _connection: sqlite3.Connection
    room: int

    def dataset(self, app: int, dataset_id: str) -> DatasetRecord | None:
        return self.datasets(app, [dataset_id]).get(dataset_id)

    def datasets(self, app: int, ids: Sequence[str]) -> dict[str, DatasetRecord]:
        rows = select_in(
            self._connection, f"SELECT {DATASET} FROM datasets WHERE app = ? AND id IN ({{}})", ids, (app,)
        )
        return {row[1]: DatasetRecord._make(row) for row in rows}

    def list_datasets(self, app: int, offset: int, limit: int) -> list[DatasetRecord]:
        rows = self._connection.execute(
            _PAGE.format("WHERE app = ? ORDER BY row DESC LIMIT ? OFFSET ?"), (app, limit, offset)
        )
        return [DatasetRecord._make(row) for row in page(self.room, (3,), (rows,))]

    def members(self, dataset: int, offset: int, limit: int) -> list[Member]:
        rows = self._connection.execute(
            f"{_MEMBER} ORDER BY dataset_inputs.input LIMIT ? OFFSET ?", (dataset, limit, offset)
        )
        return [Member._make(row) for row in page(self.room, (2,), (rows,))]

    def members_among(self, dataset: int, inputs: Sequence[int]) -> dict[int, Member]:
        rows = select_in(self._connection, f"{_MEMBER} AND dataset_inputs.input IN ({{}})", inputs, (dataset,))
        return {row[0]: Member._make(row) for row in rows}

    def member_rows(self, dataset: int) -> Rows:
        return self._rows("SELECT input FROM dataset_inputs WHERE dataset = ? ORDER BY input", dataset)

    def member_anchors(self, dataset: int) -> Rows:
        return self._rows(
            "SELECT inputs.anchor FROM dataset_inputs CROSS JOIN inputs ON inputs.row = dataset_inputs.input"
            " WHERE dataset_inputs.dataset = ? ORDER BY inputs.anchor",
            dataset,
        )

    def inputs_of_annotations(self, rows: Sequence[int]) -> list[int]:
        found = select_in(self._connection, "SELECT input FROM annotations WHERE row IN ({})", rows)
        return distinct_ints(chain.from_iterable(found))

    def _rows(self, statement: str, key: int) -> Rows:
        found = chain.from_iterable(self._connection.execute(statement, (key,)))
        return np.fromiter(found, np.int64)

    def dataset_version(self, dataset: int, version_id: str) -> DatasetVersionRecord | None:
        row = self._connection.execute(
            "SELECT row, id, message FROM dataset_versions WHERE dataset = ? AND id = ?", (dataset, version_id)
        ).fetchone()
        return DatasetVersionRecord._make(row) if row else None

    def dataset_versions(self, dataset: int, offset: int, limit: int) -> list[DatasetVersionRecord]:
        rows = self._connection.execute(
            _VERSIONS.format("WHERE dataset = ? ORDER BY row DESC LIMIT ? OFFSET ?"), (dataset, limit, offset)
        )
        return [DatasetVersionRecord._make(row) for row in page(self.room, (2,), (rows,))]

    def version_sizes(self, version: int) -> list[int]:
        rows = self._connection.execute(
            "SELECT inputs FROM dataset_version_parts WHERE version = ? ORDER BY part", (version,)
        )
        return list(chain.from_iterable(rows))

    def version_part(self, version: int, part: int) -> bytes:
        row = self._connection.execute(
            "SELECT content FROM dataset_version_parts WHERE version = ? AND part = ?", (version, part)
        ).fetchone()
        if row is None:
            raise Missing(f"part {part} of dataset version {version}")
        return bytes(row[0])
