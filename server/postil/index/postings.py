"""An inverted index of packed arrays: (token, row) pairs, 16 bytes each, in a few sorted runs.

Metadata has as many distinct values as an app likes, and a bitmap for each would cost a hundred bytes and more. Here a
token is a 64-bit number and a pair is what it takes. Pairs are never removed one by one: a pair counts while its epoch
is the row's present one, so that changing a row is adding its pairs anew under the next epoch. What does not count any
more is left out whenever runs are merged.

One writer at a time; a reader must not overlap with it (see `catalog.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.uint64]
Words = NDArray[np.uint32]
Flags = NDArray[np.bool_]

_FIRST = 64  # pairs that a tail has room for at first
_TAIL = 4096  # pairs that are scanned before they are sorted into a run


class Run(NamedTuple):
    """Pairs that do not change any more."""

    tokens: Tokens  # ascending
    rows: Words
    epochs: Words

    def part(self, which: slice | Flags) -> Run:
        """Some of the pairs."""
        return Run(self.tokens[which], self.rows[which], self.epochs[which])


Counting = Callable[[Run], Flags]
"""Which pairs of a run still count."""


class Postings:
    """Finds the rows of a token.

    Args:
        counting: Which pairs still count; what does not now must never count again.
        runs: As `runs` gave them.
    """

    def __init__(self, counting: Counting, runs: Iterable[Run] = ()) -> None:
        self._counting = counting
        self._runs: list[Run] = []
        self._open(_FIRST)
        for run in runs:
            if len(run.rows) < _TAIL:
                self.add(*run)
            else:
                self._runs.append(run)

    def _open(self, capacity: int) -> None:
        """An empty tail."""
        self._tokens: Tokens = np.empty(capacity, np.uint64)
        self._rows: Words = np.empty(capacity, np.uint32)
        self._epochs: Words = np.empty(capacity, np.uint32)
        self._count = 0

    def __len__(self) -> int:
        return self._count + sum(len(run.rows) for run in self._runs)

    @property
    def nbytes(self) -> int:
        """Bytes of the pairs kept."""
        return 16 * (len(self._rows) + sum(len(run.rows) for run in self._runs))

    @property
    def _tail(self) -> Run:
        return Run(self._tokens, self._rows, self._epochs).part(slice(self._count))

    def runs(self) -> list[Run]:
        """All pairs; what is returned does not change when others are added."""
        if not self._count:
            return self._runs.copy()
        return [*self._runs, Run._make(column.copy() for column in self._tail)]

    def add(self, tokens: Tokens, rows: Words, epochs: Words) -> None:
        """Adds pairs [n]."""
        at = 0
        while at < len(rows):
            self._reserve(len(rows) - at)
            n = min(len(rows) - at, len(self._rows) - self._count)
            here = slice(self._count, self._count + n)
            self._tokens[here], self._rows[here], self._epochs[here] = (
                part[at : at + n] for part in (tokens, rows, epochs)
            )
            self._count += n
            at += n
            if self._count == _TAIL:
                self._seal()

    def _reserve(self, count: int) -> None:
        """Makes room in a tail that is still small."""
        capacity = len(self._rows)
        if self._count + count > capacity and capacity < _TAIL:
            grown = min(_TAIL, max(2 * capacity, self._count + count))
            tokens, rows, epochs, held = self._tokens, self._rows, self._epochs, self._count
            self._open(grown)
            self._tokens[:held], self._rows[:held], self._epochs[:held] = (
                tokens[:held],
                rows[:held],
                epochs[:held],
            )
            self._count = held

    def _seal(self) -> None:
        """Sorts the tail into a run."""
        self._runs.append(_sorted(Run(self._tokens, self._rows, self._epochs)))
        self._open(_TAIL)
        self._merge()

    def _merge(self) -> None:
        """Merges runs until each is at least twice the next."""
        while len(self._runs) > 1 and len(self._runs[-2].rows) < 2 * len(self._runs[-1].rows):
            last, before = self._without_stale(self._runs.pop()), self._without_stale(self._runs.pop())
            self._runs.append(_sorted(_joined([before, last])))

    def purge(self) -> None:
        """Leaves out what does not count any more, where there is much of it."""
        tail = self._without_stale(self._tail)
        kept, self._runs = [run for run in map(self._without_stale, self._runs) if len(run.rows)], []
        for run in sorted(kept, key=lambda one: -len(one.rows)):
            self._runs.append(run)
            self._merge()
        self._open(_FIRST)
        self.add(*tail)

    def _without_stale(self, run: Run) -> Run:
        """The run itself where that saves little."""
        counts = self._counting(run)
        if 4 * np.count_nonzero(counts) > 3 * len(counts):
            return run
        return run.part(counts)

    def find(self, token: int) -> Words:
        """The rows [n] of a token, ascending and distinct."""
        wanted = np.uint64(token)
        parts = [
            run.part(slice(np.searchsorted(run.tokens, wanted), np.searchsorted(run.tokens, wanted, side="right")))
            for run in self._runs
        ]
        every = _joined([*parts, self._tail.part(self._tokens[: self._count] == wanted)])
        found = every.rows[self._counting(every)]
        return found if bool((found[1:] > found[:-1]).all()) else np.unique(found)


def _joined(runs: list[Run]) -> Run:
    tokens, rows, epochs = zip(*runs, strict=True)
    return Run(np.concatenate(tokens), np.concatenate(rows), np.concatenate(epochs))


def _sorted(run: Run) -> Run:
    order = np.argsort(run.tokens, kind="stable")
    return Run(run.tokens[order], run.rows[order], run.epochs[order])
