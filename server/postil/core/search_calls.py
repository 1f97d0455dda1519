"""The calls that search: to keep it, to run it, or to run one that was kept.

The engine (`core/search.py`) runs searches for annotations or for inputs, in filters and ranks. Here the rest is
brought into that form: searches to be saved go to `core/saved_searches.py`, older ones are translated (`core/ands.py`),
and the id of a search that ran shows its hits again (`core/search_log.py`).
"""

from __future__ import annotations

import copy
from collections.abc import Iterable

from google.protobuf.message import Message

from postil.core import hits, saved_searches
from postil.core.ands import Translation, translate
from postil.core.call import Call
from postil.core.ranks import invalid
from postil.core.saved_searches import Saved, SavedSearches
from postil.core.search import Searches
from postil.core.search_log import SearchLog
from postil.core.wire import framed, key
from postil.errors import Failure
from postil.v1.common_pb2 import Pagination
from postil.v1.search_pb2 import Query, Search
from postil.v1.search_service_pb2 import (
    MultiSearchResponse,
    PostAnnotationsSearchesRequest,
    PostInputsSearchesRequest,
    PostSearchesByIDRequest,
    PostSearchesRequest,
)

_QUERY_TAG = key(MultiSearchResponse.DESCRIPTOR, "query")


class SearchCalls:
    """What the Post…Searches calls mean.

    Args:
        engine: Runs searches.
        saved: Keeps them.
        log: What ran.
    """

    def __init__(self, engine: Searches, saved: SavedSearches, log: SearchLog) -> None:
        self._engine = engine
        self._saved = saved
        self._log = log

    def annotations(self, call: Call, request: PostAnnotationsSearchesRequest) -> Message | bytes:
        """One hit per annotation; or the searches, when they are to be saved. Raises Failure."""
        if _to_save(request.searches):
            return self._saved.post(call, "PostAnnotationsSearches", request.searches)
        return self._engine.annotations(call, request)

    def inputs(self, call: Call, request: PostInputsSearchesRequest) -> Message | bytes:
        """One hit per input; or the searches, when they are to be saved. Raises Failure."""
        if _to_save(request.searches):
            return self._saved.post(call, "PostInputsSearches", request.searches)
        return self._engine.inputs(call, request)

    def older(self, call: Call, request: PostSearchesRequest) -> Message | bytes:
        """One hit per input, by ands; or the searches, when they are to be saved. Raises Failure."""
        if request.searches and request.HasField("query"):
            raise invalid("query and searches[] are both given; send one of them")
        if _to_save(request.searches):
            return self._saved.post(call, "PostSearches", request.searches)
        if request.searches:
            return self._older(call, request.searches, request.pagination)
        answer = self._older(call, [Search(query=request.query)], request.pagination, "query")
        return answer + framed(_QUERY_TAG, _without_bytes(request.query).SerializeToString())

    def by_id(self, call: Call, request: PostSearchesByIDRequest) -> Message | bytes:
        """Runs a saved search, or shows again what one that ran had shown. Raises Failure."""
        saved = self._saved.find(call, request.id)
        return self._run(call, saved, request.pagination) if saved else self._again(call, request)

    def _run(self, call: Call, saved: Saved, pagination: Pagination) -> bytes:
        search = saved.search
        search.save = False
        if saved_searches.legacy(saved.endpoint):
            return self._older(call, [search], pagination)
        if saved.endpoint == "PostInputsSearches":
            return self._engine.inputs(call, PostInputsSearchesRequest(searches=[search], pagination=pagination))
        return self._engine.annotations(call, PostAnnotationsSearchesRequest(searches=[search], pagination=pagination))

    def _again(self, call: Call, request: PostSearchesByIDRequest) -> bytes:
        kept = self._log.find(call.app.row, request.id)
        shown = self._log.replay(call.app, request.id)
        if kept is None or shown is None:
            raise saved_searches.not_there(request.id, call)
        page = request.pagination
        if page.page not in {0, kept.page} or page.per_page not in {0, kept.per_page}:
            raise invalid(
                f"pagination: a search that ran is shown as it was, which is page {kept.page} with {kept.per_page} "
                "hits; leave pagination out"
            )
        return hits.response(call.request_id, request.id, shown)

    def _older(self, call: Call, searches: Iterable[Search], pagination: Pagination, sent: str = "") -> bytes:
        """Runs searches that may have ands, with failures told in terms of what was sent."""
        modern, translations = PostInputsSearchesRequest(pagination=pagination), []
        for i, search in enumerate(searches):
            translations.append(translate(search.query, f"searches[{i}].query", sent))
            made = modern.searches.add()
            made.CopyFrom(search)
            made.query.CopyFrom(translations[-1].query)
        try:
            return self._engine.inputs(call, modern)
        except Failure as failure:
            raise _retold(failure, translations) from failure


def _to_save(searches: Iterable[Search]) -> bool:
    """Whether they are all to be saved. The engine refuses those to be saved beside others."""
    flags = [search.save for search in searches]
    return bool(flags) and all(flags)


def _retold(failure: Failure, translations: Iterable[Translation]) -> Failure:
    for translation in translations:
        failure = translation.retold(failure)
    return failure


def _without_bytes(query: Query) -> Query:
    """The query without the bytes of its pictures."""
    lean = copy.deepcopy(query)
    for term in lean.ands:
        if term.output.input.data.image.base64:
            term.output.input.data.image.ClearField("base64")
    for rank in lean.ranks:
        if rank.annotation.data.image.base64:
            rank.annotation.data.image.ClearField("base64")
    return lean
