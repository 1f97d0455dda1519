"""Peers that are slow, many, or rude: what they hold is bounded, and others are served meanwhile. Raw sockets."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
import requests
from google.protobuf.message import Message
from grpc_reflection.v1alpha import reflection_pb2

from postil.config import Address
from postil.core.call import Call
from postil.doors.http import server as http_server
from postil.doors.http import site
from postil.doors.http.gateway import Gateway, Limits
from postil.doors.http.server import HttpDoor
from postil.doors.rpc import reflection
from postil.doors.rpc import server as rpc
from postil.doors.rpc.dispatcher import Handler
from postil.doors.rpc.limits import Limits as Room
from postil.doors.rpc.limits import Rates
from postil.v1.concept_service_pb2 import MultiConceptResponse
from postil.v1.input_service_pb2 import MultiInputResponse
from postil.v1.status_code_pb2 import StatusCode
from support.doors import METHODS, dispatcher
from support.h2 import PREFACE, frame, headers
from support.waiting import until

ANYWHERE = Address("127.0.0.1", 0)
CALL = "/postil.v1.Inputs/ListInputs"
PATIENCE_S = 60


class Busy:
    """A call that goes on until it is let go, or until its caller has."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.begun = threading.Semaphore(0)
        self.seen_gone = threading.Event()

    def __call__(self, call: Call, _request: Any) -> Message:
        self.begun.release()
        while not self.go.wait(0.02):
            if not call.active():
                self.seen_gone.set()
                break
        return MultiInputResponse()


class Http:
    """The HTTP door with one busy read and one quick write."""

    def __init__(self, calls: int = 64, connections: int = 1024) -> None:
        self.busy = Busy()
        self.gateway = Gateway(METHODS, Limits(4, 1 << 20, 1 << 22, calls))
        handlers: dict[str, Handler] = {
            "ListInputs": self.busy,
            "PostConcepts": lambda _call, _request: MultiConceptResponse(),
        }
        self.gateway.open(dispatcher(handlers, limits=Room(64, 1 << 26)).call)

        async def nothing(*_: Any) -> None:
            raise AssertionError("a call went astray")

        self.server = HttpDoor(site.build(self.gateway, nothing, ()), connections=connections)
        self.port = self.server.listen(ANYWHERE)
        self.url = f"http://127.0.0.1:{self.port}"

    def quick(self) -> int:
        body = json.dumps({"concepts": [{"id": "a"}]})
        return requests.post(f"{self.url}/v2/concepts", data=body, timeout=PATIENCE_S).status_code

    def connect(self, first: bytes = b"") -> socket.socket:
        line = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S)
        line.sendall(first)
        return line


@pytest.fixture
def http(request: pytest.FixtureRequest) -> Iterator[Http]:
    made = Http(**getattr(request, "param", {}))
    yield made
    made.busy.go.set()
    made.gateway.close()
    made.server.stop()


def ended(line: socket.socket) -> bool:
    """Whether the server has hung up."""
    try:
        return line.recv(1000) == b""
    except ConnectionError:
        return True


def test_who_dawdles_over_the_headers_is_cut_off(http: Http, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "_HEAD_S", 0.3)
    silent, slow = http.connect(), http.connect(b"GET /v2/inputs HTTP/1.1\r\nHost: a\r\nX-A: ")
    stop = threading.Event()

    def drip() -> None:
        with contextlib.suppress(OSError):
            while not stop.wait(0.05):
                slow.sendall(b"b")

    dripping = threading.Thread(target=drip)
    dripping.start()
    assert ended(silent)
    assert ended(slow)
    stop.set()
    dripping.join()
    silent.close()
    slow.close()
    assert http.quick() == 200


@pytest.mark.parametrize("http", [{"connections": 40}], indirect=True)
def test_idle_connections_make_room(http: Http) -> None:
    lines = [http.connect() for _ in range(300)]
    assert http.quick() == 200
    alive = 0
    for line in lines:
        line.settimeout(0.01)
        try:
            alive += line.recv(1) != b""
        except TimeoutError:
            alive += 1
        except ConnectionError:
            pass
        line.close()
    assert alive <= 40


@pytest.mark.parametrize("http", [{"connections": 5}], indirect=True)
def test_a_connection_that_is_being_served_stays(http: Http) -> None:
    line = http.connect(b"GET /v2/inputs HTTP/1.1\r\nHost: a\r\n\r\n")
    assert http.busy.begun.acquire(timeout=PATIENCE_S)
    others = [http.connect() for _ in range(30)]
    assert http.quick() == 200
    http.busy.go.set()
    assert line.recv(15) == b"HTTP/1.1 200 OK"
    for other in (*others, line):
        other.close()


def test_a_body_that_trickles_is_cut_off(http: Http, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("postil.doors.http.bodies._PATIENCE_S", 0.3)
    line = http.connect(b"POST /v2/concepts HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n")
    line.settimeout(0.02)
    answer = b""
    for _ in range(900):
        with contextlib.suppress(OSError):
            line.sendall(b" ")
        with contextlib.suppress(TimeoutError):
            answer = line.recv(100)
            break
    line.close()
    assert b" 504 " in answer


def test_too_many_calls_are_told_so_at_once() -> None:
    http = Http(calls=3)
    lines = [http.connect(b"GET /v2/inputs HTTP/1.1\r\nHost: a\r\n\r\n") for _ in range(3)]
    try:
        for _ in lines:
            assert http.busy.begun.acquire(timeout=PATIENCE_S)
        answer = requests.get(f"{http.url}/v2/inputs", timeout=PATIENCE_S)  # those three are still at work
        assert answer.status_code == 429
        assert answer.json()["status"]["code"] == StatusCode.CONN_THROTTLED
        assert not http.busy.go.is_set()
    finally:
        http.busy.go.set()
        for line in lines:
            line.close()
    until(lambda: http.quick() == 200)
    http.gateway.close()
    http.server.stop()


def test_work_for_who_hangs_up_over_http_stops(http: Http) -> None:
    line = http.connect(b"GET /v2/inputs HTTP/1.1\r\nHost: a\r\n\r\n")
    assert http.busy.begun.acquire(timeout=PATIENCE_S)
    line.close()
    assert http.busy.seen_gone.wait(PATIENCE_S)


class Rpc:
    """The gRPC door with one quick call."""

    def __init__(self, limits: rpc.Limits, rates: Rates | None = None) -> None:
        inner = dispatcher({"ListInputs": lambda _call, _request: MultiInputResponse()}, rates=rates)
        self.door = rpc.build(inner, METHODS, limits)
        self.port = self.door.listen(ANYWHERE)

    def connect(self, first: bytes = b"") -> socket.socket:
        line = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S)
        line.sendall(first)
        return line

    def quick(self) -> int:
        with self.channel() as channel:
            call: Any = channel.unary_unary(CALL)
            return int(MultiInputResponse.FromString(call(b"", timeout=PATIENCE_S)).status.code)

    def channel(self) -> grpc.Channel:
        return grpc.insecure_channel(f"127.0.0.1:{self.port}", options=[("grpc.use_local_subchannel_pool", 1)])


@pytest.fixture
def own_rpc() -> Iterator[Rpc]:
    made = Rpc(rpc.Limits(threads=4, calls=32, message_bytes=1 << 20))
    yield made
    made.door.stop(0)


def hurl(line: socket.socket, parts: Iterator[bytes]) -> None:
    """Sends until all is sent or the other side has had enough; what it answers is dropped."""
    line.settimeout(0.5)
    with contextlib.suppress(OSError):
        for part in parts:
            line.sendall(part)
            line.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while line.recv(1 << 16):
                    pass
            line.settimeout(0.5)


def reset_flood() -> Iterator[bytes]:
    """HEADERS and RST_STREAM, 20,000 times (CVE-2023-44487)."""
    for first in range(1, 40_001, 200):
        streams = range(first, first + 200, 2)
        yield b"".join(headers(one, CALL) + frame(3, 0, one, struct.pack(">I", 8)) for one in streams)


def stream_flood() -> Iterator[bytes]:
    """Streams that begin and never go on."""
    for first in range(1, 20_001, 200):
        yield b"".join(headers(one, CALL) for one in range(first, first + 200, 2))


def ping_flood() -> Iterator[bytes]:
    for _ in range(200):
        yield frame(6, 0, 0, bytes(8)) * 100


def settings_flood() -> Iterator[bytes]:
    for _ in range(200):
        yield frame(4, 0, 0) * 100


def continuation_flood() -> Iterator[bytes]:
    """One block of headers without an end (CVE-2024-27316)."""
    yield frame(1, 0, 1, b"\x00\x01a\x01b")
    for _ in range(2000):
        yield frame(9, 0, 1, b"\x00\x01a\x01b" * 100)


def huge_frame() -> Iterator[bytes]:
    """A message that claims two gigabytes."""
    yield headers(1, CALL) + frame(0, 0, 1, b"\x00" + struct.pack(">I", 2**31 - 1) + bytes(100))


@pytest.mark.parametrize(
    "flood", [reset_flood, stream_flood, ping_flood, settings_flood, continuation_flood, huge_frame]
)
def test_floods_leave_others_served(own_rpc: Rpc, flood: Callable[[], Iterator[bytes]]) -> None:
    def rude() -> None:
        with own_rpc.connect(PREFACE + frame(4, 0, 0)) as line:
            hurl(line, flood())

    crowd = [threading.Thread(target=rude) for _ in range(3)]
    for one in crowd:
        one.start()
    until(lambda: answered(own_rpc))
    for one in crowd:
        one.join()
    assert own_rpc.quick() == StatusCode.SUCCESS


def answered(door: Rpc) -> bool:
    """Whether a call gets its answer; it may be shed while a flood lasts."""
    try:
        return door.quick() == StatusCode.SUCCESS
    except grpc.RpcError as error:
        if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
            raise
        return False


def test_idle_connections_leave_others_served(own_rpc: Rpc) -> None:
    lines = [own_rpc.connect(PREFACE if number % 2 else b"") for number in range(300)]
    assert own_rpc.quick() == StatusCode.SUCCESS
    for line in lines:
        line.close()


def test_what_is_not_http_2_is_cut_off(own_rpc: Rpc) -> None:
    with own_rpc.connect(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n") as line:
        until(lambda: ended(line))
    assert own_rpc.quick() == StatusCode.SUCCESS


def test_streams_of_reflection_do_not_take_the_places_of_calls(own_rpc: Rpc) -> None:
    """Twice as many as there are calls allowed, each held open."""
    over = threading.Event()

    def asking() -> Iterator[bytes]:
        yield reflection_pb2.ServerReflectionRequest(list_services="").SerializeToString()
        over.wait(PATIENCE_S)

    with own_rpc.channel() as channel:
        path = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
        begin: Any = channel.stream_stream(path)
        streams: list[Any] = [begin(asking()) for _ in range(64)]
        codes = []
        for stream in streams:
            try:
                next(stream)
                codes.append(grpc.StatusCode.OK)
            except grpc.RpcError as error:
                codes.append(error.code())
        assert codes.count(grpc.StatusCode.OK) == reflection._STREAMS
        # A connection that opens more streams than it may gets UNAVAILABLE from the transport itself.
        shed = {grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE}
        assert set(codes) - {grpc.StatusCode.OK} <= shed
        assert grpc.StatusCode.RESOURCE_EXHAUSTED in codes
        assert own_rpc.quick() == StatusCode.SUCCESS
        over.set()
        for stream in streams:
            stream.cancel()
        until(lambda: reflected(channel, path))


def reflected(channel: grpc.Channel, path: str) -> bool:
    request = reflection_pb2.ServerReflectionRequest(list_services="").SerializeToString()
    begin: Any = channel.stream_stream(path)
    try:
        return bool(list(begin(iter([request]))))
    except grpc.RpcError:
        return False


def test_a_caller_who_calls_too_often_is_refused() -> None:
    now = [100.0]
    door = Rpc(rpc.Limits(threads=2, calls=32, message_bytes=1 << 20), Rates(3, lambda: now[0]))
    try:
        for _ in range(6):  # two seconds' worth may be saved up
            assert door.quick() == StatusCode.SUCCESS
        with pytest.raises(grpc.RpcError) as caught:
            door.quick()
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "3 calls a second" in str(caught.value.details())
        now[0] += 1
        assert [answered(door) for _ in range(4)] == [True, True, True, False]
    finally:
        door.door.stop(0)


def test_rates_are_of_each_caller_and_forget_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("postil.doors.rpc.limits._REMEMBERED", 3)
    rates = Rates(1, lambda: 0.0)
    assert [rates.take("a") for _ in range(3)] == [True, True, False]
    assert rates.take("b")
    for other in "cde":
        assert rates.take(other)
    assert len(rates._buckets) == 3
