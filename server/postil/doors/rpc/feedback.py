"""The Feedback service: one line per RPC, all meaning in core."""

from __future__ import annotations

from google.protobuf.message import Message

from postil.core.call import Call
from postil.core.feedback import Feedbacks
from postil.core.search_quality import Quality
from postil.v1.feedback_service_pb2 import (
    DeleteFeedbackRequest,
    GetSearchQualityRequest,
    ListFeedbackRequest,
    PostModelFeedbackRequest,
    PostSearchFeedbackRequest,
)


class FeedbackServicer:
    """Methods are named as the RPCs; see the .proto for what each promises."""

    def __init__(self, feedbacks: Feedbacks, quality: Quality) -> None:
        self._feedbacks = feedbacks
        self._quality = quality

    def PostModelFeedback(self, call: Call, request: PostModelFeedbackRequest) -> Message | bytes:
        return self._feedbacks.annotation(call, request)

    def PostSearchFeedback(self, call: Call, request: PostSearchFeedbackRequest) -> Message | bytes:
        return self._feedbacks.click(call, request)

    def ListFeedback(self, call: Call, request: ListFeedbackRequest) -> Message | bytes:
        return self._feedbacks.list(call, request)

    def DeleteFeedback(self, call: Call, request: DeleteFeedbackRequest) -> Message | bytes:
        return self._feedbacks.delete(call, request)

    def GetSearchQuality(self, call: Call, request: GetSearchQualityRequest) -> Message | bytes:
        return self._quality.get(call, request)
