"""The Concepts service: one line per RPC, all meaning in `core/concepts.py`."""

from __future__ import annotations

from google.protobuf.message import Message

from postil.core.call import Call
from postil.core.concepts import Concepts
from postil.v1.concept_service_pb2 import (
    GetConceptCountsRequest,
    GetConceptRequest,
    ListConceptsRequest,
    PatchConceptsRequest,
    PostConceptsRequest,
    PostConceptsSearchesRequest,
)


class ConceptsServicer:
    """Methods are named as the RPCs; see the .proto for what each promises."""

    def __init__(self, concepts: Concepts) -> None:
        self._concepts = concepts

    def PostConcepts(self, call: Call, request: PostConceptsRequest) -> Message | bytes:
        return self._concepts.post(call, request)

    def GetConcept(self, call: Call, request: GetConceptRequest) -> Message | bytes:
        return self._concepts.get(call, request)

    def ListConcepts(self, call: Call, request: ListConceptsRequest) -> Message | bytes:
        return self._concepts.list(call, request)

    def PatchConcepts(self, call: Call, request: PatchConceptsRequest) -> Message | bytes:
        return self._concepts.patch(call, request)

    def PostConceptsSearches(self, call: Call, request: PostConceptsSearchesRequest) -> Message | bytes:
        return self._concepts.search(call, request)

    def GetConceptCounts(self, call: Call, request: GetConceptCountsRequest) -> Message | bytes:
        return self._concepts.counts(call, request)
