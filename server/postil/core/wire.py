"""Hand-framed protobuf: stored messages go into a response as bytes, without becoming Python objects.

Concatenating length-delimited fields is legal protobuf (https://protobuf.dev/programming-guides/encoding): a message's
fields may come in any order, and parts of a message may be appended to it. Tests parse what is framed here.
"""

from __future__ import annotations

from collections.abc import Iterable

from google.protobuf.descriptor import Descriptor

_LENGTH_DELIMITED = 2


def varint(value: int) -> bytes:
    """An unsigned integer in base 128."""
    if value < 0x80:
        return bytes((value,))
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def key(descriptor: Descriptor, field: str) -> bytes:
    """The tag that precedes a string, bytes or message field."""
    return varint(descriptor.fields_by_name[field].number << 3 | _LENGTH_DELIMITED)


def framed(tag: bytes, payload: bytes) -> bytes:
    """One length-delimited field."""
    return tag + varint(len(payload)) + payload


def repeated(tag: bytes, payloads: Iterable[bytes]) -> bytes:
    """A repeated message field."""
    return b"".join([tag + varint(len(payload)) + payload for payload in payloads])


def timestamp(micros: int) -> bytes:
    """A serialized google.protobuf.Timestamp of microseconds since the epoch."""
    seconds, rest = divmod(micros, 1_000_000)
    out = b"\x08" + varint(seconds) if seconds else b""
    return out + b"\x10" + varint(rest * 1000) if rest else out
