"""Writes of spaces and vectors."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Sequence

import numpy as np

from postil.store.base import Matrix, Missing, SpaceRecord, Vectors
from postil.store.counters import Counters
from postil.store.erase import erase_vectors
from postil.store.feed import Effects
from postil.store.queries_vectors import ROW_BITS, VectorQueries
from postil.store.sql import distinct_ints, insert_rows, run_in, select_in

UNIT_TOLERANCE = 1e-3


class VectorWrites(VectorQueries):
    """Mixed into `SqliteTransaction`."""

    _connection: sqlite3.Connection
    _counters: Counters

    def _effects(self, app: int) -> Effects:
        raise NotImplementedError

    def _check_present(self, table: str, app: int, rows: Sequence[int]) -> None:
        raise NotImplementedError

    def ensure_space(self, app: int, space_id: str, name: str, kind: str, dim: int) -> SpaceRecord:
        found = self.space(app, space_id)
        if found is not None:
            return found
        if self._connection.execute("SELECT 1 FROM apps WHERE row = ?", (app,)).fetchone() is None:
            raise Missing(f"app {app}")
        record = SpaceRecord(self._counters.reserve("spaces", 1)[0], app, space_id, name, kind, dim, True)
        self._connection.execute(
            "INSERT INTO spaces (row, app, id, name, kind, dim, unit) VALUES (?, ?, ?, ?, ?, ?, ?)", record
        )
        return record

    def put_vectors(self, app: int, vectors: Vectors) -> None:
        if not len(vectors.rows):
            return
        space = self._connection.execute("SELECT app, dim, unit FROM spaces WHERE row = ?", (vectors.space,)).fetchone()
        if space is None or space[0] != app:
            raise Missing(f"space {vectors.space}")
        matrix: Matrix = np.ascontiguousarray(vectors.matrix, dtype="<f4")
        if matrix.shape != (len(vectors.rows), space[1]):
            raise ValueError(
                f"Vectors of shape {matrix.shape} do not fit {len(vectors.rows)} rows of {space[1]} numbers."
            )
        rows: list[int] = np.asarray(vectors.rows).tolist()
        self._check_present("annotations", app, rows)
        self._insert_vectors(vectors.space, rows, matrix)
        if space[2] and not _all_unit(matrix):
            self._connection.execute("UPDATE spaces SET unit = 0 WHERE row = ?", (vectors.space,))
        self._effects(app).put.append(Vectors(vectors.space, np.array(rows, dtype=np.int64), matrix))

    def delete_vectors(self, app: int, rows: Sequence[int]) -> None:
        found = select_in(
            self._connection, "SELECT row FROM annotations WHERE +app = ? AND row IN ({})", distinct_ints(rows), (app,)
        )
        mine = sorted({row for (row,) in found})
        if mine:
            erase_vectors(self._connection, app, mine)
            self._effects(app).strip(mine)

    def mend_vectors(self, vectors: Vectors) -> list[int]:
        """See `base.Transaction`."""
        mended = []
        for row, vector in zip(vectors.rows.tolist(), vectors.matrix.astype("<f4"), strict=True):
            key, raw = vectors.space << ROW_BITS | row, vector.tobytes()
            found = self._connection.execute("SELECT crc, data FROM vectors WHERE key = ?", (key,)).fetchone()
            if found is not None and (zlib.crc32(raw) == found[0] or raw == found[1]):
                self._connection.execute(
                    "UPDATE vectors SET crc = ?, data = ? WHERE key = ?", (zlib.crc32(raw), raw, key)
                )
                mended.append(row)
        return mended

    def drop_damaged_vectors(self, space: int, rows: Sequence[int]) -> None:
        """See `base.Transaction`."""
        run_in(
            self._connection,
            "DELETE FROM vectors WHERE key IN ({})",
            [int(space) << ROW_BITS | row for row in self.damaged_vectors(space, rows)],
        )

    def _insert_vectors(self, space: int, rows: list[int], matrix: Matrix) -> None:
        base, width = space << ROW_BITS, matrix.shape[1] * 4
        raw = matrix.data.cast("B")
        slices = [raw[start : start + width] for start in range(0, len(raw), width)]
        insert_rows(
            self._connection,
            "INSERT OR REPLACE INTO vectors (key, crc, data)",
            [(base | row, zlib.crc32(data), data) for row, data in zip(rows, slices, strict=True)],
        )


def _all_unit(matrix: Matrix) -> bool:
    lengths = np.sqrt(np.einsum("ij,ij->i", matrix, matrix))
    return bool(np.all(np.abs(lengths - 1.0) <= UNIT_TOLERANCE))
