"""Puts annotations in order by several criteria at once, exactly, looking at few of them.

Every criterion scores between 0 and 1, and a hit's score is their weighted geometric mean. What people labelled is
decided: 1 or 0. So the annotations fall into *classes* by what their labels decide, and within a class only the
undecided criteria are left. Classes are looked into best first, each in growing slices of candidates, until nothing
unseen can enter the page (the threshold algorithm: Fagin, Lotem, Naor, 2001). Points of one space are walked towards
together: the arithmetic mean of their scores bounds the geometric one, and is itself nearness to a point.

The order is: score, then creation; but among equals, what people labelled as it should be comes first, and what they
labelled as it should not be comes last.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from postil.core.evidence import Average, Evidence, Near, Nearness, powered, product, scan, within
from postil.core.tracing import Trace
from postil.index import planner
from postil.index.base import Plan
from postil.index.catalog import AppCatalog
from postil.index.rowsets import rows_of

Rows = NDArray[np.int64]
Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

_DONE = -1.0
_FIRST, _MIDDLE, _LAST = range(3)  # turns among equals
_GROWTH = 4
_SCAN_SHARE = 4  # candidates beyond this part of a class: all of it is looked at instead
_SCAN_ALWAYS = 512  # a class this small is looked at as a whole


class Criterion(NamedTuple):
    """One thing to rank by.

    Args:
        weight: Its power in the geometric mean; all together make 1.
        best: Annotations that score 1 by label.
        worst: Annotations that score 0 by label.
        evidence: What the others score by; None when the app has no vectors for it. Asked once it is needed.
    """

    weight: float
    best: BitMap
    worst: BitMap
    evidence: Callable[[], Evidence | None]


class Ordered(NamedTuple):
    """Annotations, best first."""

    rows: Rows  # int64 [n]
    scores: Floats  # float32 [n]


@dataclass(slots=True)
class _Class:
    """Annotations that labels decide alike.

    Args:
        rows: All of them.
        anchors: Of the rows; empty until they are needed.
        undecided: Criteria left, with their weights.
        score: 1, or 0 when a label says so.
        left_out: Anchors of other annotations than these.
    """

    rows: BitMap
    undecided: list[tuple[float, Callable[[], Evidence | None]]]
    score: float
    bound: float  # nothing unseen scores more; _DONE when all is seen
    anchors: BitMap = field(default_factory=BitMap)
    left_out: int = 0
    evidence: list[tuple[float, Evidence]] = field(default_factory=list)
    ready: bool = False
    edge: int = 0  # what is unseen and scores as much as the bound is younger than this row

    @property
    def turn(self) -> int:
        """When its annotations come among those of the same score."""
        if self.undecided:
            return _MIDDLE
        return _FIRST if self.score else _LAST

    k: int = 0
    found: Rows = field(default_factory=lambda: np.empty(0, np.int64))
    scores: Floats = field(default_factory=lambda: np.empty(0, np.float32))


class Ranking:
    """Ranks the annotations of one app for one query.

    Args:
        hold: The app's catalog, undisturbed while it is held.
        criteria: At least one.
        domain: The annotations to rank.
        exact: Look at everything.
        trace: Takes note of what was done.
    """

    def __init__(
        self,
        hold: Callable[[], AbstractContextManager[AppCatalog]],
        criteria: Sequence[Criterion],
        domain: BitMap,
        *,
        exact: bool,
        trace: Trace,
    ) -> None:
        self._hold = hold
        self._exact = exact
        self._trace = trace
        self._classes = _classes(criteria, domain)

    def page(self, wanted: int, min_value: float, *, by_input: bool) -> Ordered:
        """The first `wanted` annotations, or inputs each by its best annotation."""
        while True:
            ordered, turns = self._merged(by_input=by_input)
            full = len(ordered.rows) >= wanted
            last = float(ordered.scores[wanted - 1]) if full else _DONE
            # Equals come in order of age within their turn.
            place = (int(turns[wanted - 1]), int(ordered.rows[wanted - 1])) if full else (_LAST, 1 << 32)
            ahead = [one for one in self._classes if _may_enter(one, last, min_value, place)]
            if not ahead:
                keep = ordered.scores >= np.float32(min_value)
                return Ordered(ordered.rows[keep][:wanted], ordered.scores[keep][:wanted])
            self._advance(max(ahead, key=lambda one: (one.bound, -len(one.undecided), -one.turn)), wanted, full=full)

    def count(self, min_value: float, *, by_input: bool) -> int:
        """How many annotations, or inputs, have a score of at least `min_value`."""
        for one in self._classes:
            if not one.undecided:
                self._take_decided(one, len(one.rows))
            elif self._ready(one):
                self._scan(one)
        ordered, _ = self._merged(by_input=by_input)
        return int(np.count_nonzero(ordered.scores >= np.float32(min_value)))

    def _merged(self, *, by_input: bool) -> tuple[Ordered, NDArray[np.int64]]:
        """Everything seen so far in order, and the turn of each."""
        rows = np.concatenate([one.found for one in self._classes]) if self._classes else np.empty(0, np.int64)
        values = np.concatenate([one.scores for one in self._classes]) if self._classes else np.empty(0, np.float32)
        turns = np.repeat(
            np.array([one.turn for one in self._classes], np.int64), [len(one.found) for one in self._classes]
        )
        order = np.lexsort((rows, turns, -values))
        if by_input and len(order):
            with self._hold() as catalog:
                levels = catalog.level_of(rows[order])
            _, first = np.unique(levels, return_index=True)
            order = order[np.sort(first)]
        return Ordered(rows[order], values[order]), turns[order]

    def _advance(self, one: _Class, wanted: int, *, full: bool) -> None:
        """Looks at more of a class, or learns that it holds nothing as good."""
        if not one.undecided:
            self._take_decided(one, max(wanted, one.k * _GROWTH))
        elif not self._ready(one):
            one.bound = _DONE
        elif full and one.k == 0:
            self._lower(one)
        elif one.score == 0.0 or self._exact or len(one.rows) <= _SCAN_ALWAYS:
            self._scan(one)
        else:
            self._grow(one, wanted)

    def _take_decided(self, one: _Class, k: int) -> None:
        """The oldest rows of a class that labels decide."""
        one.k = k
        one.found = rows_of(one.rows[:k])
        one.scores = np.full(len(one.found), one.score, np.float32)
        one.bound = one.score if k < len(one.rows) else _DONE
        one.edge = int(one.found[-1])
        self._trace.note("labels", len(one.found))

    def _ready(self, one: _Class) -> bool:
        """Gets the evidence and the anchors; False when there is nothing to go by."""
        if not one.ready:
            one.ready = True
            found = [(weight, evidence()) for weight, evidence in one.undecided]
            known = [(weight, evidence) for weight, evidence in found if evidence is not None]
            one.evidence = known if len(known) == len(found) else []
            with self._hold() as catalog:
                one.anchors = catalog.anchors_of(one.rows)
                one.left_out = len(catalog.all) - len(one.rows)
        return bool(one.evidence)

    def _lower(self, one: _Class) -> None:
        """Lowers the bound of a class that may have nothing for a full page, by the best of all anchors."""
        bound = one.score
        for weight, leader in _leaders(one.evidence) or one.evidence:
            near = leader.best(1, None)
            bound *= float(near.scores[0]) ** weight if len(near.scores) else 0.0
        one.k = 1
        one.bound = min(one.bound, float(np.float32(bound)))

    def _scan(self, one: _Class) -> None:
        anchors, values = scan(one.evidence, one.anchors)
        self._show(one, anchors, values * one.score, _DONE)
        self._trace.walked(Plan.GATHER)
        self._trace.note("scan", len(one.anchors))

    def _show(self, one: _Class, anchors: Rows, values: Doubles, bound: float) -> None:
        """Keeps the annotations that these anchors stand for."""
        with self._hold() as catalog:
            one.found, at = catalog.represented(anchors, one.rows)
        one.scores = values[at].astype(np.float32)
        one.bound = float(np.float32(bound))  # as scores are rounded

    def _grow(self, one: _Class, wanted: int) -> None:
        # The order that several ranks are walked in is not quite theirs: looking further at once costs little.
        first = planner.band(wanted) * (1 if len(one.evidence) == 1 else 4)
        one.k = first if one.k <= 1 else one.k * _GROWTH
        allow = one.anchors if one.left_out else None
        if len(one.evidence) == 1:
            weight, evidence = one.evidence[0]
            near = within(evidence, one.k, allow, one.left_out)
            values = powered(near.scores, weight)
            self._show(one, near.anchors, values, _bound(near, values))
            with self._hold() as catalog:
                one.edge = int(near.anchors[-1]) if catalog.plain and len(near.anchors) else 0
            self._trace.note("nearest", len(near.anchors))
            return
        leaders = _leaders(one.evidence)
        if leaders is None or one.k * _SCAN_SHARE > len(one.anchors):
            self._scan(one)
            return
        nears = [(weight, within(leader, one.k, allow, one.left_out)) for weight, leader in leaders]
        anchors = np.unique(np.concatenate([near.anchors for _, near in nears]))
        values = product(one.evidence, anchors)
        known = ~np.isnan(values)
        bounds = [_bound(near, powered(near.scores, weight)) for weight, near in nears]
        self._show(one, anchors[known], values[known], _DONE if _DONE in bounds else float(np.prod(bounds)))
        self._trace.note("threshold", len(anchors))


def _classes(criteria: Sequence[Criterion], domain: BitMap) -> list[_Class]:
    """The domain, split by what labels decide."""
    classes = [_Class(domain, [], 1.0, 1.0)]
    for criterion in criteria:
        split: list[_Class] = []
        for one in classes:
            best, worst = one.rows & criterion.best, one.rows & criterion.worst
            rest = one.rows - best - worst if best or worst else one.rows
            undecided = [*one.undecided, (criterion.weight, criterion.evidence)]
            split += [_Class(best, one.undecided, one.score, one.score)] if best else []
            split += [_Class(rest, undecided, one.score, one.score)] if rest else []
            split += [_Class(worst, one.undecided, 0.0, 0.0)] if worst else []
        classes = split
    return classes


def _may_enter(one: _Class, last: float, min_value: float, place: tuple[int, int]) -> bool:
    """Whether something unseen of a class may come before the last hit of the page, whose (turn, row) this is."""
    if one.bound == _DONE or one.bound < min_value:
        return False
    return one.bound > last or (one.bound == last and (one.turn, one.edge) < place)


def _bound(near: Near, values: Doubles) -> float:
    return _DONE if near.complete or not len(values) else float(values[-1])


def _leaders(evidence: Sequence[tuple[float, Evidence]]) -> list[tuple[float, Evidence | Average]] | None:
    """In whose order to look: one for each space and each evidence of another kind. None where there is no order."""
    spaces: dict[int, list[tuple[float, Nearness]]] = {}
    leaders: list[tuple[float, Evidence | Average]] = []
    for weight, one in evidence:
        if isinstance(one, Nearness) and one.linear:
            spaces.setdefault(one.space, []).append((weight, one))
        else:
            leaders.append((weight, one))
    for parts in spaces.values():
        if len(parts) == 1:
            leaders.append(parts[0])
            continue
        average = Average(parts)
        if average.flat:
            return None
        leaders.append((sum(weight for weight, _ in parts), average))
    return leaders
