"""Connections of strangers are files too: they must neither shut others out nor keep the server from its own files."""

from __future__ import annotations

import socket
from pathlib import Path

import grpc
import pytest
import requests

from postil import descriptors
from postil.v1.input_service_pb2 import PostInputsRequest
from postil.v1.status_code_pb2 import StatusCode
from support.h2 import PREFACE, frame
from support.server import OWN, Server
from support.waiting import until

_FILES = 600


class Cramped(Server):
    """May have few files open."""

    def _program(self, *arguments: str) -> list[str]:
        return ["sh", "-c", f'ulimit -n {_FILES} && exec "$0" "$@"', *super()._program(*arguments)]


@pytest.mark.parametrize("files", [0, 256, 600, 1024, 20_000, 65_536])
def test_the_shares_leave_room_for_files(files: int) -> None:
    shares = descriptors.shares(files)
    assert shares.grpc >= 32
    assert shares.http >= 32
    assert shares.grpc + shares.http <= max(64, files - 256)


def test_a_crowd_of_idle_strangers_takes_no_files(tmp_path: Path) -> None:
    server = Cramped(tmp_path)
    lines = []
    try:
        assert _post(server, 0) == StatusCode.SUCCESS
        for address, first in ((server.grpc, PREFACE + frame(4, 0, 0)), (server.http.removeprefix("http://"), b"")):
            host, _, port = address.rpartition(":")
            for _ in range(_FILES):
                lines.append(socket.create_connection((host, int(port)), timeout=60))
                lines[-1].sendall(first)
        until(lambda: _answers(server))
        assert _open_files(server) < _FILES - 100
        assert [_post(server, number) for number in range(1, 4)] == [StatusCode.SUCCESS] * 3  # files of their own
        for line in lines:
            line.close()
        until(lambda: _connects(server))
        assert "descriptor" not in server.tail()
    finally:
        for line in lines:
            line.close()
        server.stop()


def _post(server: Server, number: int) -> int:
    request = PostInputsRequest()
    request.inputs.add(id=f"i{number}").data.text.raw = f"{number}" * 100_000
    return int(server.call(OWN, "PostInputs", request, timeout=60).status.code)


def _open_files(server: Server) -> int:
    folder = Path(f"/proc/{server.process.pid}/fd")
    return len(list(folder.iterdir())) if folder.is_dir() else 0


def _answers(server: Server) -> bool:
    try:
        return requests.get(f"{server.http}/healthz", timeout=60).ok
    except requests.RequestException:
        return False


def _connects(server: Server) -> bool:
    with grpc.insecure_channel(server.grpc, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        try:
            grpc.channel_ready_future(channel).result(5)
        except grpc.FutureTimeoutError:
            return False
    return True
