"""Reads of models, their versions, and what those learned from and to."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from postil.store.base import Corrupt
from postil.store.models import Examples, LabelColumns, ModelRecord, StoredHeads, VersionRecord
from postil.store.sql import page

MODEL = "row, app, id, message"
VERSION = "row, app, model, id, status, message"
UNKNOWN = -1  # an unknown label, as a byte


class ModelRows:
    """Mixed into `SqliteQueries`."""

    _connection: sqlite3.Connection
    room: int

    def model(self, app: int, model_id: str) -> ModelRecord | None:
        row = self._connection.execute(
            f"SELECT {MODEL} FROM models WHERE app = ? AND id = ?", (int(app), model_id)
        ).fetchone()
        return ModelRecord._make(row) if row else None

    def model_by_row(self, row: int) -> ModelRecord | None:
        found = self._connection.execute(f"SELECT {MODEL} FROM models WHERE row = ?", (row,)).fetchone()
        return ModelRecord._make(found) if found else None

    def models(self, app: int) -> list[ModelRecord]:
        rows = self._connection.execute(f"SELECT {MODEL} FROM models WHERE app = ? ORDER BY row", (app,))
        return [ModelRecord._make(row) for row in page(self.room, (3,), (rows,))]

    def version(self, app: int, version_id: str) -> VersionRecord | None:
        row = self._connection.execute(
            f"SELECT {VERSION} FROM model_versions WHERE app = ? AND id = ?", (app, version_id)
        ).fetchone()
        return VersionRecord._make(row) if row else None

    def version_by_row(self, row: int) -> VersionRecord | None:
        found = self._connection.execute(f"SELECT {VERSION} FROM model_versions WHERE row = ?", (row,)).fetchone()
        return VersionRecord._make(found) if found else None

    def versions(self, model: int) -> list[VersionRecord]:
        rows = self._connection.execute(
            f"SELECT {VERSION} FROM model_versions WHERE model = ? ORDER BY row DESC", (model,)
        )
        return [VersionRecord._make(row) for row in page(self.room, (5,), (rows,))]

    def waiting_versions(self, app: int | None, limit: int) -> list[VersionRecord]:
        rows = self._connection.execute(
            f"SELECT {VERSION} FROM model_versions WHERE status IN (21101, 21103) AND (?1 IS NULL OR app = ?1)"
            " ORDER BY row LIMIT ?2",
            (app, limit),
        )
        return [VersionRecord._make(row) for row in rows]

    def heads(self, version: int) -> StoredHeads | None:
        row = self._connection.execute(
            "SELECT space, concepts, dim, exclusive, crc, data FROM model_heads WHERE version = ?", (version,)
        ).fetchone()
        if row is None:
            return None
        space, concepts, dim, exclusive, crc, data = row
        if zlib.crc32(data) != crc or len(data) != 4 * concepts * (dim + 1):
            raise Corrupt(f"The heads of model version {version} fail their checksum.")
        numbers = np.frombuffer(data, "<f4").copy()
        return StoredHeads(
            space, numbers[: concepts * dim].reshape(concepts, dim), numbers[concepts * dim :], bool(exclusive)
        )

    def head_of(self, app: int, concept_id: str, version: int | None = None) -> tuple[int, int] | None:
        row: tuple[int, int] | None = self._connection.execute(
            "SELECT version, place FROM model_concepts WHERE app = ?1 AND concept = ?2 AND (?3 IS NULL OR version = ?3)"
            " ORDER BY version DESC LIMIT 1",
            (app, concept_id, version),
        ).fetchone()
        return row

    def examples(self, version: int) -> Examples | None:
        row = self._connection.execute(
            "SELECT space, sequence, seed, count, concepts, crc, data FROM model_examples WHERE version = ?", (version,)
        ).fetchone()
        if row is None:
            return None
        space, sequence, seed, count, concepts, crc, data = row
        if zlib.crc32(data) != crc:
            raise Corrupt(f"What model version {version} was trained on fails its checksum.")
        raw = zlib.decompress(data)
        anchors = np.frombuffer(raw, "<u4", count).astype(np.int64)
        signs = np.frombuffer(raw, "i1", count * concepts, 4 * count).reshape(count, concepts)
        labels = np.where(signs == UNKNOWN, np.float32(np.nan), signs.astype(np.float32))
        annotations = np.frombuffer(raw, "<u4", -1, 4 * count + count * concepts).astype(np.int64)
        return Examples(space, sequence, seed, anchors, labels, annotations)

    def training_labels(self, app: int, statuses: Sequence[int]) -> LabelColumns:
        marks = ", ".join("?" * len(statuses))
        rows = self._connection.execute(
            "SELECT a.row, a.anchor, a.input, l.concept, l.value FROM annotations a"
            " JOIN labels l ON l.annotation = a.row JOIN inputs i ON i.row = a.input"
            f" WHERE a.app = ? AND a.blank = 0 AND a.trusted = 1 AND a.status IN ({marks}) AND i.status = 30000",
            (app, *statuses),
        ).fetchall()
        table = np.array(rows, np.float64).reshape(-1, 5)  # rows are below 2**32: exact in 53 bits
        table = table[np.lexsort((table[:, 3], table[:, 0]))]
        columns = table[:, :4].astype(np.int64).T
        return LabelColumns(columns[0], columns[1], columns[2], columns[3], table[:, 4].astype(np.float32))

    def ready_anchors(self, app: int) -> NDArray[np.int64]:
        rows = self._connection.execute("SELECT anchor FROM inputs WHERE app = ? AND status = 30000", (app,)).fetchall()
        return np.sort(np.array(rows, np.int64).reshape(-1))
