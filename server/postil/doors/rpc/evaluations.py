"""The Evaluations service: one line per RPC, all meaning in `core/evaluations.py`."""

from __future__ import annotations

from google.protobuf.message import Message

from postil.core.call import Call
from postil.core.evaluations import Evaluations
from postil.v1.evaluation_service_pb2 import (
    GetModelVersionEvaluationRequest,
    GetModelVersionMetricsRequest,
    ListModelVersionEvaluationsRequest,
    PostModelVersionEvaluationsRequest,
    PostModelVersionMetricsRequest,
)


class EvaluationsServicer:
    """Methods are named as the RPCs; see the .proto for what each promises."""

    def __init__(self, evaluations: Evaluations) -> None:
        self._evaluations = evaluations

    def PostModelVersionMetrics(self, call: Call, request: PostModelVersionMetricsRequest) -> Message | bytes:
        return self._evaluations.post_metrics(call, request)

    def GetModelVersionMetrics(self, call: Call, request: GetModelVersionMetricsRequest) -> Message | bytes:
        return self._evaluations.get_metrics(call, request)

    def PostModelVersionEvaluations(self, call: Call, request: PostModelVersionEvaluationsRequest) -> Message | bytes:
        return self._evaluations.post(call, request)

    def ListModelVersionEvaluations(self, call: Call, request: ListModelVersionEvaluationsRequest) -> Message | bytes:
        return self._evaluations.list(call, request)

    def GetModelVersionEvaluation(self, call: Call, request: GetModelVersionEvaluationRequest) -> Message | bytes:
        return self._evaluations.get(call, request)
