"""The one exception of the client: a call, or some items of it, did not succeed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

from postil.v1.status_code_pb2 import StatusCode
from postil.v1.status_pb2 import Status


class HasStatus(Protocol):
    """A message that carries its own status: every response, and inputs and annotations within one."""

    @property
    def status(self) -> Status: ...


ItemT = TypeVar("ItemT", bound=HasStatus)

# What an item's status is when the server did what was asked; pending means accepted, processing to follow.
GOOD_ITEM = frozenset(
    {
        StatusCode.SUCCESS,
        StatusCode.INPUT_SUCCESS,
        StatusCode.INPUT_PENDING,
        StatusCode.INPUT_IN_PROGRESS,
        StatusCode.INPUT_MODIFY_SUCCESS,
        StatusCode.ANNOTATION_SUCCESS,
        StatusCode.ANNOTATION_PENDING,
        StatusCode.ANNOTATION_AWAITING_REVIEW,
        StatusCode.ANNOTATION_AWAITING_CONSENSUS_REVIEW,
        StatusCode.ANNOTATION_REVIEW_DENIED,
        StatusCode.ANNOTATION_MODIFY_SUCCESS,
    }
)


class PostilError(Exception, Generic[ItemT]):
    """The server answered with a status other than SUCCESS.

    Transport failures (no server, deadline passed, message too large) are `grpc.RpcError` instead.

    Attributes:
        code: The number to test, a `postil.v1.status_code_pb2.StatusCode`.
        description: The code in words, always the same for one code.
        details: Which item or argument is at fault, and what to do.
        req_id: Names the call in the server's log.
        items: For a call about several things, each thing as the server answered it, in the order sent, with a
            status of its own; empty when the call failed as a whole before any was kept.
    """

    def __init__(self, status: Status, items: Sequence[ItemT] = ()) -> None:
        self.code: int = status.code
        self.description = status.description
        self.details = status.details
        self.req_id = status.req_id
        self.items = list(items)
        super().__init__(self._text())

    @property
    def failed(self) -> list[ItemT]:
        """The items that were not kept."""
        return [item for item in self.items if item.status.code not in GOOD_ITEM]

    @property
    def succeeded(self) -> list[ItemT]:
        """The items that were kept although others were not."""
        return [item for item in self.items if item.status.code in GOOD_ITEM]

    def _text(self) -> str:
        text = f"{self.code} {self.description}"
        if self.details:
            text += f": {self.details}"
        failed = self.failed
        if failed:
            first = failed[0].status
            text += f" [{len(failed)} of {len(self.items)} items failed; first: {first.code} {first.details}]"
        return f"{text} (req_id {self.req_id})" if self.req_id else text


def check(response: HasStatus) -> None:
    """Raises PostilError unless the response says SUCCESS."""
    if response.status.code != StatusCode.SUCCESS:
        raise PostilError(response.status)
