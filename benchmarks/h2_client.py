"""A light gRPC client for measuring servers: canned HTTP/2 frames on raw sockets, one call in flight per connection.

An ordinary gRPC client in Python costs as much per call as the server, and so hides what the server can do on a small
machine. This one costs 20 to 40 µs. It speaks just enough HTTP/2 (RFC 9113) for unary calls to a trusted server:
headers without Huffman coding or tables (RFC 7541, section 6.2.2), and it only looks for the end of the stream.
"""

from __future__ import annotations

import json
import selectors
import socket
import struct
import sys
import time
from typing import NamedTuple

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST, _SETTINGS, _PING, _GOAWAY, _WINDOW = 0, 1, 3, 4, 6, 7, 8
_END_STREAM, _END_HEADERS, _ACK = 1, 4, 1
_MAX_WINDOW = (1 << 31) - 1
_FRAME_SIZE = 16384


class Result(NamedTuple):
    """What a closed loop measured."""

    calls: int
    seconds: float
    p50_ms: float
    p99_ms: float

    @property
    def per_second(self) -> float:
        """Calls a second."""
        return self.calls / self.seconds


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def _text(value: bytes) -> bytes:
    if len(value) < 127:
        return bytes((len(value),)) + value
    rest, out = len(value) - 127, bytearray((127,))
    while rest >= 128:
        out.append(rest % 128 + 128)
        rest //= 128
    return bytes(out) + bytes((rest,)) + value


def _headers(path: str, authority: str) -> bytes:
    fields = (
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", authority),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        ("user-agent", "postil-bench/1"),
        ("authorization", "Key 0123456789abcdef"),
    )
    return b"".join(b"\x00" + _text(name.encode()) + _text(value.encode()) for name, value in fields)


class Connection:
    """One connection with at most one call in flight."""

    def __init__(self, host: str, port: int, path: str, message: bytes) -> None:
        self.socket = socket.create_connection((host, port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        window = struct.pack(">HI", 4, _MAX_WINDOW)
        self.socket.sendall(
            _PREFACE + _frame(_SETTINGS, 0, 0, window) + _frame(_WINDOW, 0, 0, struct.pack(">I", _MAX_WINDOW - 65535))
        )
        self._block = _headers(path, f"{host}:{port}")
        self._body = b"\x00" + struct.pack(">I", len(message)) + message
        self._stream = -1
        self._unread = b""
        self._owed = 0
        self.began = 0.0
        self.size = 0

    def begin(self) -> None:
        """Sends one call."""
        self._stream += 2
        parts = [_frame(_HEADERS, _END_HEADERS, self._stream, self._block)]
        for at in range(0, len(self._body), _FRAME_SIZE):
            piece = self._body[at : at + _FRAME_SIZE]
            last = at + _FRAME_SIZE >= len(self._body)
            parts.append(_frame(_DATA, _END_STREAM if last else 0, self._stream, piece))
        self.began = time.perf_counter()
        self.size = 0
        self.socket.sendall(b"".join(parts))

    def read(self) -> bool:
        """Takes what has arrived; True when the call has ended."""
        fresh = self.socket.recv(1 << 18)
        if not fresh:
            raise ConnectionError("the server closed the connection")
        data, at, ended = self._unread + fresh, 0, False
        while len(data) - at >= 9:
            length = int.from_bytes(data[at : at + 3], "big")
            if len(data) - at < 9 + length:
                break
            kind, flags = data[at + 3], data[at + 4]
            ended |= self._frame(kind, flags, data[at + 9 : at + 9 + length])
            at += 9 + length
        self._unread = data[at:]
        return ended

    def _frame(self, kind: int, flags: int, payload: bytes) -> bool:
        if kind == _DATA:
            self.size += len(payload)
            self._owed += len(payload)
            if self._owed > 1 << 28:
                self.socket.sendall(_frame(_WINDOW, 0, 0, struct.pack(">I", self._owed)))
                self._owed = 0
        elif kind == _SETTINGS and not flags & _ACK:
            self.socket.sendall(_frame(_SETTINGS, _ACK, 0, b""))
        elif kind == _PING and not flags & _ACK:
            self.socket.sendall(_frame(_PING, _ACK, 0, payload))
        elif kind in {_RST, _GOAWAY}:
            raise ConnectionError(f"the server ended the stream or connection (frame {kind})")
        return kind == _HEADERS and bool(flags & _END_STREAM)


def closed_loop(host: str, port: int, path: str, messages: list[bytes], seconds: float) -> Result:
    """Each of `len(messages)` connections sends its message again as soon as it is answered.

    Args:
        host: Server.
        port: Its port.
        path: `/service/rpc`.
        messages: One serialized request per connection, at most 64 KiB each (flow control is not honoured).
        seconds: How long, after a warm-up of a tenth of it.
    """
    connections = [Connection(host, port, path, message) for message in messages]
    selector = selectors.DefaultSelector()
    for connection in connections:
        selector.register(connection.socket, selectors.EVENT_READ, connection)
        connection.begin()
    warm = time.perf_counter() + seconds / 10
    end, took = warm + seconds, []
    now = 0.0
    while now < end:
        for key, _ in selector.select(timeout=10):
            connection = key.data
            if not connection.read():
                continue
            now = time.perf_counter()
            if now >= warm:
                if connection.size <= 5:
                    raise ConnectionError("the answer was empty")
                took.append(now - connection.began)
            connection.begin()
    for connection in connections:
        connection.socket.close()
    took.sort()
    return Result(len(took), end - warm, took[len(took) // 2] * 1e3, took[int(len(took) * 0.99)] * 1e3)


def main() -> None:
    """`python h2_client.py HOST PORT PATH CLIENTS SECONDS < message`: prints a JSON line. For a process of its own."""
    host, port, path, clients, seconds = sys.argv[1:6]
    message = sys.stdin.buffer.read()
    result = closed_loop(host, int(port), path, [message] * int(clients), float(seconds))
    print(json.dumps(result._asdict()))


if __name__ == "__main__":
    main()
