"""The Concepts service: one line per RPC, all meaning in core."""

from __future__ import annotations

from google.protobuf.message import Message

from postil.core.call import Call
from postil.core.concept_languages import ConceptLanguages
from postil.core.concepts import Concepts
from postil.core.knowledge_graphs import KnowledgeGraphs
from postil.core.relations import Relations
from postil.v1.concept_service_pb2 import (
    DeleteConceptRelationsRequest,
    GetConceptCountsRequest,
    GetConceptLanguageRequest,
    GetConceptRequest,
    ListConceptLanguagesRequest,
    ListConceptRelationsRequest,
    ListConceptsRequest,
    ListKnowledgeGraphsRequest,
    PatchConceptLanguagesRequest,
    PatchConceptsRequest,
    PostConceptLanguagesRequest,
    PostConceptRelationsRequest,
    PostConceptsRequest,
    PostConceptsSearchesRequest,
    PostKnowledgeGraphsRequest,
)


class ConceptsServicer:
    """Methods are named as the RPCs; see the .proto for what each promises."""

    def __init__(
        self, concepts: Concepts, languages: ConceptLanguages, relations: Relations, graphs: KnowledgeGraphs
    ) -> None:
        self._concepts = concepts
        self._languages = languages
        self._relations = relations
        self._graphs = graphs

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

    def PostConceptLanguages(self, call: Call, request: PostConceptLanguagesRequest) -> Message | bytes:
        return self._languages.post(call, request)

    def GetConceptLanguage(self, call: Call, request: GetConceptLanguageRequest) -> Message | bytes:
        return self._languages.get(call, request)

    def ListConceptLanguages(self, call: Call, request: ListConceptLanguagesRequest) -> Message | bytes:
        return self._languages.list(call, request)

    def PatchConceptLanguages(self, call: Call, request: PatchConceptLanguagesRequest) -> Message | bytes:
        return self._languages.patch(call, request)

    def PostConceptRelations(self, call: Call, request: PostConceptRelationsRequest) -> Message | bytes:
        return self._relations.post(call, request)

    def ListConceptRelations(self, call: Call, request: ListConceptRelationsRequest) -> Message | bytes:
        return self._relations.list(call, request)

    def DeleteConceptRelations(self, call: Call, request: DeleteConceptRelationsRequest) -> Message | bytes:
        return self._relations.delete(call, request)

    def PostKnowledgeGraphs(self, call: Call, request: PostKnowledgeGraphsRequest) -> Message | bytes:
        return self._graphs.post(call, request)

    def ListKnowledgeGraphs(self, call: Call, request: ListKnowledgeGraphsRequest) -> Message | bytes:
        return self._graphs.list(call, request)
