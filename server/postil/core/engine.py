"""Runs what is more than one rank over everything: filters, several criteria, times past, and counting.

Filters become a set of annotations, ranks become criteria, and `ranking.py` puts the one in the order of the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial

import numpy as np
from pyroaring import BitMap

from postil.core import allowed, head_evidence
from postil.core.allowed import StoreLookup
from postil.core.call import Call
from postil.core.dataset_members import DatasetMembers
from postil.core.evidence import Evidence, Nearness, Said
from postil.core.pages import Page
from postil.core.query import Query
from postil.core.ranking import Criterion, Ordered, Ranking, Rows
from postil.core.scores import EVERYTHING
from postil.core.targets import Target
from postil.core.tracing import Trace
from postil.index.base import Indexes
from postil.index.catalogs import Catalogs
from postil.index.marks import LEVEL, OWN
from postil.index.rowsets import rows_of
from postil.store.base import Queries


class Engine:
    """Answers with annotation rows in order.

    Args:
        catalogs: What annotations say.
        indexes: Nearest neighbours by space.
    """

    def __init__(self, catalogs: Catalogs, indexes: Indexes) -> None:
        self._catalogs = catalogs
        self._indexes = indexes
        self._members = DatasetMembers()

    def domain(self, call: Call, queries: Queries, query: Query, trace: Trace, *, by_input: bool) -> BitMap:
        """The annotations that may be hits. Raises Failure."""
        call.check()
        lookup = StoreLookup(
            queries,
            self._catalogs,
            call.app,
            call.user_id,
            query.language,
            expand=query.expand_hyponyms,
            members=self._members,
        )
        prepared = allowed.prepare(query.filters, lookup)
        narrow = allowed.of_inputs if by_input else allowed.of_annotations
        with self._catalogs.hold(call.app.row) as catalog:
            found = narrow(catalog, prepared, query.as_of_us)
            rows = BitMap(catalog.all) if found is None else found
        trace.note("filter", len(rows))
        return rows

    def page(
        self,
        app: int,
        query: Query,
        domain: BitMap,
        targets: Sequence[Target],
        page: Page,
        trace: Trace,
        *,
        by_input: bool,
    ) -> Ordered:
        """One page of the domain, in order."""
        if targets:
            ranking = self._ranking(app, query, domain, targets, trace)
            ordered = ranking.page(page.offset + page.limit, query.min_value, by_input=by_input)
            return Ordered(ordered.rows[page.offset :], ordered.scores[page.offset :])
        if query.min_value > EVERYTHING:
            return Ordered(np.empty(0, np.int64), np.empty(0, np.float32))
        rows = self._oldest(app, domain, by_input=by_input)[page.offset : page.offset + page.limit]
        trace.note("list", len(rows))
        return Ordered(rows, np.full(len(rows), EVERYTHING, np.float32))

    def count(
        self, app: int, query: Query, domain: BitMap, targets: Sequence[Target], trace: Trace, *, by_input: bool
    ) -> int:
        """How many hits there are in all; exact."""
        if targets:
            ranking = self._ranking(app, query, domain, targets, trace)
            return ranking.count(query.min_value, by_input=by_input)
        return len(self._oldest(app, domain, by_input=by_input)) if query.min_value <= EVERYTHING else 0

    def own(self, app: int, rows: Sequence[int]) -> list[int]:
        """Those of the annotations that are their own anchors."""
        with self._catalogs.hold(app) as catalog:
            own = catalog.marked(OWN)
            return [row for row in rows if row in own]

    def _oldest(self, app: int, domain: BitMap, *, by_input: bool) -> Rows:
        """The domain in order of creation; of each input its oldest annotation, in order of the inputs."""
        rows = rows_of(domain)
        if not by_input or not len(rows):
            return rows
        with self._catalogs.hold(app) as catalog:
            if len(domain - catalog.marked(LEVEL)) == 0:
                return rows
            levels = catalog.level_of(rows)
        _, first = np.unique(levels, return_index=True)  # ascending by level, which is as old as its input
        found: Rows = rows[first]
        return found

    def _ranking(self, app: int, query: Query, domain: BitMap, targets: Sequence[Target], trace: Trace) -> Ranking:
        criteria = [
            Criterion(rank.weight, target.best, target.worst, self._evidence(target, query, trace))
            for rank, target in zip(query.ranks, targets, strict=True)
        ]
        return Ranking(partial(self._catalogs.hold, app), criteria, domain, exact=query.exact, trace=trace)

    def _evidence(self, target: Target, query: Query, trace: Trace) -> Callable[[], Evidence | None]:
        @cache
        def ask() -> Evidence | None:
            if target.predicted is not None:
                return Said(target.predicted, flip=target.flip)
            if target.head is not None:
                held = self._indexes.space(target.head.space.row)
                flip, exact = target.flip, query.exact
                ask_of = partial(head_evidence.evidence, flip=flip, exact=exact, observe=trace.walked)
                return ask_of(held, target.head) if held is not None else None
            point = target.point()
            index = self._indexes.space(point.space.row) if point is not None else None
            if point is None or index is None:
                return None
            return Nearness(index, point, query.metric, flip=target.flip, exact=query.exact, observe=trace.walked)

        return ask
