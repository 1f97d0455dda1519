"""An inverted index of packed arrays: (token, row) pairs, 16 bytes each, in a few sorted runs.

Metadata has as many distinct values as an app likes, and a bitmap for each would cost a hundred bytes and more. Here a
token is a 64-bit number and a pair is what it takes. Pairs are never removed one by one: a pair counts while its epoch
is the row's present one, so that changing a row is adding its pairs anew under the next epoch.

One writer at a time; a reader must not overlap with it (see `catalog.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.uint64]
Words = NDArray[np.uint32]

_FIRST = 64  # pairs that a tail has room for at first
_TAIL = 4096  # pairs that are scanned before they are sorted into a run


class Run(NamedTuple):
    """Pairs that do not change any more."""

    tokens: Tokens  # ascending
    rows: Words
    epochs: Words


class Postings:
    """Finds the rows of a token.

    Args:
        runs: As `runs` gave them.
    """

    def __init__(self, runs: Iterable[Run] = ()) -> None:
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

    def runs(self) -> list[Run]:
        """All pairs; what is returned does not change when others are added."""
        here = slice(self._count)
        tail = Run(self._tokens[here].copy(), self._rows[here].copy(), self._epochs[here].copy())
        return [*self._runs, tail] if self._count else self._runs.copy()

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
        """Sorts the tail into a run, and merges runs until each is at least twice the next."""
        self._runs.append(_sorted(Run(self._tokens, self._rows, self._epochs)))
        self._open(_TAIL)
        while len(self._runs) > 1 and len(self._runs[-2].rows) < 2 * len(self._runs[-1].rows):
            last, before = self._runs.pop(), self._runs.pop()
            self._runs.append(
                _sorted(
                    Run(
                        np.concatenate([before.tokens, last.tokens]),
                        np.concatenate([before.rows, last.rows]),
                        np.concatenate([before.epochs, last.epochs]),
                    )
                )
            )

    def find(self, token: int, epochs: Words | None = None) -> Words:
        """The rows [n] of a token, ascending and distinct. `epochs` holds the present epoch by row; None: all count."""
        wanted = np.uint64(token)
        rows, stamps = [], []
        for run in self._runs:
            low, high = np.searchsorted(run.tokens, wanted), np.searchsorted(run.tokens, wanted, side="right")
            rows.append(run.rows[low:high])
            stamps.append(run.epochs[low:high])
        hit = self._tokens[: self._count] == wanted
        rows.append(self._rows[: self._count][hit])
        stamps.append(self._epochs[: self._count][hit])
        found, stamp = np.concatenate(rows), np.concatenate(stamps)
        if epochs is not None:
            found = found[epochs[found] == stamp]
        return found if bool((found[1:] > found[:-1]).all()) else np.unique(found)


def _sorted(run: Run) -> Run:
    order = np.argsort(run.tokens, kind="stable")
    return Run(run.tokens[order], run.rows[order], run.epochs[order])
