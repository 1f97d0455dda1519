"""Searches that learn from clicks: which lesson a search takes, and how far it moved each hit.

A lesson is a function of the app's clicks, in their order, and of the vectors they name. It is kept in memory only to
be quick: the mark of the feedback tells whether it still holds, so a search by any process, after a restart or after
a deletion, ranks by exactly what the rows say.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from postil.core import scores
from postil.core.hit_reader import Scored
from postil.core.hits import noted
from postil.core.learning_families import Families, Family
from postil.core.learning_math import Examples, Lesson, learn, moved, unit
from postil.core.learning_trails import Trail, Trails
from postil.core.query import Query
from postil.core.ranks import ByConcept, Rank
from postil.core.targets import Point, Target
from postil.index.base import Metric
from postil.store.base import AppRecord, Change, FeedbackMark, Queries, Store
from postil.v1.app_pb2 import App
from postil.v1.common_pb2 import Learning as Mode

BACKGROUND = 300  # vectors of the space that a lesson is learned against, spread evenly over its rows
_LARGE_BACKGROUND = 100  # the same, of vectors with more numbers than that: no sample of this size tells their noise
_STATES = 256  # apps and end users whose families are kept in memory
_READ = 1_000  # clicks read at a time
_NEAR = 1e-3  # a score that differs more from the vectors' own came from elsewhere

Vector = NDArray[np.float32]


class Fitted(NamedTuple):
    """A lesson and what it holds for."""

    clicks: int
    generation: int
    lesson: Lesson | None  # None: nothing of what was chosen has a vector any more


class _State:
    """The families of one app, or of one end user in it."""

    def __init__(self, erased: int) -> None:
        self.families = Families()
        self.mark = FeedbackMark(0, erased)
        self.fitted: dict[int, Fitted] = {}  # by id() of the family, which lives as long as this
        self.gate = threading.Lock()


class Learning:
    """What all searches have learned. Thread-safe.

    Args:
        store: Where clicks and vectors are; its changes are followed.

    Attributes:
        trails: Where the newest searches looked.
    """

    def __init__(self, store: Store) -> None:
        self.trails = Trails()
        self._store = store
        self._states: OrderedDict[tuple[int, str], _State] = OrderedDict()
        self._gate = threading.Lock()
        self._bounds: dict[int, int] = {}  # app -> no lesson depends on an annotation row above it
        self._generations: dict[int, int] = {}  # app -> changes so far that may have altered a lesson
        self._marks: dict[int, tuple[int, FeedbackMark]] = {}  # app -> the sequence it was read at, its mark
        store.subscribe(self.apply)

    def apply(self, change: Change) -> None:
        """Takes one change from the feed: a vector that a lesson rests on may be gone or another."""
        bound = self._bounds.get(change.app, 0)
        changed = [change.gone, *(put.rows for put in change.put)]
        if any(len(rows) and int(rows.min()) <= bound for rows in changed):
            self._generations[change.app] = self._generations.get(change.app, 0) + 1

    def begin(self, app: AppRecord, queries: Queries) -> Lessons:
        """What the searches of one request learn."""
        return Lessons(self, app, queries)

    def refresh(self, app: int, end_user: str, space: int, key: str, query: Vector) -> None:
        """Learns at once what later searches would learn when they come, so that they need not wait for it."""
        queries = self._store.read()
        for who in {"", end_user} if (app, end_user) in self._states else {""}:
            self.lesson(app, who, space, key, query, queries)

    def _mark(self, app: int, queries: Queries) -> FeedbackMark:
        """The app's mark, read once per change of the store: feedback is a change, too."""
        committed = self._store.committed  # read first: a newer mark under an older number is only read again
        at, mark = self._marks.get(app, (-1, None))
        if mark is None or at != committed:
            mark = queries.feedback_mark(app)
            self._marks[app] = committed, mark
        return mark

    def lesson(self, app: int, end_user: str, space: int, key: str, query: Vector, queries: Queries) -> Lesson | None:
        """What the clicks of everybody ("") or of one person teach about a query; None when nothing.

        Args:
            app: Row.
            end_user: Whose clicks.
            space: Row of the space.
            key: Of the query; see `Evidence`.
            query: float32 [dim], any length.
            queries: Reads.
        """
        mark = self._mark(app, queries)
        if not mark.last:
            return None
        state = self._state(app, end_user, mark)
        with state.gate:
            if state.mark != mark:
                _catch_up(state, app, end_user, mark, queries)
            family = state.families.find(space, key, query)
            if family is None:
                return None
            fitted = state.fitted.get(id(family))
            generation = self._generations.get(app, 0)
            if fitted is None or fitted.clicks != family.clicks or fitted.generation != generation:
                lesson = self.fit(app, family, queries)
                fitted = state.fitted[id(family)] = Fitted(family.clicks, generation, lesson)
            return fitted.lesson

    def fit(self, app: int, family: Family, queries: Queries) -> Lesson | None:
        """What the clicks of a family teach; None when nothing that was chosen has a vector."""
        chosen, passed = family.chosen(), family.passed()
        bound = max((*chosen, *passed))
        self._bounds[app] = max(bound, self._bounds.get(app, 0))
        liked = queries.vectors(family.space, list(chosen))
        if not len(liked.rows):
            return None
        disliked = queries.vectors(family.space, list(passed))
        count = BACKGROUND if len(family.query) <= BACKGROUND else _LARGE_BACKGROUND
        background = _background(queries, family.space, bound, set(chosen), count)
        examples = Examples(
            family.query,
            unit(liked.matrix),
            np.array([chosen[row] for row in liked.rows.tolist()], dtype=np.float64),
            unit(disliked.matrix.reshape(-1, len(family.query))),
            np.array([passed[row] for row in disliked.rows.tolist()], dtype=np.float64),
            unit(background.reshape(-1, len(family.query))),
        )
        return learn(examples)

    def _state(self, app: int, end_user: str, mark: FeedbackMark) -> _State:
        """What is in memory, or a state to begin anew from when feedback was deleted."""
        with self._gate:
            state = self._states.get((app, end_user))
            if state is None or state.mark.erased != mark.erased:
                state = self._states[app, end_user] = _State(mark.erased)
                while len(self._states) > _STATES:
                    self._states.popitem(last=False)
            self._states.move_to_end((app, end_user))
            return state


@dataclass(slots=True)
class Learned:
    """What one search takes from others' clicks.

    Attributes:
        before: Where it would have looked without, once it has looked.
        after: Where it looked; `before` itself when nothing was learned.
    """

    learning: Learning
    app: int
    end_user: str | None  # whose clicks; "" everybody's, None nobody's
    key: str
    metric: Metric
    queries: Queries
    flip: bool
    before: Point | None = None
    after: Point | None = None

    def target(self, target: Target) -> Target:
        """The target, whose point moves to where clicks have moved it."""
        return replace(target, point=lambda: self._point(target.point))

    def _point(self, find: Callable[[], Point | None]) -> Point | None:
        if self.before is None:
            self.before = find()
            self.after = self._moved(self.before) if self.before is not None else None
        return self.after

    def _moved(self, point: Point) -> Point:
        opposite_exists = point.space.unit or self.metric is Metric.COSINE
        if self.end_user is None or (self.flip and not opposite_exists):
            return point
        lesson = self.learning.lesson(self.app, self.end_user, point.space.row, self.key, point.vector, self.queries)
        if lesson is None:
            return point
        # What is farthest from q is nearest to -q: that is the query which clicks move.
        vector = -moved(-point.vector, lesson) if self.flip else moved(point.vector, lesson)
        return Point(point.space, scores.direction(vector) if point.space.unit else vector)

    def noted(self, hits: list[Scored]) -> list[Scored]:
        """The hits, each with what learning added to its score."""
        before, after = self.before, self.after
        if before is None or after is None or before is after or not hits:
            return hits
        vectors = self.queries.vectors(after.space.row, [scored.hit.anchor for scored in hits])
        if not vectors.rows.size:  # all of them were deleted since they were found
            return hits
        metric = Metric.EUCLIDEAN if after.space.unit else self.metric
        old = _scores(before.vector, vectors.matrix, metric, unit=after.space.unit, flip=self.flip)
        new = _scores(after.vector, vectors.matrix, metric, unit=after.space.unit, flip=self.flip)
        changes = dict(zip(vectors.rows.tolist(), zip(new.tolist(), (new - old).tolist(), strict=True), strict=True))
        return [_noted(scored, changes.get(scored.hit.anchor)) for scored in hits]


class Lessons:
    """What the searches of one request learn. Used by one thread.

    Args:
        learning: Knows the lessons.
        app: The app searched in.
        queries: Reads.
    """

    def __init__(self, learning: Learning, app: AppRecord, queries: Queries) -> None:
        self._learning = learning
        self._app = app
        self.queries = queries
        self._taken: list[Learned] = []

    def target(self, query: Query, rank: Rank, target: Target) -> Target:
        """The target of a rank, whose point moves to where clicks have moved it."""
        app, whose = self._app.row, _whose(self._app, query)
        learned = Learned(self._learning, app, whose, key_of(rank), query.metric, self.queries, target.flip)
        self._taken.append(learned)
        return learned.target(target)

    def noted(self, hits: list[Scored]) -> list[Scored]:
        """The hits, each with what learning added to its score, where they were ranked by one thing alone."""
        return self._taken[0].noted(hits) if len(self._taken) == 1 else hits

    def remember(self, search_id: str) -> None:
        """Keeps where a search by one thing looked, for those who click on its hits."""
        if len(self._taken) == 1 and self._taken[0].before is not None:
            self._learning.trails.remember(self._app.row, search_id, Trail(self._taken[0].key, self._taken[0].before))


def _noted(scored: Scored, change: tuple[float, float] | None) -> Scored:
    if change is None or abs(change[0] - scored.score) > _NEAR:
        return scored
    return Scored(scored.score, noted(scored.hit, change[1]))


def _scores(query: Vector, matrix: Vector, metric: Metric, *, unit: bool, flip: bool) -> Vector:
    """float32 [n]: the scores that the index would give."""
    if metric is Metric.COSINE:
        lengths = np.sqrt(np.einsum("ij,ij->i", matrix, matrix) * np.dot(query, query))
        distances = 1.0 - matrix @ query / lengths
    else:
        difference = matrix - query
        distances = np.einsum("ij,ij->i", difference, difference)
    found = scores.scores(distances.astype(np.float32), metric, unit=unit)
    return 1.0 - found if flip else found


def _catch_up(state: _State, app: int, end_user: str, mark: FeedbackMark, queries: Queries) -> None:
    """Reads the clicks that came since the state was last brought up to date."""
    after = state.mark.last
    while records := queries.evidence(app, end_user, after, _READ):
        for record in records:
            state.families.add(record)
        after = records[-1].row
    # A click that arrived after the mark was read may be among them: the next search then reads nothing new.
    state.mark = FeedbackMark(max(mark.last, after), mark.erased)


def _background(queries: Queries, space: int, bound: int, without: set[int], count: int) -> NDArray[np.float32]:
    """Vectors spread evenly over the space's rows up to `bound`, so that what is added later does not change them."""
    first = queries.scan_vectors(space, 0, 1)
    if not len(first.rows):
        return np.empty((0, 0), dtype=np.float32)
    found: dict[int, NDArray[np.float32]] = {}
    for after in np.linspace(int(first.rows[0]) - 1, bound, count, endpoint=False).astype(int).tolist():
        one = queries.scan_vectors(space, after, 1)
        if len(one.rows) and int(one.rows[0]) <= bound and int(one.rows[0]) not in without:
            found[int(one.rows[0])] = one.matrix[0]
    return np.array([found[row] for row in sorted(found)], dtype=np.float32)


def _whose(app: AppRecord, query: Query) -> str | None:
    """Whose clicks a search learns from: "" everybody's, None nobody's."""
    mode = query.learning or (App.FromString(app.message).learning if app.message else 0) or Mode.LEARNING_FROM_ALL
    if mode == Mode.LEARNING_FROM_ALL:
        return ""
    return (query.end_user or None) if mode == Mode.LEARNING_FROM_END_USER else None


def key_of(rank: Rank) -> str:
    """Queries with different keys are never about the same; those for a concept are by its name alone."""
    subject = rank.subject
    named = f"concept:{subject.id or subject.name}" if isinstance(subject, ByConcept) else ""
    return f"-{named}" if rank.flip else named
