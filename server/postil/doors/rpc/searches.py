"""The Searches service: one line per RPC, all meaning in `core/search.py`."""

from __future__ import annotations

from google.protobuf.message import Message

from postil.core.call import Call
from postil.core.search import Searches
from postil.v1.search_service_pb2 import (
    PostAnnotationsSearchesRequest,
    PostInputsSearchesRequest,
)


class SearchesServicer:
    """Methods are named as the RPCs; see the .proto for what each promises."""

    def __init__(self, searches: Searches) -> None:
        self._searches = searches

    def PostAnnotationsSearches(self, call: Call, request: PostAnnotationsSearchesRequest) -> Message | bytes:
        return self._searches.annotations(call, request)

    def PostInputsSearches(self, call: Call, request: PostInputsSearchesRequest) -> Message | bytes:
        return self._searches.inputs(call, request)
