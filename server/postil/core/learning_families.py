"""Clicks gathered into families: queries of one key in one space that point (nearly) the same way.

The first click of a family is its leader. A later one joins the oldest leader that is alike, or leads a family of its
own. So the families are a function of the clicks in their order, and of nothing else: take a click away, read the rest
again, and everything is as if it had never been.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from postil.core.scores import direction
from postil.store.base import EvidenceRecord

ALIKE = 0.98  # cosine of two queries that are about the same
MAX_EXAMPLES = 64  # distinct vectors chosen, and as many passed over, that a family learns from: the newest

Vector = NDArray[np.float32]


class Family:
    """The clicks on searches that were about the same thing.

    Attributes:
        space: Row of the space searched in.
        name: Id of the first search that somebody clicked in.
        query: What that search looked for, float32 [dim], length 1.
    """

    def __init__(self, space: int, name: str, query: Vector) -> None:
        self.space = space
        self.query = query
        self.name = name
        self.clicks = 0
        self._searches: dict[str, _Search] = {}

    def add(self, record: EvidenceRecord) -> None:
        """Takes a click in; clicks come in order of arrival."""
        self.clicks += 1
        search = self._searches.setdefault(record.evidence.search, _Search())
        search.clicks += 1
        search.chosen[record.evidence.chosen] = None
        search.passed.update(record.evidence.passed)

    def chosen(self) -> dict[int, float]:
        """Anchor -> in how many searches it was chosen; the newest MAX_EXAMPLES."""
        return _newest((anchor, 1.0) for search in self._searches.values() for anchor in search.chosen)

    def passed(self) -> dict[int, float]:
        """Anchor -> how surely it was passed over, 1 for a search all of whose clicks were below it.

        One that only the lowest click passed over was perhaps never looked at. The newest MAX_EXAMPLES.
        """
        return _newest(
            (anchor, (count / search.clicks) ** 2)
            for search in self._searches.values()
            for anchor, count in search.passed.items()
            if anchor not in search.chosen
        )


class _Search:
    """The clicks on one search."""

    __slots__ = ("chosen", "clicks", "passed")

    def __init__(self) -> None:
        self.clicks = 0
        self.chosen: dict[int, None] = {}  # in order
        self.passed: Counter[int] = Counter()  # anchor -> clicks that it stood above


class Families:
    """All families of an app, or of one end user in it."""

    def __init__(self) -> None:
        self._leaders: dict[tuple[int, str], _Leaders] = {}

    def add(self, record: EvidenceRecord) -> Family:
        """Takes a click in; clicks come in order of arrival. Gives its family."""
        evidence = record.evidence
        leaders = self._leaders.setdefault((evidence.space, evidence.key), _Leaders(by_looks=by_looks(evidence.key)))
        query = direction(evidence.query)
        family = leaders.find(query)
        if family is None:
            family = leaders.lead(
                query, Family(evidence.space, evidence.search, -query if is_flipped(evidence.key) else query)
            )
        family.add(record)
        return family

    def find(self, space: int, key: str, query: Vector) -> Family | None:
        """The family that a query belongs to. `query` is float32 [dim], of any length."""
        leaders = self._leaders.get((space, key))
        return leaders.find(direction(query)) if leaders else None

    def __iter__(self) -> Iterator[Family]:
        for leaders in self._leaders.values():
            yield from leaders.families


class _Leaders:
    """The leaders of one key in one space, oldest first.

    Args:
        by_looks: Queries are about the same when they point the same way; else their key alone says so.
    """

    def __init__(self, *, by_looks: bool) -> None:
        self.families: list[Family] = []
        self._by_looks = by_looks
        self._queries = np.empty((0, 0), dtype=np.float32)  # grown by halves; rows from len(families) on are empty

    def find(self, query: Vector) -> Family | None:
        count = len(self.families)
        if not count:
            return None
        if not self._by_looks:
            return self.families[0]
        alike = np.flatnonzero(self._queries[:count] @ query >= ALIKE)
        return self.families[int(alike[0])] if len(alike) else None

    def lead(self, query: Vector, family: Family) -> Family:
        count = len(self.families)
        if count == len(self._queries):
            grown = np.zeros((max(4, count + count // 2), len(query)), dtype=np.float32)
            if count:
                grown[:count] = self._queries
            self._queries = grown
        self._queries[count] = query
        self.families.append(family)
        return family


def is_flipped(key: str) -> bool:
    """Whether queries of this key ask for what is farthest."""
    return key.startswith("-")


def by_looks(key: str) -> bool:
    """Whether queries of this key must also point the same way to be about the same."""
    return ":" not in key


def _newest(anchors: Iterable[tuple[int, float]]) -> dict[int, float]:
    """The sum for each anchor, of those MAX_EXAMPLES that came last for the last time; in that order."""
    summed: dict[int, float] = {}
    for anchor, value in anchors:
        summed[anchor] = summed.pop(anchor, 0.0) + value  # moves it to the end
    for anchor in list(summed)[:-MAX_EXAMPLES]:
        del summed[anchor]
    return summed
