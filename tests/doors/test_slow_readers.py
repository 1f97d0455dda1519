"""Clients that ask for large answers and do not read them: what lies there for them is bounded, others are served."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from itertools import islice
from typing import Any

import grpc
import pytest
import requests

from postil.config import Address
from postil.core.call import Call
from postil.doors.http import server as http_server
from postil.doors.http import site
from postil.doors.http.gateway import Gateway, Limits
from postil.doors.http.server import HttpDoor
from postil.doors.rpc import server as rpc
from postil.v1.input_service_pb2 import MultiInputResponse
from support.doors import METHODS, dispatcher
from support.h2 import PREFACE, frame, headers

ANYWHERE = Address("127.0.0.1", 0)
CALL = "/postil.v1.Inputs/ListInputs"
PATIENCE_S = 60
BIG = 8 << 20  # more than the buffers of the system hold
READERS = 12


def big(_call: Call, _request: Any) -> MultiInputResponse:
    answer = MultiInputResponse()
    answer.inputs.add(id="x" * BIG)
    return answer


def test_answers_over_grpc_that_nobody_reads_make_room() -> None:
    """Streams without a window, at most two of whose answers may lie there."""
    limits = rpc.Limits(threads=4, calls=64, message_bytes=2 * BIG, unread_bytes=4 * BIG + 1000)
    door = rpc.build(dispatcher({"ListInputs": big}), METHODS, limits)
    port = door.listen(ANYWHERE)
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as line:
            line.sendall(PREFACE + frame(4, 0, 0, struct.pack(">HI", 4, 0)))
            for stream in range(1, 2 * READERS, 2):
                line.sendall(headers(stream, CALL) + frame(0, 1, stream, bytes(5)))
            assert len(list(islice(resets(line), READERS - 2))) == READERS - 2
            with grpc.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.max_receive_message_length", -1)]) as one:
                call: Any = one.unary_unary(CALL)
                assert len(call(b"", timeout=PATIENCE_S)) > BIG
    finally:
        door.stop(0)


def resets(line: socket.socket) -> Iterator[int]:
    """The streams that the server ends before their time."""
    file = line.makefile("rb")
    while head := file.read(9):
        file.read(int.from_bytes(head[:3], "big"))
        if head[3] == 3:
            yield int.from_bytes(head[5:], "big")


def test_answers_over_http_that_nobody_reads_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "_UNREAD", 2 * BIG)
    gateway = Gateway(METHODS, Limits(4, 2 * BIG, 4 * BIG, 64))
    gateway.open(dispatcher({"ListInputs": big}).call)

    async def nothing(*_: Any) -> None:
        raise AssertionError("a call went astray")

    door = HttpDoor(site.build(gateway, nothing, ()))
    port = door.listen(ANYWHERE)
    request = b"GET /v2/inputs HTTP/1.1\r\nHost: a\r\n\r\n"
    lines = []
    try:
        for _ in range(READERS):
            line = socket.socket()
            line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            line.settimeout(PATIENCE_S)
            line.connect(("127.0.0.1", port))
            line.sendall(request)
            lines.append(line)
        for line in lines:
            line.recv(1)  # it is being answered
        answer = requests.get(f"http://127.0.0.1:{port}/v2/inputs", timeout=PATIENCE_S)
        assert len(answer.content) > BIG
        assert sum(cut_off(line) for line in lines) >= READERS // 2
    finally:
        for line in lines:
            line.close()
        gateway.close()
        door.stop()


def cut_off(line: socket.socket) -> bool:
    """Whether an answer ends before its end."""
    got = 1
    try:
        while some := line.recv(1 << 20):
            got += len(some)
            if got > BIG:
                return False
    except ConnectionError:
        return True
    return True
