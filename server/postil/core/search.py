"""Searches: a rank becomes a query vector, the index gives anchors, the store gives their bytes, and a page is framed.

A search's unit is the annotation (`PostAnnotationsSearches`) or the input with its best annotation
(`PostInputsSearches`). The path is: `query.py` reads the message, `targets.py` and `query_vectors.py` find where to
look, `candidates.py` puts hits in order, `hits.py` frames them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from operator import attrgetter

from postil.core import candidates, hits, ids, pages
from postil.core.call import Call
from postil.core.candidates import Candidates, nearest
from postil.core.engine import Engine
from postil.core.head_shelf import HeadShelf
from postil.core.hit_cache import HitCache
from postil.core.hit_reader import HitReader, Scored
from postil.core.labelled import Labelled
from postil.core.learning import Learning, Lessons, key_of
from postil.core.learning_trails import Trail
from postil.core.query import Query, read_query
from postil.core.query_vectors import QueryVectors
from postil.core.ranks import ByConcept, ByInput, ByPicture, ByText, ByVector, Rank, invalid
from postil.core.search_log import Request, SearchLog
from postil.core.targets import Resolver, Target, fixed, point_in
from postil.core.tracing import Trace
from postil.index import planner
from postil.index.base import Indexes, Plan
from postil.index.catalogs import Catalogs
from postil.store.base import Queries, Store
from postil.v1.search_pb2 import Search, SearchDebug
from postil.v1.search_service_pb2 import PostAnnotationsSearchesRequest, PostInputsSearchesRequest

MAX_SEARCHES = 128  # in one call

_hit: Callable[[Scored], hits.Framed] = attrgetter("hit")
_Unit = Callable[[Iterator[Scored]], Iterator[Scored]]


def _ignore(plan: Plan) -> None:
    del plan


class Searches:
    """What PostAnnotationsSearches and PostInputsSearches mean.

    Args:
        store: Where annotations and inputs are read.
        indexes: Nearest neighbours by space.
        catalogs: What annotations say.
        query_vectors: Embeds query pictures and texts.
        observe: Told of the plan of each walk through an index, for metrics.
        log: Takes note of every search that ran; by default none is kept.
        learning: What clicks on earlier hits have taught.
        shelf: What models of apps' own have learned.
    """

    def __init__(
        self,
        store: Store,
        indexes: Indexes,
        catalogs: Catalogs,
        query_vectors: QueryVectors,
        observe: Callable[[Plan], None] = _ignore,
        log: SearchLog | None = None,
        learning: Learning | None = None,
        shelf: HeadShelf | None = None,
    ) -> None:
        self._shelf = shelf or HeadShelf(store)
        self._store = store
        self._indexes = indexes
        self._query_vectors = query_vectors
        self._observe = observe
        self._log = log or SearchLog(store, days=0)
        self._learning = learning or Learning(store)
        self._cache = HitCache()
        self._engine = Engine(catalogs, indexes)
        self._labelled = Labelled(catalogs, indexes)
        store.subscribe(self._cache.apply)

    def annotations(self, call: Call, request: PostAnnotationsSearchesRequest) -> bytes:
        """A serialized MultiSearchResponse: one hit per annotation. Raises Failure."""
        return self._answer(call, request, by_input=False)

    def inputs(self, call: Call, request: PostInputsSearchesRequest) -> bytes:
        """A serialized MultiSearchResponse: one hit per input, with its best annotation. Raises Failure."""
        if request.only_count:
            return self._count(call, request)
        return self._answer(call, request, by_input=True)

    def _answer(self, call: Call, request: Request, *, by_input: bool) -> bytes:
        page, sequence = pages.of_search(request.pagination), self._store.committed
        lessons = self._learning.begin(call.app, self._store.read())
        reader = HitReader(lessons.queries, self._cache, call.app)
        told: list[SearchDebug] = []

        def each() -> Iterator[Scored]:
            for query in _queries(request):
                call.check()
                trace = Trace(self._observe)
                yield from self._page(call, reader, lessons, query, page, trace, by_input=by_input)
                if query.debug:
                    told.append(trace.message())

        found = hits.within(lessons.queries.room, each(), _hit)
        search_id = ids.new_id()
        lessons.remember(search_id)
        answer = hits.response(call.request_id, search_id, lessons.noted(found), told, self._indexes.lost(call.app.row))
        self._log.record(call.app.row, search_id, sequence, request, page, found, len(answer))
        return answer

    def trail(self, call: Call, request: Request) -> Trail | None:
        """Where a request for one search by one thing looks, before any learning; None for others. Raises Failure."""
        queries, read = self._store.read(), _queries(request)
        if len(read) != 1 or len(read[0].ranks) != 1:
            return None
        rank = read[0].ranks[0]
        point = self._target(call, queries, read[0], rank).point()
        return Trail(key_of(rank), point) if point else None

    def _count(self, call: Call, request: PostInputsSearchesRequest) -> bytes:
        """How many inputs each search finds in all."""
        queries = self._store.read()
        counts: list[int] = []
        told: list[SearchDebug] = []
        for query in _queries(request):
            trace = Trace(self._observe)
            targets = [self._target(call, queries, query, rank) for rank in query.ranks]
            domain = self._engine.domain(call, queries, query, trace, by_input=True)
            counts.append(self._engine.count(call.app.row, query, domain, targets, trace, by_input=True))
            if query.debug:
                told.append(trace.message())
        return hits.counted(call.request_id, ids.new_id(), counts, told)

    def every(self, call: Call, search: Search, where: str) -> Sequence[int]:
        """An annotation (row) of each input that a search finds, however many they are. Raises Failure."""
        queries, trace, query = self._store.read(), Trace(self._observe), read_query(search, where)
        targets = [self._target(call, queries, query, rank) for rank in query.ranks]
        domain = self._engine.domain(call, queries, query, trace, by_input=True)
        page = pages.Page(1, max(1, len(domain)))
        rows: list[int] = self._engine.page(
            call.app.row, query, domain, targets, page, trace, by_input=True
        ).rows.tolist()
        return rows

    def passing(self, call: Call, queries: Queries, search: Search, where: str) -> Sequence[int]:
        """The annotations (rows) that pass the filters of a search. Raises Failure."""
        query = read_query(search, where)
        return list(self._engine.domain(call, queries, query, Trace(self._observe), by_input=False))

    def _page(
        self,
        call: Call,
        reader: HitReader,
        lessons: Lessons,
        query: Query,
        page: pages.Page,
        trace: Trace,
        *,
        by_input: bool,
    ) -> list[Scored]:
        queries = lessons.queries
        targets = [lessons.target(query, rank, self._target(call, queries, query, rank)) for rank in query.ranks]
        trace.note("query", len(targets))
        if query.rank is not None and not isinstance(query.rank.subject, ByConcept):
            return self._nearest(reader, query, targets[0], page, trace, queries.room, by_input=by_input)
        domain = self._engine.domain(call, queries, query, trace, by_input=by_input)
        ordered = self._engine.page(call.app.row, query, domain, targets, page, trace, by_input=by_input)
        rows = ordered.rows.tolist()
        shown = reader.of_rows(rows, self._engine.own(call.app.row, rows))
        trace.note("read", len(shown))
        pairs = zip(rows, ordered.scores.tolist(), strict=True)
        return [Scored(score, shown[row]) for row, score in pairs if row in shown]

    def _nearest(
        self,
        reader: HitReader,
        query: Query,
        target: Target,
        page: pages.Page,
        trace: Trace,
        room: int,
        *,
        by_input: bool,
    ) -> list[Scored]:
        """The short way of one rank over everything that labels have no say in."""
        unit: _Unit = candidates.one_per_input if by_input else iter
        wanted = page.offset + page.limit
        k = planner.band(wanted)
        point = target.point()
        if point is None:
            return []
        while True:
            near = nearest(self._indexes, point, query, k, flip=target.flip, observe=trace.walked)
            ordered = unit(iter(Candidates(reader, near, wanted, alone=by_input)))
            found = hits.within(room, islice(ordered, page.offset, wanted), _hit)
            trace.note("nearest", len(near.anchors))
            if len(found) == page.limit or near.complete:
                return found
            k = candidates.grown(k)

    def _target(self, call: Call, queries: Queries, query: Query, rank: Rank) -> Target:
        spaces = self._cache.spaces(queries, call.app.row)
        resolver = Resolver(queries, call.app, spaces, self._query_vectors.space_of, self._labelled, self._shelf)
        subject = rank.subject
        match subject:
            case ByVector():
                return resolver.vector(subject, rank)
            case ByConcept():
                return resolver.concept(subject, rank, query)
            case ByInput():
                return resolver.input(subject, rank)
            case ByPicture():
                spec, vector = self._query_vectors.picture(subject, rank, call)
            case ByText():
                spec, vector = self._query_vectors.text(subject, rank, call)
        space = resolver.space(spec.version_id)
        return fixed(point_in(space, vector, rank.where) if space else None, flip=rank.flip)


def _queries(request: Request) -> list[Query]:
    """The searches, read. Raises Failure 40002."""
    searches = request.searches
    if not 1 <= len(searches) <= MAX_SEARCHES:
        raise invalid(f"searches[] has {len(searches)} items; send one (up to {MAX_SEARCHES} are run in turn)")
    return [read_query(search, f"searches[{i}]") for i, search in enumerate(searches)]
