"""The Suggestions service: one line per RPC, all meaning in `core/suggesting.py`."""

from __future__ import annotations

from google.protobuf.message import Message

from postil.core.call import Call
from postil.core.suggesting import Suggesting
from postil.v1.suggestion_service_pb2 import FindLabelErrorsRequest, SuggestInputsToLabelRequest


class SuggestionsServicer:
    """Methods are named as the RPCs; see the .proto for what each promises."""

    def __init__(self, suggesting: Suggesting) -> None:
        self._suggesting = suggesting

    def SuggestInputsToLabel(self, call: Call, request: SuggestInputsToLabelRequest) -> Message | bytes:
        return self._suggesting.inputs(call, request)

    def FindLabelErrors(self, call: Call, request: FindLabelErrorsRequest) -> Message | bytes:
        return self._suggesting.errors(call, request)
