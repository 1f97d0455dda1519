"""Columns by annotation row, of all apps together, and the table of mark sets that they point into.

Rows are handed out ascending and never again, so a column is an array that grows. Sets of marks repeat endlessly, so
a row keeps the number of its set.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from postil.index.marks import Mark

_FIRST = 1024


class Columns:
    """Arrays of at least `size` items; replaced, not changed in place, when they grow.

    Attributes:
        levels: uint32, the input-level annotation of the row's input.
        kinds: uint32, the number of the row's set of marks, labels apart.
        labels: uint32, the number of its set of label marks.
        epochs: uint32, grows with every change of the row (see `postings.py`).
        ids: uint64, from its id.
        created: int64, microseconds.
        modified: int64, microseconds.
        latitudes: float64, degrees, where it has a place.
        longitudes: float64, degrees, where it has a place.
        input_kinds: uint32 by level, the number of the input's set of marks.
        levels_by_input: uint32, by input row.
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
    levels_by_input: NDArray[np.uint32]

    def __init__(self) -> None:
        self.size = _FIRST
        for name, kind in self._BY_ROW.items():
            setattr(self, name, np.zeros(_FIRST, kind))
        self.levels_by_input = np.zeros(_FIRST, np.uint32)
        self._sets: list[tuple[Mark, ...]] = [()]
        self._numbers: dict[tuple[Mark, ...], int] = {(): 0}

    def reserve(self, row: int, input_row: int) -> None:
        """Makes room for an annotation row and an input row."""
        if row >= self.size:
            self.size = max(row + 1, self.size + self.size // 2)
            for name in self._BY_ROW:
                setattr(self, name, _grown(getattr(self, name), self.size))
        if input_row >= len(self.levels_by_input):
            size = max(input_row + 1, len(self.levels_by_input) * 3 // 2)
            self.levels_by_input = _grown(self.levels_by_input, size)

    def set(self, row: int, level: int, kind: int, labels: int, created_us: int, modified_us: int) -> None:
        """Writes one row."""
        self.levels[row], self.kinds[row], self.labels[row] = level, kind, labels
        self.created[row], self.modified[row] = created_us, modified_us

    def interned(self, marks: tuple[Mark, ...]) -> int:
        """The number of a set of marks."""
        number = self._numbers.get(marks)
        if number is None:
            number = self._numbers[marks] = len(self._sets)
            self._sets.append(marks)
        return number

    def members(self, number: int) -> tuple[Mark, ...]:
        """The marks of a set."""
        return self._sets[number]

    def arrays(self) -> list[tuple[str, NDArray[Any]]]:
        """(name, array), always in this order."""
        return [(name, getattr(self, name)) for name in (*self._BY_ROW, "levels_by_input")]

    def sets(self) -> list[tuple[Mark, ...]]:
        """The sets of marks by number. Copied."""
        return self._sets.copy()

    def restore(self, arrays: Sequence[NDArray[Any]], sets: list[tuple[Mark, ...]]) -> None:
        """Puts back what `arrays` and `sets` gave. Raises ValueError when it does not fit together."""
        by_row = arrays[:-1]
        if len({len(array) for array in by_row}) != 1 or not sets or sets[0]:
            raise ValueError("the columns do not fit together")
        for (name, _), array in zip(self.arrays(), arrays, strict=True):
            setattr(self, name, array)
        self.size = len(by_row[0])
        self._sets = sets
        self._numbers = {marks: number for number, marks in enumerate(sets)}

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        return self.levels_by_input.nbytes + sum(int(getattr(self, name).nbytes) for name in self._BY_ROW)


def _grown(array: NDArray[Any], size: int) -> NDArray[Any]:
    grown = np.zeros(size, array.dtype)
    grown[: len(array)] = array
    return grown
