"""Cuts long lists into calls that the server accepts, and puts the answers together again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar

from google.protobuf.message import Message

from postil.v1.status_code_pb2 import StatusCode
from postil.v1.status_pb2 import Status
from postil_client.errors import HasStatus, PostilError

MAX_ITEMS = 128  # in one call, by contract
MAX_BYTES = 16 << 20  # in one call, unless a single item is larger: keeps both ends' memory small

MessageT = TypeVar("MessageT", bound=Message)
ItemT = TypeVar("ItemT", bound="Item")


class Item(HasStatus, Protocol):
    """A message that goes out in a list and comes back with a status."""

    def ByteSize(self) -> int: ...  # noqa: N802 - protobuf's name


ValueT = TypeVar("ValueT")


def chunks(values: Iterable[ValueT], weigh: Callable[[ValueT], int] = lambda _: 0) -> Iterator[list[ValueT]]:
    """Groups of at most MAX_ITEMS values and MAX_BYTES of weight, in order; reads ahead by one value only."""
    chunk: list[ValueT] = []
    weight = 0
    for value in values:
        size = weigh(value)
        if chunk and (len(chunk) == MAX_ITEMS or weight + size > MAX_BYTES):
            yield chunk
            chunk, weight = [], 0
        chunk.append(value)
        weight += size
    if chunk:
        yield chunk


def post_all(items: Iterable[ItemT], post: Callable[[list[ItemT]], tuple[Status, list[ItemT]]]) -> list[ItemT]:
    """Posts items chunk by chunk and returns them as the server answered, in order.

    A chunk in which some items fail does not stop those after it: everything is sent, then one error tells of all.
    A chunk that fails as a whole, without a word on its items, ends it there.

    Raises:
        PostilError: With `items` as far as they got.
    """
    answered: list[ItemT] = []
    worst: Status | None = None
    for chunk in chunks(items, lambda item: item.ByteSize()):
        status, results = post(chunk)
        answered += results
        if status.code == StatusCode.SUCCESS:
            continue
        worst = _worse(worst, status)
        if not results:
            break
    if worst is not None:
        raise PostilError(worst, answered)
    return answered


def _worse(one: Status | None, other: Status) -> Status:
    """MIXED_STATUS gives way to anything else; otherwise the first counts."""
    return other if one is None or one.code == StatusCode.MIXED_STATUS else one
