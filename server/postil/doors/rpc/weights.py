"""What a serialized message will weigh once it is parsed. Two bytes on the wire can be a message of a hundred in
memory, so a request of 256 MiB could take 14 GiB; it is counted beforehand."""

from __future__ import annotations

from functools import cache
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from postil.errors import Failure, invalid_request
from postil.v1.status_code_pb2 import StatusCode

SMALL = 128 * 1024  # bytes; what has no more than this cannot weigh much (13 MiB at worst)
MAX_NAMED = 10_000  # ids and other texts in one list of a request
MAX_FIELDS = 1_000_000  # at every depth; counting so many takes about half a second
ITEM_BYTES = 108  # of an empty message that is an item of a list, measured

_VARINT, _SIZED = 0, 2
_LONG = 0x80  # from here on a number has more bytes
_SIZES = (0, 8, 0, 0, 0, 4)  # of the other kinds of values on the wire; groups begin and end by themselves

# Field number -> what is in it, for messages and texts; empty for those that hold none themselves.
_Plan = dict[int, "_Plan"]


def of(message: bytes, descriptor: Any) -> int:
    """Bytes beyond its own that a serialized message of the descriptor's type takes when it is parsed.

    Raises:
        Failure: RPC_MAX_MESSAGE_SIZE_EXCEEDED for more than MAX_FIELDS fields.
    """
    return _items(message, _plan(descriptor)) * ITEM_BYTES


def check_lists(message: Any) -> None:
    """Refuses a request that names more things than any page or batch holds.

    Raises:
        Failure: CONN_INVALID_REQUEST, naming the field.
    """
    for field, value in message.ListFields():
        if field.is_repeated and field.type == FieldDescriptor.TYPE_STRING and len(value) > MAX_NAMED:
            raise invalid_request(f"{field.name} has {len(value):,} items; send at most {MAX_NAMED:,} in one call.")


@cache
def _plan(descriptor: Any) -> _Plan:
    return _planned(descriptor, {})


def _planned(descriptor: Any, begun: dict[str, _Plan]) -> _Plan:
    """The plan of a type; that of a type which contains itself does so, too."""
    if descriptor.full_name in begun:
        return begun[descriptor.full_name]
    plan = begun[descriptor.full_name] = {}
    for field in descriptor.fields:
        if field.message_type is not None:
            plan[field.number] = _planned(field.message_type, begun)
        elif field.is_repeated and field.type in {FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES}:
            plan[field.number] = {}
    return plan


def _items(message: bytes, plan: _Plan) -> int:
    """Messages and listed texts, at every depth. What is malformed ends the count: parsing will refuse it."""
    found, at, end = 0, 0, len(message)
    around: list[tuple[int, _Plan]] = []  # ends and plans of the messages that this one is in
    try:
        for _ in range(MAX_FIELDS):
            while at >= end:
                if not around:
                    return found
                end, plan = around.pop()
            tag, at = message[at], at + 1
            if tag >= _LONG:
                tag, at = _varint(message, at - 1)
            kind = tag & 7
            if kind == _SIZED:
                size, at = message[at], at + 1  # in place: a call would cost as much as all the rest
                if size >= _LONG:
                    size, at = _varint(message, at - 1)
                inside = plan.get(tag >> 3)
                found += inside is not None
                if inside and size:
                    around.append((end, plan))
                    plan, end = inside, at + size
                else:
                    at += size
            else:
                at = _skipped(message, at, kind)
    except IndexError:
        return found
    raise Failure(
        StatusCode.RPC_MAX_MESSAGE_SIZE_EXCEEDED,
        f"The request holds more than {MAX_FIELDS:,} fields. Send fewer items at once.",
    )


def _skipped(message: bytes, at: int, kind: int) -> int:
    """The place after a value that is no item. Raises IndexError for a kind that there is not."""
    if kind == _VARINT:
        return _varint(message, at)[1]
    return at + _SIZES[kind]


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """The number at a place, and the place after it."""
    number = 0
    for shift in range(0, 70, 7):
        byte = message[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < _LONG:
            return number, at
    raise IndexError  # no number is that long
