"""The Searches service: one line per RPC, all meaning in core."""

from __future__ import annotations

from google.protobuf.message import Message

from postil.core.annotation_filters import AnnotationFilters
from postil.core.call import Call
from postil.core.saved_searches import SavedSearches
from postil.core.search_calls import SearchCalls
from postil.v1.search_service_pb2 import (
    DeleteAnnotationFiltersRequest,
    DeleteSearchRequest,
    GetAnnotationFilterRequest,
    GetSearchRequest,
    ListAnnotationFiltersRequest,
    ListSearchesRequest,
    PatchAnnotationFiltersRequest,
    PatchAnnotationsSearchesRequest,
    PatchInputsSearchesRequest,
    PatchSearchesRequest,
    PostAnnotationFiltersRequest,
    PostAnnotationsSearchesRequest,
    PostInputsSearchesRequest,
    PostSearchesByIDRequest,
    PostSearchesRequest,
)


class SearchesServicer:
    """Methods are named as the RPCs; see the .proto for what each promises."""

    def __init__(self, searches: SearchCalls, saved: SavedSearches, filters: AnnotationFilters) -> None:
        self._searches = searches
        self._saved = saved
        self._filters = filters

    def PostAnnotationsSearches(self, call: Call, request: PostAnnotationsSearchesRequest) -> Message | bytes:
        return self._searches.annotations(call, request)

    def PostInputsSearches(self, call: Call, request: PostInputsSearchesRequest) -> Message | bytes:
        return self._searches.inputs(call, request)

    def PostSearches(self, call: Call, request: PostSearchesRequest) -> Message | bytes:
        return self._searches.older(call, request)

    def PostSearchesByID(self, call: Call, request: PostSearchesByIDRequest) -> Message | bytes:
        return self._searches.by_id(call, request)

    def GetSearch(self, call: Call, request: GetSearchRequest) -> Message | bytes:
        return self._saved.get(call, request)

    def ListSearches(self, call: Call, request: ListSearchesRequest) -> Message | bytes:
        return self._saved.list(call, request)

    def PatchSearches(self, call: Call, request: PatchSearchesRequest) -> Message | bytes:
        return self._saved.patch(call, request)

    def PatchInputsSearches(self, call: Call, request: PatchInputsSearchesRequest) -> Message | bytes:
        return self._saved.patch(call, request)

    def PatchAnnotationsSearches(self, call: Call, request: PatchAnnotationsSearchesRequest) -> Message | bytes:
        return self._saved.patch(call, request)

    def DeleteSearch(self, call: Call, request: DeleteSearchRequest) -> Message | bytes:
        return self._saved.delete(call, request)

    def PostAnnotationFilters(self, call: Call, request: PostAnnotationFiltersRequest) -> Message | bytes:
        return self._filters.post(call, request)

    def GetAnnotationFilter(self, call: Call, request: GetAnnotationFilterRequest) -> Message | bytes:
        return self._filters.get(call, request)

    def ListAnnotationFilters(self, call: Call, request: ListAnnotationFiltersRequest) -> Message | bytes:
        return self._filters.list(call, request)

    def PatchAnnotationFilters(self, call: Call, request: PatchAnnotationFiltersRequest) -> Message | bytes:
        return self._filters.patch(call, request)

    def DeleteAnnotationFilters(self, call: Call, request: DeleteAnnotationFiltersRequest) -> Message | bytes:
        return self._filters.delete(call, request)
