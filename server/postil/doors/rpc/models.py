"""The Models service: one line per RPC, all meaning in `core/models.py`, `own_models.py`, `own_versions.py` and
`predicting.py`."""

from __future__ import annotations

from google.protobuf.message import Message

from postil.core.call import Call
from postil.core.models import Models
from postil.core.own_models import OwnModels
from postil.core.own_versions import OwnVersions
from postil.core.predicting import Predicting
from postil.v1.concept_service_pb2 import ListModelConceptsRequest
from postil.v1.model_service_pb2 import (
    DeleteModelRequest,
    DeleteModelsRequest,
    DeleteModelVersionRequest,
    GetModelRequest,
    GetModelTypeRequest,
    GetModelVersionRequest,
    ListModelsRequest,
    ListModelTypesRequest,
    ListModelVersionsRequest,
    PatchModelsRequest,
    PatchModelVersionsRequest,
    PostModelOutputsRequest,
    PostModelsRequest,
    PostModelsSearchesRequest,
    PostModelVersionsRequest,
)


class ModelsServicer:
    """Methods are named as the RPCs; see the .proto for what each promises."""

    def __init__(self, models: Models, predicting: Predicting, own: OwnModels, versions: OwnVersions) -> None:
        self._models = models
        self._predicting = predicting
        self._own = own
        self._versions = versions

    def PostModelOutputs(self, call: Call, request: PostModelOutputsRequest) -> Message | bytes:
        return self._predicting.outputs(call, request)

    def GetModelOutputInfo(self, call: Call, request: GetModelRequest) -> Message | bytes:
        return self._models.output_info(call, request)

    def PostModelsSearches(self, call: Call, request: PostModelsSearchesRequest) -> Message | bytes:
        return self._models.search(call, request)

    def ListModelConcepts(self, call: Call, request: ListModelConceptsRequest) -> Message | bytes:
        return self._models.concepts(call, request)

    def ListModels(self, call: Call, request: ListModelsRequest) -> Message | bytes:
        return self._models.list(call, request)

    def GetModel(self, call: Call, request: GetModelRequest) -> Message | bytes:
        return self._models.get(call, request)

    def ListModelVersions(self, call: Call, request: ListModelVersionsRequest) -> Message | bytes:
        return self._models.versions(call, request)

    def GetModelVersion(self, call: Call, request: GetModelVersionRequest) -> Message | bytes:
        return self._models.version(call, request)

    def ListModelTypes(self, call: Call, request: ListModelTypesRequest) -> Message | bytes:
        return self._models.types(call, request)

    def GetModelType(self, call: Call, request: GetModelTypeRequest) -> Message | bytes:
        return self._models.type(call, request)

    def PostModels(self, call: Call, request: PostModelsRequest) -> Message | bytes:
        return self._own.post(call, request)

    def PatchModels(self, call: Call, request: PatchModelsRequest) -> Message | bytes:
        return self._own.patch(call, request)

    def DeleteModel(self, call: Call, request: DeleteModelRequest) -> Message | bytes:
        return self._own.delete(call, request)

    def DeleteModels(self, call: Call, request: DeleteModelsRequest) -> Message | bytes:
        return self._own.delete_many(call, request)

    def PostModelVersions(self, call: Call, request: PostModelVersionsRequest) -> Message | bytes:
        return self._versions.post(call, request)

    def PatchModelVersions(self, call: Call, request: PatchModelVersionsRequest) -> Message | bytes:
        return self._versions.patch(call, request)

    def DeleteModelVersion(self, call: Call, request: DeleteModelVersionRequest) -> Message | bytes:
        return self._versions.delete(call, request)
