"""Requests that a proxy in front might cut elsewhere than we do: refused, and nothing behind them is answered. Paths
that lead out of where they began: nothing is there."""

from __future__ import annotations

import re
import socket

import pytest

from support.server import Server

_POST = b"POST /v2/inputs HTTP/1.1\r\nHost: localhost\r\n"
_NEXT = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"

AMBIGUOUS = {
    "length and chunks": _POST + b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG",
    "chunks and length": _POST + b"Transfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\nG",
    "two encodings": _POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "a list of encodings": _POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "an unknown encoding": _POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "a name with a space": _POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "a name with a tab": _POST + b"Transfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": _POST + b"Content-Length: 2\r\nContent-Length: 5\r\n\r\n{}",
    "a list of lengths": _POST + b"Content-Length: 2, 2\r\n\r\n{}",
    "a signed length": _POST + b"Content-Length: +2\r\n\r\n{}",
    "a negative length": _POST + b"Content-Length: -2\r\n\r\n{}",
    "a length in hexadecimal": _POST + b"Content-Length: 0x2\r\n\r\n{}",
    "a length beyond all": _POST + b"Content-Length: 18446744073709551618\r\n\r\n{}",
    "a chunk size with 0x": _POST + b"Transfer-Encoding: chunked\r\n\r\n0x2\r\n{}\r\n0\r\n\r\n",
    "a chunk that goes on": _POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}}\r\n0\r\n\r\n",
    "a folded header": _POST + b"X: a\r\n Content-Length: 2\r\n\r\n{}",
    "lines that end in LF": _POST.replace(b"\r\n", b"\n") + b"Content-Length: 2\n\n{}",
    "a NUL in a header": _POST + b"X: a\x00b\r\nContent-Length: 2\r\n\r\n{}",
    "a CR in a header": _POST + b"X: a\rContent-Length: 2\r\n\r\n{}",
    "CONNECT": b"CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: localhost\r\n\r\n",
}

OUTWARD = [
    "/blobs/../../etc/passwd", "/blobs/%2e%2e%2f%2e%2e%2fetc%2fpasswd", "/blobs/small/..%2f..%2fkeys.stamp",
    "/blobs//etc/passwd", "/blobs/small//etc/passwd", "/blobs/..%5c..%5cpostil.sqlite3", "/docs/../postil.sqlite3",
    "/docs/%2e%2e/docs.py", "//etc/passwd", "/v2/../metrics/../etc/passwd", "/blobs/" + "0" * 63, "/blobs/" + "G" * 64,
]  # fmt: skip


def answered(server: Server, request: bytes) -> list[int]:
    """The statuses of all answers on a connection."""
    host, port = server.http.removeprefix("http://").rsplit(":", 1)
    with socket.create_connection((host, int(port)), 30) as connection:
        connection.sendall(request)
        everything = b""
        while piece := connection.recv(65536):
            everything += piece
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3})", everything)]


@pytest.mark.parametrize("request_", AMBIGUOUS.values(), ids=AMBIGUOUS)
def test_ambiguous_requests_end_the_connection(request_: bytes, server: Server) -> None:
    assert answered(server, request_ + _NEXT) == [400]


def test_clear_requests_may_follow_each_other(server: Server) -> None:
    chunked = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\n{}\r\n0\r\n\r\n"
    assert answered(server, chunked + _NEXT) == [200, 200]


@pytest.mark.parametrize("path", OUTWARD)
def test_no_path_leads_out(path: str, server: Server) -> None:
    line = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
    assert answered(server, line) == [404]
