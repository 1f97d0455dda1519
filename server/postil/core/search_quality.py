"""How good searches were, by what people chose: click-through, reciprocal rank, and whether learning helped.

Learning is judged as it went along. Take a search that came after others of its family: what was learned from those
orders the space anew, and what this search's clicks chose says how well (nDCG at 10, against the order without
learning). Vectors that the earlier clicks chose or passed over are left out of both orders, because putting those first
proves nothing.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from postil.core import statuses
from postil.core.call import Call
from postil.core.feedback import time_range
from postil.core.learning import Learning
from postil.core.learning_families import Families, Family, is_flipped
from postil.core.learning_math import moved
from postil.index.base import Indexes, Metric
from postil.store.base import EvidenceRecord, Queries, Store
from postil.v1.feedback_service_pb2 import GetSearchQualityRequest, SearchQuality, SearchQualityResponse
from postil.v1.status_code_pb2 import StatusCode

DEPTH = 10  # hits that nDCG looks at
MAX_JUDGED = 500  # searches replayed in one call: the newest
MAX_GROUPS = 1_000  # end users, or families
_READ = 1_000
_SAME = 1e-9

Vector = NDArray[np.float32]


@dataclass(slots=True)
class _Session:
    """The clicks of one search that can be learned from, and what was known before them."""

    family: Family
    clicks: list[EvidenceRecord] = field(default_factory=list)


@dataclass(slots=True)
class _Tally:
    """What is counted of a group of searches."""

    searches: int = 0
    clicks: int = 0
    first: dict[str, int] = field(default_factory=dict)  # search -> best position chosen
    clicked: set[str] = field(default_factory=set)
    before: list[float] = field(default_factory=list)
    after: list[float] = field(default_factory=list)

    def click(self, search: str, position: int) -> None:
        self.clicks += 1
        self.clicked.add(search)
        if position:
            self.first[search] = min(position, self.first.get(search, position))

    def message(self, name: str = "") -> SearchQuality:
        before, after = np.array(self.before), np.array(self.after)
        return SearchQuality(
            name=name,
            searches=self.searches,
            clicks=self.clicks,
            clicked_searches=len(self.clicked),
            click_through_rate=min(1.0, len(self.clicked) / self.searches) if self.searches else 0.0,
            mean_reciprocal_rank=_mean([1.0 / position for position in self.first.values()]),
            judged=len(before),
            ndcg_before=_mean(self.before),
            ndcg_after=_mean(self.after),
            wins=int(np.count_nonzero(after > before + _SAME)),
            ties=int(np.count_nonzero(np.abs(after - before) <= _SAME)),
            losses=int(np.count_nonzero(after < before - _SAME)),
        )


class Quality:
    """What GetSearchQuality means.

    Args:
        store: Clicks and searches.
        indexes: Orders spaces.
        learning: Fits what was learned.
    """

    def __init__(self, store: Store, indexes: Indexes, learning: Learning) -> None:
        self._store = store
        self._indexes = indexes
        self._learning = learning

    def get(self, call: Call, request: GetSearchQualityRequest) -> SearchQualityResponse:
        """Raises Failure SEARCH_INVALID_REQUEST for a time range that ends before it starts."""
        start, end = time_range(request.time_range)
        queries, app = self._store.read(), call.app.row
        total, users, families = _Tally(), defaultdict[str, _Tally](_Tally), defaultdict[str, _Tally](_Tally)
        for user, count in queries.searches_by_end_user(app, start, end).items():
            total.searches += count
            users[user].searches += count
        for search, user, position in queries.clicks(app, start, end):
            total.click(search, position)
            users[user].click(search, position)
        sessions = [one for one in self._sessions(call, queries) if start <= one.clicks[0].time_us <= end]
        for session in sessions:
            for click in session.clicks:
                families[session.family.name].click(click.evidence.search, click.position)
        for session, before, after in self._judged(call, sessions, queries):
            for tally in (total, users[session.clicks[0].end_user], families[session.family.name]):
                tally.before.append(before)
                tally.after.append(after)
        return SearchQualityResponse(
            status=statuses.status(StatusCode.SUCCESS),
            total=total.message(),
            end_users=_most_clicked(users) if request.by_end_user else (),
            families=_most_clicked(families) if request.by_query_family else (),
        )

    def _sessions(self, call: Call, queries: Queries) -> Iterator[_Session]:
        """All searches with clicks to learn from, by their first click."""
        families, sessions, after = Families(), dict[str, _Session](), 0
        while records := queries.evidence(call.app.row, "", after, _READ):
            call.check()
            for record in records:
                family = families.add(record)
                sessions.setdefault(record.evidence.search, _Session(family)).clicks.append(record)
            after = records[-1].row
        yield from sessions.values()

    def _judged(
        self, call: Call, sessions: list[_Session], queries: Queries
    ) -> Iterator[tuple[_Session, float, float]]:
        """Sessions that came after others of their family, with nDCG before and after learning from those."""
        earlier: defaultdict[int, list[_Session]] = defaultdict(list)
        pairs = []
        for session in sessions:
            known = earlier[id(session.family)]
            if known:
                pairs.append((session, known, len(known)))
            known.append(session)
        for session, known, count in pairs[-MAX_JUDGED:]:
            call.check()
            figures = self._judge(call.app.row, session, known[:count], queries)
            if figures is not None:
                yield session, *figures

    def _judge(
        self, app: int, session: _Session, known: Iterable[_Session], queries: Queries
    ) -> tuple[float, float] | None:
        """None when nothing was chosen that earlier clicks had not judged already, or nothing can be ordered."""
        past = Family(session.family.space, session.family.name, session.family.query)
        for one in known:
            for click in one.clicks:
                past.add(click)
        seen = set(past.chosen()) | set(past.passed())
        wanted = {click.evidence.chosen for click in session.clicks} - seen
        index = self._indexes.space(past.space)
        lesson = self._learning.fit(app, past, queries) if wanted and index is not None else None
        if lesson is None or index is None:
            return None
        evidence = session.clicks[0].evidence
        query = -evidence.query if is_flipped(evidence.key) else evidence.query
        orders = [
            index.search(vector, DEPTH + len(seen), metric=Metric.COSINE).rows.tolist()
            for vector in (query, moved(query, lesson))
        ]
        before, after = (_ndcg([row in wanted for row in order if row not in seen], len(wanted)) for order in orders)
        return before, after


def _ndcg(relevant: list[bool], wanted: int) -> float:
    """Normalised discounted cumulative gain at DEPTH of hits that are relevant or not, `wanted` of them in all."""
    discounts = 1.0 / np.log2(np.arange(2, DEPTH + 2))
    gained = sum(discount for discount, hit in zip(discounts.tolist(), relevant, strict=False) if hit)
    return float(gained / discounts[:wanted].sum())


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else 0.0


def _most_clicked(tallies: dict[str, _Tally]) -> list[SearchQuality]:
    counted = Counter({name: tally.clicks for name, tally in tallies.items()})
    return [tallies[name].message(name) for name, _ in counted.most_common(MAX_GROUPS)]
