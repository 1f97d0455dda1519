"""What callers without a good key can make a server take in: nothing."""

from __future__ import annotations

import socket

import pytest

from postil.v1.input_service_pb2 import MultiInputResponse, PostInputsRequest
from postil.v1.status_code_pb2 import StatusCode
from support.doors import METHODS
from support.h2 import DATA, PREFACE, begun, frame
from support.keys import shows
from support.walls import World

PATIENCE_S = 60
BAD = "Key postil_" + "A" * 43


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ([(b"authorization", BAD.encode())], StatusCode.CONN_KEY_INVALID),
        ([], StatusCode.CONN_INVALID_REQUEST),
    ],
    ids=["wrong key", "no key"],
)
def test_a_strangers_request_is_answered_before_it_is_received(
    world: World, more: list[tuple[bytes, bytes]], code: int
) -> None:
    host, port = world.server.grpc.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=PATIENCE_S) as line:
        line.sendall(PREFACE + frame(4, 0, 0) + begun(1, METHODS["PostInputs"].path, 200 << 20, bytes(100), more))
        assert answer(line).status.code == code


def answer(line: socket.socket) -> MultiInputResponse:
    """The message of the only stream."""
    file = line.makefile("rb")
    while head := file.read(9):
        body = file.read(int.from_bytes(head[:3], "big"))
        if head[3] == DATA:
            return MultiInputResponse.FromString(body[5:])
    raise AssertionError("no answer")


def test_a_stranger_who_sends_much_is_told_why(world: World) -> None:
    """Its client has sent only part of the request when the answer comes."""
    request = PostInputsRequest()
    request.inputs.add().data.image.base64 = bytes(60 << 20)
    told = world.server.call("postil.v1", "PostInputs", request, metadata=shows(BAD[4:]), timeout=PATIENCE_S)
    assert told.status.code == StatusCode.CONN_KEY_INVALID
