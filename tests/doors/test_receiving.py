"""Requests over gRPC that are too much: never finished, bombs, too many items. Real doors, raw sockets."""

from __future__ import annotations

import contextlib
import gzip
import itertools
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message

from postil.config import Address
from postil.doors.http import encodings
from postil.doors.rpc import receiving, weights
from postil.doors.rpc import server as rpc
from postil.doors.rpc.dispatcher import Reason, Refused
from postil.doors.rpc.limits import Limits as Room
from postil.doors.rpc.receiving import Receipts
from postil.errors import Failure
from postil.v1.annotation_pb2 import Annotation
from postil.v1.annotation_service_pb2 import PostAnnotationsRequest
from postil.v1.concept_pb2 import Concept
from postil.v1.concept_service_pb2 import MultiConceptResponse, PostConceptsRequest
from postil.v1.data_pb2 import Data
from postil.v1.input_service_pb2 import MultiInputResponse, PostInputsRequest
from postil.v1.status_code_pb2 import StatusCode
from support.doors import METHODS, dispatcher
from support.h2 import PREFACE, begun, frame, headers
from support.waiting import until

READ, WRITE = "/postil.v1.Inputs/ListInputs", "/postil.v1.Concepts/PostConcepts"
NOTE = "/postil.v1.Annotations/PostAnnotations"
NOTES = PostAnnotationsRequest.DESCRIPTOR.fields_by_name["annotations"].number
DATA = Annotation.DESCRIPTOR.fields_by_name["data"].number
METADATA = Data.DESCRIPTOR.fields_by_name["metadata"].number
THREADS = 4
LARGEST = 4 << 20
PATIENCE_S = 60


class Door:
    """The gRPC door with a quick read and a quick write; notes the sizes of what was written."""

    def __init__(self, room: int = 1 << 26) -> None:
        self.seen: list[int] = []
        self.room = Room(64, room)
        inner = dispatcher(
            {"ListInputs": self._list, "PostConcepts": self._post, "PostAnnotations": self._post}, limits=self.room
        )
        self.door = rpc.build(inner, METHODS, rpc.Limits(THREADS, 64, LARGEST))
        self.port = self.door.listen(Address("127.0.0.1", 0))

    def _list(self, _call: Any, _request: Any) -> Message:
        return MultiInputResponse()

    def _post(self, _call: Any, request: Any) -> Message:
        self.seen.append(len(request.concepts))
        return MultiConceptResponse()

    @contextlib.contextmanager
    def channel(self, **more: Any) -> Iterator[grpc.Channel]:
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", -1)]
        with grpc.insecure_channel(f"127.0.0.1:{self.port}", options=options, **more) as channel:
            yield channel

    def call(self, path: str, body: bytes = b"", **more: Any) -> int:
        """The status code of one call."""
        with self.channel(**more) as channel:
            call: Any = channel.unary_unary(path)
            answer = call(body, timeout=PATIENCE_S)
        return int(MultiConceptResponse.FromString(answer).status.code)

    def connect(self) -> socket.socket:
        line = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S)
        line.sendall(PREFACE + frame(4, 0, 0))
        return line


@pytest.fixture
def door() -> Iterator[Door]:
    made = Door()
    yield made
    made.door.stop(0)


@pytest.mark.parametrize("path", [READ, WRITE])
@pytest.mark.parametrize("half", [True, False], ids=["half a message", "headers alone"])
def test_requests_that_are_never_finished_leave_threads_to_others(door: Door, path: str, half: bool) -> None:
    """Twice as many as there are threads."""
    with door.connect() as line:
        for stream in range(1, 4 * THREADS, 2):
            line.sendall(begun(stream, path, 1 << 20, bytes(100)) if half else headers(stream, path))
        until(lambda: door.room.running >= THREADS)
        assert door.call(path) == StatusCode.SUCCESS
    until(lambda: door.room.running == 0)


def test_a_request_that_is_never_finished_is_ended(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiving, "_LONGEST_S", 1.5)
    with door.connect() as line:
        line.sendall(begun(1, WRITE, 1 << 20, bytes(100)))
        until(lambda: door.room.running == 1)
        until(lambda: door.room.running == 0)


def test_a_slow_request_is_waited_for(door: Door) -> None:
    body = PostConceptsRequest(concepts=[Concept(id="a")] * 3).SerializeToString()
    with door.connect() as line:
        line.sendall(begun(1, WRITE, len(body), body[:5]))
        until(lambda: door.room.running == 1)
        assert door.call(READ) == StatusCode.SUCCESS
        line.sendall(len(body[5:]).to_bytes(3, "big") + b"\0\x01" + (1).to_bytes(4, "big") + body[5:])
        until(lambda: door.seen == [3])


def test_a_call_without_a_message_is_told_so(door: Door) -> None:
    with door.channel() as channel:
        call: Any = channel.stream_unary(WRITE)
        answer = MultiConceptResponse.FromString(call(iter([]), timeout=PATIENCE_S))
    assert answer.status.code == StatusCode.CONN_INVALID_REQUEST
    assert "no request message" in answer.status.details


class Line:
    """A request that arrives when its context is cancelled, and then does not."""

    def __init__(self, cancelled: list[int], number: int) -> None:
        self._ended = threading.Event()
        self._cancelled = cancelled
        self._number = number

    def cancel(self) -> None:
        self._cancelled.append(self._number)
        self._ended.set()

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        assert self._ended.wait(PATIENCE_S)
        raise grpc.RpcError


def test_slow_requests_on_every_thread_are_waited_for(door: Door) -> None:
    """Nobody else wants a thread. A line of an office may be slow for all who upload over it."""
    body = PostConceptsRequest(concepts=[Concept(id="a")] * 3).SerializeToString()
    rest = len(body[5:]).to_bytes(3, "big") + b"\0\x01"
    with door.connect() as line:
        streams = range(1, 2 * THREADS, 2)
        for stream in streams:
            line.sendall(begun(stream, WRITE, len(body), body[:5]))
        until(lambda: door.room.running == THREADS)
        time.sleep(receiving._SLOW_S + 3 * receiving._LOOK_S)  # the time after which they would have gone
        assert door.room.running == THREADS
        for stream in streams:
            line.sendall(rest + stream.to_bytes(4, "big") + body[5:])
        until(lambda: door.seen == [3] * THREADS)


@pytest.mark.parametrize(("slow", "grown", "kept"), [(2, 0, 2), (8, 200, 1)], ids=["too many", "too large"])
def test_the_oldest_unfinished_requests_make_room(
    monkeypatch: pytest.MonkeyPatch, slow: int, grown: int, kept: int
) -> None:
    """Of six: all but two where two may be slow; all but one where the memory stays too high."""
    monkeypatch.setattr(receiving, "_LOOK_S", 0.02)
    monkeypatch.setattr(receiving, "_SLOW_S", 0.05)
    cancelled = list[int]()
    told = itertools.chain([1000], itertools.repeat(1000 + grown))  # at first, and from then on
    receipts = Receipts(1000, slow, growth=100, wanted=lambda: True, resident=lambda: next(told))
    lines = [Line(cancelled, number) for number in range(6)]
    with ThreadPoolExecutor(6) as pool:
        waiting = [pool.submit(receipts.receive, iter(line), line, lambda _size: None) for line in lines]
        until(lambda: sum(one.done() for one in waiting) == 6 - kept)
        assert receipts.dropped >= 6 - kept
        for one in waiting:
            if one.done():
                assert isinstance(one.exception(), Refused)
        for line in lines:
            line.cancel()


def test_compressed_requests_are_read(door: Door) -> None:
    body = PostConceptsRequest(concepts=[Concept(id="a" * 40)] * 1000).SerializeToString()
    assert door.call(WRITE, body, compression=grpc.Compression.Gzip) == StatusCode.SUCCESS
    assert door.seen == [1000]


@pytest.mark.parametrize(
    "bomb", [gzip.compress(bytes(64 << 20)), gzip.compress(bytes(1 << 20)) * 64, gzip.compress(bytes(5 << 20))[:-9]]
)
def test_bombs_are_refused(door: Door, bomb: bytes) -> None:
    code = door.call(WRITE, bomb)
    assert code in {StatusCode.RPC_MAX_MESSAGE_SIZE_EXCEEDED, StatusCode.CONN_BAD_REQUEST_FORMAT}
    assert door.call(READ) == StatusCode.SUCCESS
    assert door.room.bytes == 0


def test_other_compressions_are_refused(door: Door) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        door.call(WRITE, bytes(10_000), compression=grpc.Compression.Deflate)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_what_is_inflated_is_held_before_it_is_there() -> None:
    """Three requests that become 100 times as large: together they would be too much."""
    held, most = [0], 12 << 20

    def hold(size: int) -> None:
        if held[0] + size > most:
            raise Refused(Reason.EXHAUSTED, "full")
        held[0] += size

    small = gzip.compress(bytes(5 << 20))
    for _ in range(2):
        assert len(encodings.inflate(small, "gzip", LARGEST * 2, hold)) == 5 << 20
    with pytest.raises(Refused):
        encodings.inflate(small, "gzip", LARGEST * 2, hold)


def test_a_message_of_too_many_items_is_refused(door: Door) -> None:
    """Four megabytes that would become 110 MB."""
    body = b"\x12\x00" * (LARGEST // 2)
    assert PostConceptsRequest.FromString(body[:4]).concepts  # field 2
    assert door.call(WRITE, body) == StatusCode.RPC_MAX_MESSAGE_SIZE_EXCEEDED
    assert not door.seen


def test_items_are_weighed_with_the_request() -> None:
    """A request of some 600 kB in 300,000 items takes 32 MB; beside another there is room for one."""
    small = Door(room=48 << 20)
    body, held = b"\x12\x00" * 300_000, 30 << 20
    try:
        assert small.call(WRITE, body) == StatusCode.SUCCESS
        assert small.room.enter(held)
        with pytest.raises(grpc.RpcError) as caught:
            small.call(WRITE, body)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        small.room.leave(held)
        assert small.call(WRITE, body) == StatusCode.SUCCESS
        assert small.room.bytes == 0
    finally:
        small.door.stop(0)


def items(message: Message) -> int:
    """Messages and listed texts in a message, as its fields tell them."""
    found = 0
    for field, value in message.ListFields():
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            valued = field.message_type.fields_by_name["value"].message_type is not None
            found += len(value) + sum(1 + items(value[key]) for key in value if valued)
        elif field.message_type is not None:
            each = value if field.is_repeated else [value]
            found += sum(1 + items(one) for one in each)
        elif field.is_repeated and field.type in {field.TYPE_STRING, field.TYPE_BYTES}:
            found += len(value)
    return found


def test_items_are_counted_at_every_depth() -> None:
    request = PostAnnotationsRequest()
    request.user_app_id.app_id = "a" * 300
    for number in range(3):
        note = request.annotations.add(input_id="i" * 200)
        note.data.metadata.update({"a": {"b": [1, 2, {"c": None}]}, "d": "e" * 500})
        note.data.image.base64 = bytes([8, 0x12, 0, 0x80]) * 100
        region = note.data.regions.add(id="r")
        for _ in range(number * 100):
            region.region_info.polygon.points.add(row=0.5, col=0.25)
    for message in (request, PostInputsRequest(), PostConceptsRequest(concepts=[Concept(id="a")])):
        found = weights.of(message.SerializeToString(), message.DESCRIPTOR)
        assert found == items(message) * weights.ITEM_BYTES


@pytest.mark.parametrize("body", [b"\x80" * 400_000, b"\x12" * 400_001, b"\x0b\x0f" * 200_000, b"\x12\xff\xff\xff\x0f"])
def test_what_is_no_message_ends_the_count(body: bytes) -> None:
    assert weights.of(body, PostConceptsRequest.DESCRIPTOR) <= len(body) * weights.ITEM_BYTES


def test_a_flood_of_small_fields_is_refused() -> None:
    with pytest.raises(Failure) as caught:
        weights.of(b"\x78\x00" * (weights.MAX_FIELDS + 1), PostConceptsRequest.DESCRIPTOR)
    assert caught.value.code == StatusCode.RPC_MAX_MESSAGE_SIZE_EXCEEDED


@pytest.mark.parametrize("depth", [60, 10_000])
def test_what_is_nested_too_deeply_is_refused(door: Door, depth: int) -> None:
    nested = b""
    for _ in range(depth):
        nested = sized(6, sized(1, nested))  # Value.list_value, ListValue.values
    data = sized(NOTES, sized(DATA, sized(METADATA, sized(1, sized(2, nested)))))  # an entry of Struct.fields
    assert door.call(NOTE, data) == StatusCode.CONN_BAD_REQUEST_FORMAT
    assert door.call(READ) == StatusCode.SUCCESS


def sized(number: int, body: bytes) -> bytes:
    size, length = len(body), bytearray()
    while size > 0x7F:
        length.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes([number << 3 | 2, *length, size]) + body
