"""The Inputs service: one line per RPC, all meaning in `core/inputs.py`."""

from __future__ import annotations

from google.protobuf.message import Message

from postil.core.call import Call
from postil.core.inputs import Inputs
from postil.v1.input_service_pb2 import (
    CancelInputsAddJobRequest,
    DeleteInputRequest,
    DeleteInputsRequest,
    GetInputCountRequest,
    GetInputRequest,
    GetInputsAddJobRequest,
    ListInputsAddJobsRequest,
    ListInputsRequest,
    PatchInputsRequest,
    PostInputsRequest,
    StreamInputsRequest,
)


class InputsServicer:
    """Methods are named as the RPCs; see the .proto for what each promises."""

    def __init__(self, inputs: Inputs) -> None:
        self._inputs = inputs

    def PostInputs(self, call: Call, request: PostInputsRequest) -> Message | bytes:
        return self._inputs.post(call, request)

    def GetInput(self, call: Call, request: GetInputRequest) -> Message | bytes:
        return self._inputs.get(call, request)

    def ListInputs(self, call: Call, request: ListInputsRequest) -> Message | bytes:
        return self._inputs.list(call, request)

    def StreamInputs(self, call: Call, request: StreamInputsRequest) -> Message | bytes:
        return self._inputs.stream(call, request)

    def PatchInputs(self, call: Call, request: PatchInputsRequest) -> Message | bytes:
        return self._inputs.patch(call, request)

    def DeleteInput(self, call: Call, request: DeleteInputRequest) -> Message | bytes:
        return self._inputs.delete_one(call, request)

    def DeleteInputs(self, call: Call, request: DeleteInputsRequest) -> Message | bytes:
        return self._inputs.delete_many(call, request)

    def GetInputCount(self, call: Call, request: GetInputCountRequest) -> Message | bytes:
        return self._inputs.count(call, request)

    def ListInputsAddJobs(self, call: Call, request: ListInputsAddJobsRequest) -> Message | bytes:
        return self._inputs.list_jobs(call, request)

    def GetInputsAddJob(self, call: Call, request: GetInputsAddJobRequest) -> Message | bytes:
        return self._inputs.get_job(call, request)

    def CancelInputsAddJob(self, call: Call, request: CancelInputsAddJobRequest) -> Message | bytes:
        return self._inputs.cancel_job(call, request)
