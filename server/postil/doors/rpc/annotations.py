"""The Annotations service: one line per RPC, all meaning in `core/annotations.py`."""

from __future__ import annotations

from google.protobuf.message import Message

from postil.core.annotations import Annotations
from postil.core.call import Call
from postil.v1.annotation_service_pb2 import (
    DeleteAnnotationRequest,
    DeleteAnnotationsRequest,
    GetAnnotationRequest,
    ListAnnotationsRequest,
    ListAnnotationWorkersRequest,
    PatchAnnotationsRequest,
    PostAnnotationsRequest,
)


class AnnotationsServicer:
    """Methods are named as the RPCs; see the .proto for what each promises."""

    def __init__(self, annotations: Annotations) -> None:
        self._annotations = annotations

    def PostAnnotations(self, call: Call, request: PostAnnotationsRequest) -> Message | bytes:
        return self._annotations.post(call, request)

    def GetAnnotation(self, call: Call, request: GetAnnotationRequest) -> Message | bytes:
        return self._annotations.get(call, request)

    def ListAnnotations(self, call: Call, request: ListAnnotationsRequest) -> Message | bytes:
        return self._annotations.list(call, request)

    def PatchAnnotations(self, call: Call, request: PatchAnnotationsRequest) -> Message | bytes:
        return self._annotations.patch(call, request)

    def DeleteAnnotation(self, call: Call, request: DeleteAnnotationRequest) -> Message | bytes:
        return self._annotations.delete_one(call, request)

    def DeleteAnnotations(self, call: Call, request: DeleteAnnotationsRequest) -> Message | bytes:
        return self._annotations.delete_many(call, request)

    def ListAnnotationWorkers(self, call: Call, request: ListAnnotationWorkersRequest) -> Message | bytes:
        return self._annotations.workers(call, request)
