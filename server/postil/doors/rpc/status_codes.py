"""The StatusCodes service: one line per RPC, all meaning in `core/codes.py`."""

from __future__ import annotations

from google.protobuf.message import Message

from postil.core.call import Call
from postil.core.codes import StatusCodes
from postil.v1.status_service_pb2 import (
    GetStatusCodeRequest,
    ListStatusCodesRequest,
)


class StatusCodesServicer:
    """Methods are named as the RPCs; see the .proto for what each promises."""

    def __init__(self, codes: StatusCodes) -> None:
        self._codes = codes

    def ListStatusCodes(self, call: Call, request: ListStatusCodesRequest) -> Message | bytes:
        return self._codes.list(call, request)

    def GetStatusCode(self, call: Call, request: GetStatusCodeRequest) -> Message | bytes:
        return self._codes.get(call, request)
