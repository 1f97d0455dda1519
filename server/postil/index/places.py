"""Where rows lie in arrays that have room for the rows in use, and for no others.

Rows are handed out ascending and never again, so an array by row would grow for ever. Here 32 rows in a row share a
*chunk* of an array, a chunk whose rows are all gone is left out when the arrays are packed, and a directory tells how
far each chunk was moved: 8 bytes for 32 rows, which is all that stays of rows that are gone (docs/adr/0025).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_BITS = 5
CHUNK = 1 << _BITS

Rows = NDArray[np.int64]
Flags = NDArray[np.bool_]


class Places:
    """A directory. The first chunk of the arrays belongs to no row: rows that have no chunk are read there.

    Args:
        chunks: Which chunk of rows lies in each chunk of the arrays, from the second on, as `chunks` gave it.
        end: Rows below it have an entry, as `end` gave it.
    """

    def __init__(self, chunks: Rows | None = None, end: int = 0) -> None:
        self._moves = np.empty(0, np.int64)  # by chunk of rows: from row to place
        self._end = 0  # chunks of rows that have an entry; there is room for more
        self._chunks = np.full(1, -1, np.int64)
        self._count = 1  # chunks of the arrays
        self._ordered = True  # ascending rows have ascending places
        self._unmoved = True  # and nothing has ever gone
        self._extend(end // CHUNK)
        self._append(np.empty(0, np.int64) if chunks is None else chunks)

    def at(self, rows: Rows) -> Rows:
        """int64 [n]: the places of rows (int64), all of them below `end`."""
        if self._unmoved:
            return rows + CHUNK
        places: Rows = self._moves.take(rows >> _BITS)
        places += rows
        return places

    def place(self, row: int) -> int:
        """The place of any row."""
        chunk = row >> _BITS
        return row + int(self._moves[chunk]) if chunk < self._end else row % CHUNK

    def add(self, rows: Rows) -> None:
        """Gives rows (any order) a place; those that have one keep it."""
        if not len(rows):
            return
        chunks = np.unique(rows >> _BITS)
        self._extend(int(chunks[-1]) + 1)
        self._append(chunks[self._moves[chunks] == -chunks * CHUNK])

    def packed(self, wanted: Flags) -> tuple[Places, Rows]:
        """The directory of arrays that leave chunks out, and the chunks that stay, in the order of those arrays.

        Args:
            wanted: By chunk of the arrays, the first of which stays.
        """
        kept = np.flatnonzero(wanted[1:]) + 1
        kept = kept[np.argsort(self._chunks[kept])]
        return Places(self._chunks[kept], self.end), np.concatenate([np.zeros(1, np.int64), kept])

    def rows_where(self, flags: Flags) -> Rows:
        """int64 [n], ascending: the rows of the places where it is True.

        Args:
            flags: By place, from that of the second chunk on.
        """
        places = np.flatnonzero(flags)
        if self._unmoved:
            return places
        rows: Rows = self._chunks[1 : self._count].take(places >> _BITS)
        rows <<= _BITS
        places &= CHUNK - 1
        rows |= places
        return rows if self._ordered else np.sort(rows)

    @property
    def size(self) -> int:
        """Items that the arrays need room for."""
        return self._count * CHUNK

    @property
    def end(self) -> int:
        """All rows that ever had a place are below."""
        return self._end * CHUNK

    @property
    def chunks(self) -> Rows:
        """Which chunk of rows lies in each chunk of the arrays, from the second on."""
        return self._chunks[1 : self._count].copy()

    @property
    def nbytes(self) -> int:
        """Bytes of the directory."""
        return self._moves.nbytes + self._chunks.nbytes

    def _extend(self, count: int) -> None:
        """Makes room for so many chunks of rows, none of which has a place yet."""
        have = len(self._moves)
        if count > have:
            moves = -CHUNK * np.arange(max(count, have * 3 // 2))
            moves[:have] = self._moves
            self._moves = moves
        self._end = max(self._end, count)

    def _append(self, chunks: Rows) -> None:
        """Puts chunks of rows after the last one of the arrays."""
        places = np.arange(self._count, self._count + len(chunks))
        self._moves[chunks] = (places - chunks) * CHUNK
        if self._count + len(chunks) > len(self._chunks):
            grown = np.empty(max(self._count + len(chunks), len(self._chunks) * 3 // 2), np.int64)
            grown[: self._count] = self._chunks[: self._count]
            self._chunks = grown
        self._chunks[self._count : self._count + len(chunks)] = chunks
        since = self._chunks[self._count - 1 : self._count + len(chunks)]
        self._ordered = self._ordered and bool((since[1:] > since[:-1]).all())
        self._count += len(chunks)
        self._unmoved = self._ordered and self._count - 1 == self._end
