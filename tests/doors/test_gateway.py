"""The gateway over a real HTTP listener: what reaches the dispatcher, what comes back, what is refused and how."""

from __future__ import annotations

import gzip
import json
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from google.protobuf.message import Message

from postil import errors
from postil.config import Address
from postil.core import statuses
from postil.core.call import Call
from postil.doors.http import site
from postil.doors.http.bindings import bindings_of
from postil.doors.http.gateway import Gateway, Limits
from postil.doors.http.server import HttpDoor
from postil.doors.rpc.dispatcher import Handler
from postil.doors.rpc.limits import Limits as Room
from postil.errors import Failure
from postil.v1.annotation_service_pb2 import ListAnnotationsRequest
from postil.v1.concept_service_pb2 import MultiConceptResponse, PostConceptsRequest
from postil.v1.input_service_pb2 import MultiInputResponse
from postil.v1.model_service_pb2 import MultiModelResponse
from postil.v1.status_code_pb2 import StatusCode
from postil.v1.status_pb2 import BaseResponse
from support.doors import METHODS, dispatcher

LARGEST = 100_000


class Door:
    """A gateway whose RPCs remember what they were asked."""

    def __init__(self, handlers: dict[str, Handler], origins: tuple[str, ...] = (), room: Room | None = None) -> None:
        self.asked: list[tuple[str, Any]] = []
        self.metadata: list[dict[str, str]] = []
        self.gateway = Gateway(METHODS, Limits(8, LARGEST, 4 * LARGEST), origins)
        inner = dispatcher(handlers, limits=room)

        def call(method: str, request: Any, metadata: Any, **_options: Any) -> bytes:
            self.metadata.append(dict(metadata))
            return inner.call(method, request, metadata)

        self.gateway.open(call)

        async def nothing(*_: Any) -> None:
            raise AssertionError("a call went astray")

        self.server = HttpDoor(site.build(self.gateway, nothing, origins))
        self.url = f"http://127.0.0.1:{self.server.listen(Address('127.0.0.1', 0))}"

    def remember(self, name: str) -> Handler:
        def handler(_: Call, request: Any) -> Message:
            self.asked.append((name, request))
            return METHODS[name].response()

        return handler

    def send(self, verb: str, path: str, body: Any = None, **headers: str) -> requests.Response:
        data = body if body is None or isinstance(body, bytes | str) else json.dumps(body)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return requests.request(verb, self.url + path, data=data, headers=named, timeout=20)

    def close(self) -> None:
        self.server.stop()
        self.gateway.close()


@pytest.fixture
def door() -> Iterator[Door]:
    """Every RPC is built and succeeds."""
    handlers: dict[str, Handler] = {}
    running = Door(handlers_of(handlers))
    handlers.update({name: running.remember(name) for name in METHODS})
    yield running
    running.close()


def handlers_of(late: dict[str, Handler]) -> dict[str, Handler]:
    """Handlers that look up what to do when they are called."""
    return {name: lambda call, request, name=name: late[name](call, request) for name in METHODS}  # type: ignore[misc]


@pytest.fixture
def open_door() -> Iterator[Any]:
    """Doors of the test's own."""
    running: list[Door] = []

    def make(*args: Any, **options: Any) -> Door:
        running.append(Door(*args, **options))
        return running[-1]

    yield make
    for one in running:
        one.close()


def code(answer: requests.Response) -> tuple[int, int]:
    return answer.status_code, answer.json()["status"]["code"]


def test_every_binding_reaches_its_rpc_with_its_path_in_the_request(door: Door) -> None:
    for method in METHODS.values():
        for binding in bindings_of(method):
            path = binding.path
            for place, capture in enumerate(binding.captures):
                path = path.replace(f"{{{capture}}}", f"id-{place}")
            answer = door.send(binding.verb, path, {} if binding.body else None)
            assert code(answer) == (200, StatusCode.SUCCESS), answer.text
            name, request = door.asked[-1]
            assert name == method.name
            for place, capture in enumerate(binding.captures):
                at = request
                for step in capture.split("."):
                    at = getattr(at, step)
                assert at == f"id-{place}"


def test_the_body_and_the_path_make_the_request(door: Door) -> None:
    body = {
        "user_app_id": {"user_id": "other", "app_id": "other"},
        "concepts": [{"id": "é/ü"}, {"id": "b", "value": 0}],
    }
    assert code(door.send("POST", "/v2/users/me/apps/a%2Db/concepts", body)) == (200, 10000)
    wanted = PostConceptsRequest()
    wanted.user_app_id.user_id, wanted.user_app_id.app_id = "me", "a-b"
    wanted.concepts.add(id="é/ü", value=1)
    wanted.concepts.add(id="b")
    assert door.asked == [("PostConcepts", wanted)]


@pytest.mark.parametrize("spelling", ["True", "true", "1"])
def test_query_parameters(door: Door, spelling: str) -> None:
    ids = "user_app_id.user_id=me&user_app_id.app_id=x&ids=a&ids=b%2Fc"
    query = f"{ids}&page=2&per_page=&list_all_annotations={spelling}&taskId=t&nope=1"
    assert code(door.send("GET", f"/v2/annotations?{query}")) == (200, 10000)
    wanted = ListAnnotationsRequest(ids=["a", "b/c"], page=2, list_all_annotations=True, task_id="t")
    wanted.user_app_id.user_id, wanted.user_app_id.app_id = "me", "x"
    assert door.asked == [("ListAnnotations", wanted)]


def test_a_message_in_the_query(door: Door) -> None:
    door.send("GET", "/v2/inputs?status.code=30000")
    assert door.asked[0][1].status.code == StatusCode.INPUT_SUCCESS


def test_repeated_messages_in_the_query(door: Door) -> None:
    door.send("GET", "/v2/annotations?statuses.code=24150&statuses.code=ANNOTATION_PENDING&user_ids=a")
    _, request = door.asked[0]
    assert [status.code for status in request.statuses] == [24150, 24151]


@pytest.mark.parametrize("query", ["page=x", "page=-1", "status.code=NOPE", "ids=%ff"])
def test_queries_that_cannot_be_read(door: Door, query: str) -> None:
    assert code(door.send("GET", f"/v2/inputs?{query}")) == (400, StatusCode.CONN_BAD_REQUEST_FORMAT)


@pytest.mark.parametrize("body", ["", "{}", " "])
def test_a_body_may_be_empty_where_the_request_may(door: Door, body: str) -> None:
    assert code(door.send("POST", "/v2/models/m/versions", body)) == (200, 10000)
    assert code(door.send("DELETE", "/v2/inputs/i", body)) == (200, 10000)


def test_headers_become_metadata(door: Door) -> None:
    passed = {
        "authorization": "Bearer x", "x-clarifai-session-token": "s", "x-clarifai-request-id-prefix": "mine"
    }  # fmt: skip
    answer = door.send("GET", "/v2/inputs", Cookie="no", **passed)
    assert door.metadata == [passed]
    assert answer.json()["status"]["req_id"].startswith("mine-")


@pytest.mark.parametrize(
    ("raised", "status"),
    [
        (StatusCode.MIXED_STATUS, 207),
        (StatusCode.FAILURE, 400),
        (StatusCode.CONN_THROTTLED, 429),
        (StatusCode.CONN_KEY_INVALID, 401),
        (StatusCode.CONN_KEY_NOT_FOUND, 401),
        (StatusCode.CONN_INSUFFICIENT_SCOPES, 403),
        (StatusCode.CONN_DOES_NOT_EXIST, 404),
        (StatusCode.ANNOTATION_INVALID_ARGUMENT, 400),
        (StatusCode.ANNOTATION_PERMISSION_DENIED, 403),
        (StatusCode.INTERNAL_SERVER_ISSUE, 500),
    ],
)
def test_the_http_status_follows_from_the_code(open_door: Any, raised: StatusCode.ValueType, status: int) -> None:
    def fail(_: Call, __: Any) -> Message:
        raise Failure(raised, "because")

    answer = open_door({"ListInputs": fail}).send("GET", "/v2/inputs")
    assert code(answer) == (status, raised)
    assert answer.json()["status"]["details"] == "because"
    assert answer.json()["inputs"] == []


def test_a_fault_tells_nothing(open_door: Any) -> None:
    def fail(_: Call, __: Any) -> Message:
        raise RuntimeError("secret")

    answer = open_door({"ListInputs": fail}).send("GET", "/v2/inputs")
    assert code(answer) == (500, StatusCode.INTERNAL_SERVER_ISSUE)
    assert "secret" not in answer.text


def test_what_is_declared_but_not_built_says_so(open_door: Any) -> None:
    assert code(open_door({}).send("POST", "/v2/searches", {})) == (501, StatusCode.NOT_IMPLEMENTED)


def test_overload_is_told_as_too_many_requests(open_door: Any) -> None:
    going, enough = threading.Event(), threading.Event()

    def wait(_: Call, __: Any) -> Message:
        going.set()
        enough.wait(20)
        return MultiInputResponse()

    door = open_door({"ListInputs": wait}, room=Room(1, 1 << 20))
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(door.send, "GET", "/v2/inputs")
        going.wait(20)
        assert code(door.send("GET", "/v2/inputs")) == (429, StatusCode.CONN_THROTTLED)
        enough.set()
        assert code(first.result()) == (200, 10000)


def test_a_door_that_is_not_open_yet(open_door: Any) -> None:
    door = open_door({})
    door.gateway.close()
    answer = door.send("GET", "/v2/inputs")
    assert code(answer) == (503, StatusCode.RPC_SERVER_UNAVAILABLE)


@pytest.mark.parametrize("path", ["/v2/nowhere", "/v2", "/v2/inputs/a/b/c"])
def test_an_unknown_path(door: Door, path: str) -> None:
    assert code(door.send("GET", path)) == (404, StatusCode.CONN_DOES_NOT_EXIST)


def test_a_wrong_method(door: Door) -> None:
    answer = door.send("PUT", "/v2/inputs", "{}")
    assert code(answer) == (405, StatusCode.CONN_METHOD_NOT_ALLOWED)
    assert answer.headers["allow"] == "DELETE, GET, PATCH, POST, OPTIONS"
    answer = door.send("OPTIONS", "/v2/inputs")
    assert (answer.status_code, answer.content) == (204, b"")
    answer = door.send("HEAD", "/v2/inputs")
    assert (answer.status_code, answer.content) == (200, b"")


@pytest.mark.parametrize(
    "body", ["{", "[]", "nope", '{"inputs": 1}', '{"inputs": [{"id": {}}]}', b"\xff\xfe", '{"a":' * 5000]
)
def test_malformed_bodies(door: Door, body: Any) -> None:
    answer = door.send("POST", "/v2/inputs", body)
    assert code(answer) == (400, StatusCode.CONN_BAD_REQUEST_FORMAT)
    assert answer.json()["status"]["details"]
    assert answer.json()["status"]["req_id"]
    assert door.asked == []


@pytest.mark.parametrize(
    "kind", ["application/json", "text/plain;charset=UTF-8", "application/x-www-form-urlencoded", None]
)
def test_the_content_type_does_not_matter(door: Door, kind: str | None) -> None:
    headers = {"Content_Type": kind} if kind else {}
    assert code(door.send("POST", "/v2/concepts", '{"concepts": [{"id": "a"}]}', **headers)) == (200, 10000)


def test_a_body_over_the_limit(door: Door) -> None:
    assert code(door.send("POST", "/v2/inputs", b" " * (LARGEST + 1))) == (
        413,
        StatusCode.RPC_MAX_MESSAGE_SIZE_EXCEEDED,
    )
    chunks = (b" " * 10_000 for _ in range(11))
    answer = requests.post(door.url + "/v2/inputs", data=chunks, timeout=20)  # length not said
    assert code(answer) == (413, StatusCode.RPC_MAX_MESSAGE_SIZE_EXCEEDED)
    assert code(door.send("POST", "/v2/inputs", b" " * LARGEST)) == (200, 10000)


def test_compressed_requests(door: Door) -> None:
    body = gzip.compress(b'{"concepts": [{"id": "a"}]}')
    assert code(door.send("POST", "/v2/concepts", body, Content_Encoding="gzip")) == (200, 10000)
    assert door.asked[0][1].concepts[0].id == "a"
    bomb = gzip.compress(b" " * 50_000_000)
    assert len(bomb) < LARGEST
    assert code(door.send("POST", "/v2/concepts", bomb, Content_Encoding="gzip"))[0] == 413
    assert code(door.send("POST", "/v2/concepts", body[:-9], Content_Encoding="gzip"))[0] == 400
    assert code(door.send("POST", "/v2/concepts", b"{}", Content_Encoding="gzip"))[0] == 400
    assert code(door.send("POST", "/v2/concepts", b"{}", Content_Encoding="br"))[0] == 400


def test_compressed_replies(open_door: Any) -> None:
    reply = MultiConceptResponse()
    for place in range(200):
        reply.concepts.add(id=f"concept-{place}")
    door = open_door({"ListConcepts": lambda _, __: reply})
    plain = door.send("GET", "/v2/concepts", Accept_Encoding="identity")
    small = door.send("GET", "/v2/concepts", Accept_Encoding="br, gzip;q=0.8")
    assert "content-encoding" not in plain.headers
    assert small.headers["content-encoding"] == "gzip"
    assert int(small.headers["content-length"]) < len(plain.content) / 4
    assert small.json()["concepts"] == plain.json()["concepts"]
    assert "content-encoding" not in door.send("GET", "/v2/concepts", Accept_Encoding="gzip;q=0").headers


def test_pages_of_other_sites(door: Door, open_door: Any) -> None:
    assert door.send("POST", "/v2/concepts", "{}", Origin="http://evil.example").status_code == 403
    assert door.send("POST", "/v2/concepts", "{}", Origin="null").status_code == 403
    assert door.asked == []
    assert door.send("POST", "/v2/concepts", "{}", Origin=door.url).status_code == 200
    other = open_door({"PostConcepts": lambda _, __: MultiConceptResponse()}, ("https://labels.example.org",))
    preflight = other.send(
        "OPTIONS", "/v2/concepts", Origin="https://labels.example.org",
        Access_Control_Request_Method="POST",
        Access_Control_Request_Headers="authorization,content-type,x-clarifai-client",
    )  # fmt: skip
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == "https://labels.example.org"
    assert "x-clarifai-client" in preflight.headers["access-control-allow-headers"]
    answer = other.send("POST", "/v2/concepts", "{}", Origin="https://labels.example.org")
    assert answer.headers["access-control-allow-origin"] == "https://labels.example.org"
    assert other.send("POST", "/v2/concepts", "{}", Origin="http://evil.example").status_code == 403
    anybody = open_door({"PostConcepts": lambda _, __: MultiConceptResponse()}, ("*",))
    answer = anybody.send("POST", "/v2/concepts", "{}", Origin="http://evil.example")
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, "*")


@pytest.mark.parametrize(
    ("client", "old"), [("python:2.6.2", True), ("js:2.9.1", True), ("python:12.5.0", False), ("", False)]
)
def test_old_clients_get_the_keys_they_index(open_door: Any, client: str, old: bool) -> None:
    reply = MultiModelResponse()
    reply.models.add(id="m", model_type_id="visual-embedder").created_at.seconds = 1
    door = open_door({"ListModels": lambda _, __: reply})
    (model,) = door.send("GET", "/v2/models", X_Clarifai_Client=client).json()["models"]
    assert ("output_info" in model) == old
    if old:
        assert model["output_info"] == {"type": "embed", "type_ext": "embed"}
        assert (model["name"], model["app_id"], model["created_at"]) == ("m", "", "1970-01-01T00:00:01Z")
        assert model["model_version"]["status"]["code"] == StatusCode.MODEL_TRAINED
        assert "id" in model["model_version"]


def test_a_client_that_hangs_up_costs_nothing(door: Door) -> None:
    port = int(door.url.rpartition(":")[2])
    for _ in range(50):
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(
                b"POST /v2/concepts HTTP/1.1\r\nhost: x\r\ncontent-length: 90000\r\n\r\n" + b" " * 80_000
            )
    for _ in range(5):  # their room was given back
        assert code(door.send("POST", "/v2/concepts", b" " * LARGEST)) == (200, 10000)


def test_many_at_once(door: Door) -> None:
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda place: door.send("GET", f"/v2/inputs/{place}"), range(200)))
    assert {code(answer) for answer in answers} == {(200, 10000)}
    assert {request.input_id for _, request in door.asked} == {str(place) for place in range(200)}


def test_the_summary_of_items_decides(open_door: Any) -> None:
    items = [statuses.status(StatusCode.SUCCESS), statuses.of_failure(errors.missing("gone"))]
    door = open_door({"DeleteInputs": lambda _, __: BaseResponse(status=statuses.summary(items))})
    assert code(door.send("DELETE", "/v2/inputs", {})) == (207, StatusCode.MIXED_STATUS)
