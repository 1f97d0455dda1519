"""Frames of HTTP/2 by hand, for peers that no proper client would be."""

from __future__ import annotations

import struct
from collections.abc import Iterable

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADERS, DATA, END_OF_HEADERS = 1, 0, 4

Field = tuple[bytes, bytes]


def frame(kind: int, flags: int, stream: int, body: bytes = b"") -> bytes:
    return struct.pack(">I", len(body))[1:] + struct.pack(">BBI", kind, flags, stream) + body


def headers(stream: int, path: str, more: Iterable[Field] = ()) -> bytes:
    """A gRPC request that begins, in literals without an index."""
    fields = (
        *((b":method", b"POST"), (b":scheme", b"http"), (b":path", path.encode()), (b":authority", b"a")),
        *((b"content-type", b"application/grpc"), (b"te", b"trailers"), *more),
    )
    block = b"".join(b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value for name, value in fields)
    return frame(HEADERS, END_OF_HEADERS, stream, block)


def begun(stream: int, path: str, claimed: int, sent: bytes = b"", more: Iterable[Field] = ()) -> bytes:
    """A request whose message claims so many bytes and ends before them."""
    return headers(stream, path, more) + frame(DATA, 0, stream, b"\x00" + struct.pack(">I", claimed) + sent)
