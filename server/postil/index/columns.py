"""Columns by annotation row, of all apps together, and the table of mark sets that they point into.

The columns have room for the rows in use (`places.py`). Sets of marks repeat endlessly, so a row keeps the number of
its set. What is gone is left where it lies until there is more of it than of what stays; then `sweep` packs the
columns, and numbers the sets anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from postil.index.marks import Mark
from postil.index.places import CHUNK, Flags, Places, Rows

_FIRST = 1024
_LEAST = 4096  # rows that are gone, or sets that came, before a sweep is worth it


class Directory(NamedTuple):
    """What tells where rows lie, to be kept."""

    chunks: Rows
    end: int


class Columns:
    """Arrays by place (see `at`); replaced, not changed in place, when they grow.

    Attributes:
        levels: uint32, the input-level annotation of the row's input.
        kinds: uint32, the number of the row's set of marks, labels apart; 0 once the row is gone.
        labels: uint32, the number of its set of label marks.
        epochs: uint32, grows with every change of the row, and when it goes (see `postings.py`).
        input_kinds: uint32 by level, the number of the input's set of marks.
        ids: uint64, from its id.
        created: int64, microseconds.
        modified: int64, microseconds.
        latitudes: float32, degrees, where it has a place on Earth.
        longitudes: float32, degrees, where it has a place on Earth.
    """

    _BY_ROW: ClassVar[dict[str, type[np.generic]]] = {
        "levels": np.uint32,
        "kinds": np.uint32,
        "labels": np.uint32,
        "epochs": np.uint32,
        "input_kinds": np.uint32,
        "ids": np.uint64,
        "created": np.int64,
        "modified": np.int64,
        "latitudes": np.float32,
        "longitudes": np.float32,
    }
    _SETS: ClassVar = ("kinds", "labels", "input_kinds")  # hold numbers of sets

    levels: NDArray[np.uint32]
    kinds: NDArray[np.uint32]
    labels: NDArray[np.uint32]
    epochs: NDArray[np.uint32]
    input_kinds: NDArray[np.uint32]
    ids: NDArray[np.uint64]
    created: NDArray[np.int64]
    modified: NDArray[np.int64]
    latitudes: NDArray[np.float32]
    longitudes: NDArray[np.float32]

    def __init__(self) -> None:
        self._rows, self._inputs = Places(), Places()
        for name, kind in self._BY_ROW.items():
            setattr(self, name, np.zeros(_FIRST, kind))
        self._levels_by_input = np.zeros(_FIRST, np.uint32)
        self._sets: list[tuple[Mark, ...]] = [()]
        self._numbers: dict[tuple[Mark, ...], int] = {(): 0}
        self._alive = 0
        self._dead = 0  # rows gone since the last sweep
        self._swept_sets = 1  # after the last sweep

    # rows

    def reserve(self, rows: Sequence[int], inputs: Sequence[int]) -> None:
        """Makes room for annotation rows and input rows (any order)."""
        self._rows.add(np.array(rows, np.int64))
        self._inputs.add(np.array(inputs, np.int64))
        for name in self._BY_ROW:
            setattr(self, name, _grown(getattr(self, name), self._rows.size))
        self._levels_by_input = _grown(self._levels_by_input, self._inputs.size)

    def at(self, rows: NDArray[np.integer]) -> Rows:
        """int64 [n]: where rows lie in the columns. Of rows that are gone it is where nothing is alive."""
        return self._rows.at(rows.astype(np.int64, copy=False))

    def place(self, row: int) -> int:
        """The same for one row."""
        return self._rows.place(row)

    def alive(self, rows: NDArray[np.integer]) -> Flags:
        """bool [n]: which rows are not gone."""
        return self.kinds[self.at(rows)] > 0

    def scanned(self, column: NDArray[Any]) -> NDArray[Any]:
        """All that a column holds, for `rows_where`; also of rows that are gone."""
        return column[CHUNK : self._rows.size]

    def rows_where(self, flags: Flags) -> Rows:
        """int64 [n], ascending: the rows for which it is True; `flags` is as long as what `scanned` gave."""
        return self._rows.rows_where(flags)

    def born(self, count: int) -> None:
        """So many rows came."""
        self._alive += count

    def forget(self, rows: Sequence[int]) -> None:
        """Rows (distinct) that are gone, and will not come again."""
        places = self.at(np.array(rows, np.int64))
        for name in self._SETS:
            getattr(self, name)[places] = 0
        self.epochs[places] += 1
        self._alive -= len(rows)
        self._dead += len(rows)

    def put_level(self, input_row: int, level: int) -> None:
        """Tells an input's input-level annotation."""
        self._levels_by_input[self._inputs.place(input_row)] = level

    def level_of_input(self, input_row: int) -> int:
        """An input's input-level annotation."""
        return int(self._levels_by_input[self._inputs.place(input_row)])

    # sets

    def interned(self, marks: tuple[Mark, ...]) -> int:
        """The number of a set of marks; it holds until the next sweep."""
        number = self._numbers.get(marks)
        if number is None:
            number = self._numbers[marks] = len(self._sets)
            self._sets.append(marks)
        return number

    def members(self, number: int) -> tuple[Mark, ...]:
        """The marks of a set."""
        return self._sets[number]

    # tidying

    @property
    def wasteful(self) -> bool:
        """More is gone than is there, or as many sets came as there were: time for a sweep."""
        return self._dead > max(_LEAST, self._alive) or len(self._sets) > _LEAST + 2 * self._swept_sets

    def sweep(self) -> None:
        """Leaves out what is gone. Milliseconds for 100,000 rows."""
        wanted = _chunks_with(self.kinds[: self._rows.size] > 0)
        if not wanted.all():
            self._rows, kept = self._rows.packed(wanted)
            for name in self._BY_ROW:
                setattr(self, name, _packed(getattr(self, name), kept))
        self._sweep_inputs()
        self._sweep_sets()
        self._dead, self._swept_sets = 0, len(self._sets)

    def _sweep_inputs(self) -> None:
        levels = self._levels_by_input[: self._inputs.size]
        wanted = _chunks_with((levels > 0) & self.alive(levels))
        if not wanted.all():
            self._inputs, kept = self._inputs.packed(wanted)
            self._levels_by_input = _packed(self._levels_by_input, kept)

    def _sweep_sets(self) -> None:
        """Numbers the sets anew when most of them are nobody's."""
        used = np.zeros(len(self._sets), np.bool_)
        used[0] = True
        columns = [getattr(self, name)[: self._rows.size] for name in self._SETS]
        for column in columns:
            used[column] = True
        if 2 * np.count_nonzero(used) > len(used):
            return
        numbers = (np.cumsum(used) - 1).astype(np.uint32)
        for column in columns:
            column[:] = numbers[column]
        self._sets = [self._sets[number] for number in np.flatnonzero(used).tolist()]
        self._numbers = {marks: number for number, marks in enumerate(self._sets)}

    # keeping, see `checkpoint.py`

    def directories(self) -> list[Directory]:
        """Where rows and where inputs lie."""
        return [Directory(one.chunks, one.end) for one in (self._rows, self._inputs)]

    def kinds_of_arrays(self) -> list[np.dtype[Any]]:
        """The types of `arrays`."""
        return [np.dtype(kind) for kind in (*self._BY_ROW.values(), np.uint32)]

    def arrays(self) -> list[NDArray[Any]]:
        """Copies of all that is held, always in this order."""
        by_row = [getattr(self, name)[: self._rows.size].copy() for name in self._BY_ROW]
        return [*by_row, self._levels_by_input[: self._inputs.size].copy()]

    def sets(self) -> list[tuple[Mark, ...]]:
        """The sets of marks by number. Copied."""
        return self._sets.copy()

    def restore(
        self, directories: Sequence[Directory], arrays: Sequence[NDArray[Any]], sets: list[tuple[Mark, ...]]
    ) -> None:
        """Puts back what `directories`, `arrays` and `sets` gave. Raises ValueError when it does not fit together."""
        self._rows, self._inputs = (Places(*one) for one in directories)
        sizes = {len(array) for array in arrays[:-1]}
        if sizes != {self._rows.size} or len(arrays[-1]) != self._inputs.size or not sets or sets[0]:
            raise ValueError("the columns do not fit together")
        for name, array in zip(self._BY_ROW, arrays, strict=False):
            setattr(self, name, array)
        self._levels_by_input = arrays[-1]
        self._sets = sets
        self._numbers = {marks: number for number, marks in enumerate(sets)}
        self._alive = int(np.count_nonzero(self.kinds))
        self._dead = self._rows.size - CHUNK - self._alive  # at most; how many went nobody noted
        self._swept_sets = 1

    @property
    def end(self) -> int:
        """All rows are below."""
        return self._rows.end

    @property
    def size(self) -> int:
        """Rows that there is room for."""
        return self._rows.size

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        by_row = sum(int(getattr(self, name).nbytes) for name in self._BY_ROW)
        return by_row + self._levels_by_input.nbytes + self._rows.nbytes + self._inputs.nbytes


def _chunks_with(flags: Flags) -> Flags:
    """The chunks in which one is True, and the first."""
    found: Flags = np.logical_or.reduce(flags.reshape(-1, CHUNK), axis=1)
    found[0] = True
    return found


def _grown(array: NDArray[Any], size: int) -> NDArray[Any]:
    if size <= len(array):
        return array
    grown = np.zeros(max(size, len(array) * 3 // 2), array.dtype)
    grown[: len(array)] = array
    return grown


def _packed(array: NDArray[Any], chunks: Rows) -> NDArray[Any]:
    """These chunks of an array, and room for half as many more."""
    packed = np.zeros(max(_FIRST, len(chunks) * CHUNK * 3 // 2), array.dtype)
    whole = array[: len(array) // CHUNK * CHUNK].reshape(-1, CHUNK)
    packed[: len(chunks) * CHUNK] = whole[chunks].ravel()
    return packed
