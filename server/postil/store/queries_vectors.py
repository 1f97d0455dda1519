"""Reads of spaces and vectors. Every vector's checksum is verified before it leaves."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from postil.store.base import Corrupt, SpaceRecord, Vectors
from postil.store.sql import CHUNK, distinct_ints, select_in

ROW_BITS = 32  # vectors.key is space << 32 | annotation row
ROW_MASK = (1 << ROW_BITS) - 1
_SPACE = "row, app, id, name, kind, dim, unit"


class VectorQueries:
    """Mixed into `SqliteQueries`."""

    _connection: sqlite3.Connection
    _dims: dict[int, int]  # space row -> dim; neither ever changes

    def space(self, app: int, space_id: str) -> SpaceRecord | None:
        row = self._connection.execute(
            f"SELECT {_SPACE} FROM spaces WHERE app = ? AND id = ?", (app, space_id)
        ).fetchone()
        return _space(row) if row else None

    def spaces(self, app: int) -> list[SpaceRecord]:
        """In order of creation."""
        rows = self._connection.execute(f"SELECT {_SPACE} FROM spaces WHERE app = ? ORDER BY row", (app,))
        return [_space(row) for row in rows]

    def all_spaces(self) -> list[SpaceRecord]:
        """In order of creation."""
        return [_space(row) for row in self._connection.execute(f"SELECT {_SPACE} FROM spaces ORDER BY row")]

    def vectors(self, space: int, rows: Sequence[int]) -> Vectors:
        base = int(space) << ROW_BITS
        found = select_in(
            self._connection,
            "SELECT key, crc, data FROM vectors WHERE key IN ({}) ORDER BY key",
            [base | row for row in distinct_ints(rows)],
        )
        return self._checked(space, found)

    def vectors_of_input(self, space: int, input_row: int) -> Vectors:
        found = self._connection.execute(
            "SELECT v.key, v.crc, v.data FROM annotations a CROSS JOIN vectors v ON v.key = (? | a.row)"
            " WHERE a.input = ? ORDER BY v.key",
            (int(space) << ROW_BITS, int(input_row)),
        ).fetchall()
        return self._checked(space, found)

    def scan_vectors(self, space: int, after_row: int, limit: int) -> Vectors:
        base = int(space) << ROW_BITS
        found = self._connection.execute(
            "SELECT key, crc, data FROM vectors WHERE key > ? AND key <= ? ORDER BY key LIMIT ?",
            (base | int(after_row), base | ROW_MASK, limit),
        ).fetchall()
        return self._checked(space, found)

    def count_vectors(self, space: int) -> int:
        row = self._connection.execute("SELECT count(*) FROM vectors WHERE key >> 32 = ?", (int(space),)).fetchone()
        return int(row[0])

    def vector_rows(self, space: int) -> list[int]:
        """The annotation rows that have a vector in the space, ascending; no vector is read."""
        found = self._connection.execute("SELECT key FROM vectors WHERE key >> 32 = ? ORDER BY key", (int(space),))
        return [key & ROW_MASK for (key,) in found]

    def damaged_vectors(self, space: int, rows: Sequence[int] | None = None) -> list[int]:
        """Those of the rows (or of all that the space has) whose vectors fail their checksums, ascending."""
        if rows is None:
            rows = self.vector_rows(space)
        base, dim, bad = int(space) << ROW_BITS, 0, []
        for start in range(0, len(rows), CHUNK):
            keys = [base | row for row in distinct_ints(rows[start : start + CHUNK])]
            for key, crc, data in select_in(
                self._connection, "SELECT key, crc, data FROM vectors WHERE key IN ({})", keys
            ):
                dim = dim or self._dim(int(space))
                if len(data) != dim * 4 or zlib.crc32(data) != crc:
                    bad.append(key & ROW_MASK)
        return sorted(bad)

    def _checked(self, space: int, found: list[tuple[Any, ...]]) -> Vectors:
        """The vectors of (key, crc, data) rows; raises Corrupt on the first that is not what was written."""
        dim = self._dim(int(space)) if found else 0
        for key, crc, data in found:
            if len(data) != dim * 4 or zlib.crc32(data) != crc:
                raise Corrupt(
                    f"The vector of annotation row {key & ROW_MASK} in space {space} fails its checksum. A restart"
                    " mends it when the index still has it; else stop the server and run `postil rebuild-index`."
                )
        rows = np.array([key & ROW_MASK for key, _, _ in found], dtype=np.int64)
        matrix = np.frombuffer(bytearray().join(data for _, _, data in found), dtype="<f4").reshape(len(found), dim)
        return Vectors(int(space), rows, matrix)

    def _dim(self, space: int) -> int:
        dim = self._dims.get(space)
        if dim is None:
            row = self._connection.execute("SELECT dim FROM spaces WHERE row = ?", (space,)).fetchone()
            if row is None:
                raise Corrupt(f"Vectors exist of space {space}, which does not.")
            dim = self._dims[space] = int(row[0])
        return dim


def _space(row: tuple[Any, ...]) -> SpaceRecord:
    return SpaceRecord._make(row)._replace(unit=row[6] == 1)
