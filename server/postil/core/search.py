"""Searches: a rank becomes a query vector, the index gives anchors, the store gives their bytes, and a page is framed.

A search's unit is the annotation (`PostAnnotationsSearches`) or the input with its best annotation
(`PostInputsSearches`). The path is: `query.py` reads the message, `targets.py` and `query_vectors.py` find where to
look, `candidates.py` puts hits in order, `hits.py` frames them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice

from postil.core import candidates, hits, ids, pages
from postil.core.call import Call
from postil.core.candidates import Candidates, Near, nearest
from postil.core.hit_cache import HitCache
from postil.core.hit_reader import HitReader, Scored
from postil.core.query import Query, read_query
from postil.core.query_vectors import QueryVectors
from postil.core.ranks import ByConcept, ByInput, ByPicture, ByText, ByVector, Rank, invalid
from postil.core.scores import EVERYTHING
from postil.core.search_log import Request, SearchLog
from postil.core.targets import Point, Resolver, Target, fixed, point_in
from postil.errors import Failure
from postil.index.base import Indexes, Plan
from postil.store.base import Queries, Store
from postil.v1.search_service_pb2 import PostAnnotationsSearchesRequest, PostInputsSearchesRequest
from postil.v1.status_code_pb2 import StatusCode

MAX_SEARCHES = 128  # in one call

_Unit = Callable[[Iterator[Scored]], Iterator[Scored]]
_Listing = Callable[[HitReader, int, int], list[Scored]]


def _ignore(plan: Plan) -> None:
    del plan


class Searches:
    """What PostAnnotationsSearches and PostInputsSearches mean.

    Args:
        store: Where annotations and inputs are read.
        indexes: Nearest neighbours by space.
        query_vectors: Embeds query pictures and texts.
        observe: Told of the plan of each walk through an index, for metrics.
        log: Takes note of every search that ran; by default none is kept.
    """

    def __init__(
        self,
        store: Store,
        indexes: Indexes,
        query_vectors: QueryVectors,
        observe: Callable[[Plan], None] = _ignore,
        log: SearchLog | None = None,
    ) -> None:
        self._store = store
        self._indexes = indexes
        self._query_vectors = query_vectors
        self._observe = observe
        self._log = log or SearchLog(store, days=0)
        self._cache = HitCache()
        store.subscribe(self._cache.apply)

    def annotations(self, call: Call, request: PostAnnotationsSearchesRequest) -> bytes:
        """A serialized MultiSearchResponse: one hit per annotation. Raises Failure."""
        return self._answer(call, request, iter, HitReader.all_annotations)

    def inputs(self, call: Call, request: PostInputsSearchesRequest) -> bytes:
        """A serialized MultiSearchResponse: one hit per input, with its best annotation. Raises Failure."""
        if request.only_count:
            raise Failure(
                StatusCode.SEARCH_COUNTS_UNAVAILABLE,
                "only_count: hits are not counted yet; leave it out to get the hits themselves.",
            )
        return self._answer(call, request, candidates.one_per_input, HitReader.all_inputs)

    def _answer(self, call: Call, request: Request, unit: _Unit, listing: _Listing) -> bytes:
        page, searches = pages.of_search(request.pagination), request.searches
        if not 1 <= len(searches) <= MAX_SEARCHES:
            raise invalid(f"searches[] has {len(searches)} items; send one (up to {MAX_SEARCHES} are run in turn)")
        queries, sequence = self._store.read(), self._store.committed
        reader = HitReader(queries, self._cache, call.app)
        found: list[Scored] = []
        for i, search in enumerate(searches):
            query = read_query(search, f"searches[{i}]")
            if query.rank is not None:
                target = self._target(call, queries, query, query.rank)
                found += self._ranked(reader, query, target, page, unit)
            elif query.min_value <= EVERYTHING:
                found += listing(reader, page.offset, page.limit)
        search_id = ids.new_id()
        answer = hits.response(call.request_id, search_id, found)
        self._log.record(call.app.row, search_id, sequence, request, page, found, len(answer))
        return answer

    def _ranked(self, reader: HitReader, query: Query, target: Target, page: pages.Page, unit: _Unit) -> list[Scored]:
        wanted = page.offset + page.limit
        k = candidates.band(wanted)
        while True:
            near = partial(self._near, query, k, flip=target.flip)
            tried = Candidates(reader, target, query, near, k, chunk=wanted)
            found = list(islice(unit(iter(tried)), page.offset, wanted))
            if len(found) == page.limit or tried.complete:
                return found
            k = candidates.grown(k)

    def _near(self, query: Query, k: int, point: Point, *, flip: bool) -> Near:
        return nearest(self._indexes, point, query, k, flip=flip, observe=self._observe)

    def _target(self, call: Call, queries: Queries, query: Query, rank: Rank) -> Target:
        spaces = self._cache.spaces(queries, call.app.row)
        resolver = Resolver(queries, call.app, spaces, self._query_vectors.space_of)
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
