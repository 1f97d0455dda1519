"""The gRPC listener around servicers that are functions: both names, reflection, health, limits, drain."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
import grpc_testing
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from postil.config import Address, CannotListen
from postil.core import statuses
from postil.doors.rpc import server as rpc
from postil.doors.rpc import vendor
from postil.doors.rpc.dispatcher import Dispatcher
from postil.errors import Failure
from postil.v1 import annotation_service_pb2
from postil.v1.annotation_service_pb2 import MultiAnnotationResponse, PostAnnotationsRequest
from postil.v1.common_pb2 import UserAppIDSet
from postil.v1.input_service_pb2 import GetInputRequest, SingleInputResponse
from postil.v1.status_code_pb2 import StatusCode
from support.doors import METHODS, dispatcher
from support.servicers import adaptors

ANYWHERE = Address("127.0.0.1", 0)
OWN_CONNECTION = ("grpc.use_local_subchannel_pool", 1)
LIMITS = rpc.Limits(threads=4, calls=16, message_bytes=1 << 20)
POST = ("/postil.v1.Annotations/PostAnnotations", "/clarifai.api.V2/PostAnnotations")


def fine(_call: Any, _request: Any) -> MultiAnnotationResponse:
    return MultiAnnotationResponse()


@contextmanager
def serving(door: Dispatcher, limits: rpc.Limits = LIMITS) -> Iterator[tuple[rpc.RpcDoor, grpc.Channel]]:
    listener = rpc.build(door, METHODS, limits)
    port = listener.listen(ANYWHERE)
    options = [("grpc.max_send_message_length", -1), OWN_CONNECTION]
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
        try:
            yield listener, channel
        finally:
            listener.stop(1)


def unary(channel: grpc.Channel, path: str) -> Any:
    """The RPC with raw bytes both ways."""
    return channel.unary_unary(path)


def invoke(channel: grpc.Channel, path: str, request: bytes = b"", timeout: float = 10) -> bytes:
    """One call of raw bytes."""
    answer: bytes = unary(channel, path)(request, timeout=timeout)
    return answer


def refusal(channel: grpc.Channel, path: str, request: bytes = b"", timeout: float = 10) -> tuple[Any, Any]:
    with pytest.raises(grpc.RpcError) as caught:
        invoke(channel, path, request, timeout)
    return caught.value.code(), caught.value.details()


@pytest.mark.parametrize("path", POST)
def test_answers_under_both_names(path: str) -> None:
    with serving(dispatcher({"PostAnnotations": fine})) as (_, channel):
        assert MultiAnnotationResponse.FromString(invoke(channel, path)).status.code == StatusCode.SUCCESS


@pytest.mark.parametrize("path", POST)
def test_application_errors_are_no_grpc_errors(path: str) -> None:
    def fail(_call: Any, _request: Any) -> Any:
        raise Failure(StatusCode.ANNOTATION_INVALID_ARGUMENT, "annotations[0]: no input_id")

    with serving(dispatcher({"PostAnnotations": fail})) as (_, channel):
        status = MultiAnnotationResponse.FromString(invoke(channel, path)).status
    assert (status.code, status.details) == (24155, "annotations[0]: no input_id")


def test_every_rpc_has_its_names_and_says_so_when_it_is_not_built() -> None:
    paths = [(method.path, method.name) for method in METHODS.values()]
    mirrored = [(path, method.name) for path, method in vendor.table(METHODS).items()]
    assert ("/clarifai.api.V2/PostInputs", "PostInputs") in mirrored
    with serving(dispatcher({})) as (_, channel):
        for path, name in paths + mirrored:
            code, details = refusal(channel, path)
            assert code is grpc.StatusCode.UNIMPLEMENTED
            assert name in details


def test_an_unknown_rpc_is_unimplemented() -> None:
    with serving(dispatcher({})) as (_, channel):
        assert refusal(channel, "/clarifai.api.V2/PostNonsense")[0] is grpc.StatusCode.UNIMPLEMENTED


def test_metadata_deadline_and_cancellation_reach_the_servicer() -> None:
    seen: dict[str, Any] = {}
    gone = threading.Event()

    def look(call: Any, _request: Any) -> SingleInputResponse:
        seen["id"], seen["left"] = call.request_id, call.remaining()
        while call.active() and call.remaining() > 0:
            time.sleep(0.01)
        seen["active"] = call.active()
        gone.set()
        return SingleInputResponse()

    with serving(dispatcher({"GetInput": look})) as (_, channel):
        future = unary(channel, "/postil.v1.Inputs/GetInput").future(
            b"", timeout=8, metadata=(("x-clarifai-request-id-prefix", "mine"),)
        )
        while "left" not in seen:
            time.sleep(0.01)
        future.cancel()
        assert gone.wait(5)
    assert seen["id"].startswith("mine-")
    assert 6 < seen["left"] < 8.1  # gRPC rounds the time up by as much as a hundredth on the wire
    assert not seen["active"]


def test_no_deadline_is_none() -> None:
    deadlines = []

    def look(call: Any, _request: Any) -> SingleInputResponse:
        deadlines.append(call.deadline)
        return SingleInputResponse()

    with serving(dispatcher({"GetInput": look})) as (_, channel):
        unary(channel, "/postil.v1.Inputs/GetInput")(b"")
    assert deadlines == [None]


def test_a_message_over_the_limit_is_exhausted_and_the_next_one_served() -> None:
    with serving(dispatcher({"PostAnnotations": fine})) as (_, channel):
        assert refusal(channel, POST[0], bytes(2 << 20))[0] is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert invoke(channel, POST[0])


def test_more_calls_than_there_is_room_for_are_exhausted() -> None:
    go = threading.Event()

    def slow(_call: Any, _request: Any) -> MultiAnnotationResponse:
        assert go.wait(10)
        return MultiAnnotationResponse()

    limits = rpc.Limits(threads=2, calls=4, message_bytes=1 << 20)
    door = dispatcher({"PostAnnotations": slow})
    # From connections of their own: calls of one connection wait at the client when there are more than the limit.
    with serving(door, limits) as (_, first), ThreadPoolExecutor(12) as pool:
        channels = [grpc.insecure_channel(_target(first), options=[OWN_CONNECTION]) for _ in range(12)]
        results = [pool.submit(_code, channel) for channel in channels]
        until = time.monotonic() + 8
        while sum(result.done() for result in results) < 8 and time.monotonic() < until:
            time.sleep(0.01)
        go.set()
        codes = [result.result(10) for result in results]
        for channel in channels:
            channel.close()
    assert codes.count(grpc.StatusCode.OK) == 4
    assert codes.count(grpc.StatusCode.RESOURCE_EXHAUSTED) == 8


def test_less_room_while_calls_wait_long() -> None:
    go = threading.Event()

    def slow(_call: Any, _request: Any) -> SingleInputResponse:
        assert go.wait(20)
        return SingleInputResponse()

    limits = rpc.Limits(threads=1, calls=64, message_bytes=1 << 20, eager=1)
    path, request = "/postil.v1.Inputs/GetInput", GetInputRequest(input_id="a").SerializeToString()
    with serving(dispatcher({"GetInput": slow}), limits) as (_, channel):
        first = [unary(channel, path).future(request, timeout=30) for _ in range(2)]  # one works, one waits
        until, refused = time.monotonic() + 10, None
        while refused is None and time.monotonic() < until:
            refused = refusal_of(unary(channel, path).future(request, timeout=0.2))
        assert refused is grpc.StatusCode.RESOURCE_EXHAUSTED  # though 64 may come
        go.set()
        assert all(call.result(10) is not None for call in first)
        assert invoke(channel, path, request) is not None


def refusal_of(call: Any) -> Any:
    """RESOURCE_EXHAUSTED, or None for a call that was taken in and waits."""
    code = call.code()  # of its end: its deadline, if nothing else
    return code if code is grpc.StatusCode.RESOURCE_EXHAUSTED else None


def _target(channel: Any) -> str:
    target: str = channel._channel.target().decode()
    return target


def _code(channel: grpc.Channel) -> Any:
    try:
        invoke(channel, POST[0])
    except grpc.RpcError as error:
        return error.code()
    return grpc.StatusCode.OK


def test_reads_do_not_wait_behind_writes() -> None:
    go = threading.Event()

    def slow(_call: Any, _request: Any) -> MultiAnnotationResponse:
        assert go.wait(10)
        return MultiAnnotationResponse()

    def get(_call: Any, _request: Any) -> SingleInputResponse:
        return SingleInputResponse()

    door = dispatcher({"PostAnnotations": slow, "GetInput": get})
    with serving(door) as (_, channel):
        stuck = [unary(channel, POST[0]).future(b"", timeout=10) for _ in range(LIMITS.threads)]
        assert invoke(channel, "/postil.v1.Inputs/GetInput", GetInputRequest(input_id="a").SerializeToString())
        go.set()
        assert all(one.result() for one in stuck)


def test_reflection_lists_and_describes_both_names() -> None:
    with serving(dispatcher({})) as (_, channel):
        database = ProtoReflectionDescriptorDatabase(channel)
        listed = set(database.get_services())
        assert {method.service for method in METHODS.values()} <= listed
        assert {vendor.SERVICE, "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection"} <= listed
        pool = DescriptorPool(database)
        service = pool.FindServiceByName("clarifai.api.V2")
        assert {method.name for method in service.methods} == {method.name for method in vendor.table(METHODS).values()}
        described = service.methods_by_name["PostAnnotations"]
        assert described.input_type.full_name == "postil.v1.PostAnnotationsRequest"
        fields = GetMessageClass(described.input_type).DESCRIPTOR.fields_by_name
        assert fields["annotations"].number == PostAnnotationsRequest.ANNOTATIONS_FIELD_NUMBER
        own = pool.FindServiceByName("postil.v1.Annotations")
        assert [m.name for m in own.methods] == [
            m.name for m in annotation_service_pb2.DESCRIPTOR.services_by_name["Annotations"].methods
        ]


def test_both_versions_of_reflection_answer() -> None:
    with serving(dispatcher({})) as (_, channel):
        answers = []
        for version in ("v1", "v1alpha"):
            stream: Any = channel.stream_stream(f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo")
            answers.append(next(stream(iter([b"\x3a\x01*"]), timeout=10)))  # list_services = "*"
    assert answers[0] == answers[1]
    assert b"clarifai.api.V2" in answers[0]


@pytest.mark.parametrize("service", ["", "clarifai.api.V2", "postil.v1.Annotations"])
def test_health_follows_readiness(service: str) -> None:
    request = health_pb2.HealthCheckRequest(service=service)
    with serving(dispatcher({})) as (listener, channel):
        stub: Any = health_pb2_grpc.HealthStub(channel)
        watched = stub.Watch(request, timeout=10)
        assert next(watched).status == health_pb2.HealthCheckResponse.NOT_SERVING
        listener.set_ready(ready=True)
        assert next(watched).status == health_pb2.HealthCheckResponse.SERVING
        assert stub.Check(request).status == health_pb2.HealthCheckResponse.SERVING
        watched.cancel()


def test_draining_tells_health_and_finishes_what_runs() -> None:
    began, go = threading.Event(), threading.Event()

    def slow(_call: Any, _request: Any) -> MultiAnnotationResponse:
        began.set()
        assert go.wait(10)
        return MultiAnnotationResponse()

    with serving(dispatcher({"PostAnnotations": slow})) as (listener, channel):
        listener.set_ready(ready=True)
        health: Any = health_pb2_grpc.HealthStub(channel)
        watched = health.Watch(health_pb2.HealthCheckRequest(), timeout=10)
        assert next(watched).status == health_pb2.HealthCheckResponse.SERVING
        running = unary(channel, POST[0]).future(b"", timeout=10)
        assert began.wait(5)
        stopping = threading.Thread(target=listener.stop, args=(5,))
        stopping.start()
        assert next(watched).status == health_pb2.HealthCheckResponse.NOT_SERVING
        watched.cancel()
        go.set()
        assert MultiAnnotationResponse.FromString(running.result()).status.code == StatusCode.SUCCESS
        stopping.join(5)
        assert not stopping.is_alive()


def test_a_port_in_use_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = Address("127.0.0.1", taken.getsockname()[1])
        listener = rpc.build(dispatcher({}), METHODS, LIMITS)
        with pytest.raises(CannotListen, match=str(address)):
            listener.listen(address)
    listener.stop(0)


def test_two_servers_do_not_share_a_port() -> None:
    with serving(dispatcher({})) as (_, channel):
        port = int(_target(channel).rpartition(":")[2])
        second = rpc.build(dispatcher({}), METHODS, LIMITS)
        with pytest.raises(CannotListen):
            second.listen(Address("127.0.0.1", port))
        second.stop(0)


def test_servicers_run_under_grpc_testing() -> None:
    seen: list[str] = []

    def post(call: Any, request: PostAnnotationsRequest) -> MultiAnnotationResponse:
        seen.append(call.app.id)
        return MultiAnnotationResponse(status=statuses.status(StatusCode.MIXED_STATUS, "some"))

    door = grpc_testing.server_from_dictionary(
        adaptors(dispatcher({"PostAnnotations": post})), grpc_testing.strict_real_time()
    )
    request = PostAnnotationsRequest(user_app_id=UserAppIDSet(app_id="birds"))
    run: Callable[..., Any] = door.invoke_unary_unary
    call = run(METHODS["PostAnnotations"].descriptor, (), request, 5)
    response, _, code, _ = call.termination()
    assert code is grpc.StatusCode.OK
    assert (response.status.code, seen) == (StatusCode.MIXED_STATUS, ["birds"])
