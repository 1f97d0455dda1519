"""Bad input over HTTP: the status code in the body and the HTTP status that goes with it, and a server that goes on."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from postil.v1.status_code_pb2 import StatusCode
from support.server import Server

GENERAL = "/models/general-image-recognition/feedback"
CLICKS = "/searches/feedback"
BOTH = [{"id": "cat"}, {"id": "cat", "value": 0}]


@pytest.fixture
def app(server: Server) -> Iterator[str]:
    """The address of an app with one input; whatever is sent there, it answers afterwards."""
    base = f"{server.http}/v2/users/me/apps/bad-{uuid.uuid4().hex[:12]}"
    made = requests.post(f"{base}/inputs", json={"inputs": [{"id": "one", "data": {"text": {"raw": "a"}}}]}, timeout=60)
    assert made.status_code == 200, made.text
    yield base
    assert requests.get(f"{base}/inputs/one", timeout=60).json()["status"]["code"] == StatusCode.SUCCESS


def told(answer: requests.Response) -> tuple[int, int, str]:
    """HTTP status, status code, and what it says; the body mirrors the HTTP status."""
    status = answer.json()["status"]
    assert status["http_status_code"] == answer.status_code
    assert status["description"]
    return answer.status_code, status["code"], status.get("details", "")


def post(app: str, path: str, body: Any) -> tuple[int, int, str]:
    data = body if isinstance(body, str | bytes) else json.dumps(body)
    return told(requests.post(app + path, data=data, timeout=120))


@pytest.mark.parametrize("body", ["{", "{'inputs': []}", '{"inputs": [}', "null", "[]", '"text"', "\xff", "NaN"])
@pytest.mark.parametrize("path", ["/inputs", "/annotations/searches", CLICKS])
def test_malformed_json(app: str, path: str, body: str) -> None:
    status, code, details = post(app, path, body.encode("latin-1"))
    assert (status, code) == (400, StatusCode.CONN_BAD_REQUEST_FORMAT)
    assert "JSON" in details or "UTF-8" in details


@pytest.mark.parametrize("verb", ["PUT", "TRACE"])
def test_a_wrong_method(app: str, verb: str) -> None:
    answer = requests.request(verb, f"{app}/inputs", timeout=60)
    status, code, details = told(answer)
    assert (status, code) == (405, StatusCode.CONN_METHOD_NOT_ALLOWED)
    assert "POST" in details
    assert {"GET", "POST", "PATCH", "DELETE"} <= set(answer.headers["allow"].split(", "))


@pytest.mark.parametrize("path", ["/inputz", "/inputs/one/two/three/four", "/models/x/feedbacks", "/%00"])
def test_an_unknown_path(app: str, path: str) -> None:
    status, code, _ = post(app, path, {})
    assert (status, code) == (404, StatusCode.CONN_DOES_NOT_EXIST)


@pytest.mark.parametrize(
    ("path", "event", "expected"),
    [
        (CLICKS, "annotation", StatusCode.SEARCH_INVALID_REQUEST),
        (GENERAL, "search_click", StatusCode.PREDICT_INVALID_REQUEST),
        (CLICKS, "no_such_event", StatusCode.CONN_BAD_REQUEST_FORMAT),
        (GENERAL, {"a": 1}, StatusCode.CONN_BAD_REQUEST_FORMAT),
    ],
)
def test_an_event_type_that_does_not_fit(app: str, path: str, event: Any, expected: int) -> None:
    said = {"event_type": event, "search_id": "s", "output_id": "o", "end_user_id": "u", "session_id": "s"}
    data = {"concepts": [{"id": "cat"}]}
    status, code, details = post(app, path, {"input": {"id": "one", "data": data, "feedback_info": said}})
    assert (status, code) == (400, expected)
    assert "event_type" in details


@pytest.mark.parametrize(
    ("path", "body", "named"),
    [
        (CLICKS, {"input": {"feedback_info": {"event_type": "search_click", "search_id": "s"}}}, "input"),
        (CLICKS, {"input": {"id": "one", "feedback_info": {"event_type": "search_click"}}}, "search_id"),
        (CLICKS, {}, "input"),
        (GENERAL, {"input": {"feedback_info": {"event_type": "annotation", "output_id": "o"}}}, "input"),
        (GENERAL, {}, "input"),
        ("/annotations", {"annotations": [{"data": {"concepts": [{"id": "cat"}]}}]}, "input_id"),
        ("/annotations", {"annotations": [{"input_id": "one", "data": {"concepts": [{"value": 1}]}}]}, "neither id"),
        ("/inputs", {}, "inputs"),
    ],
)
def test_ids_that_are_missing(app: str, path: str, body: Any, named: str) -> None:
    status, code, details = post(app, path, body)
    assert status == 400, details
    assert code != StatusCode.SUCCESS
    assert named in details


@pytest.mark.parametrize("data", [{"concepts": BOTH}, {"regions": [{"data": {"concepts": BOTH}}]}])
def test_a_concept_that_is_both_true_and_false(app: str, data: Any) -> None:
    said = {"event_type": "annotation", "output_id": "made-up", "end_user_id": "u", "session_id": "s"}
    status, code, details = post(app, GENERAL, {"input": {"id": "one", "data": data, "feedback_info": said}})
    assert (status, code) == (400, StatusCode.PREDICT_INVALID_REQUEST)
    assert "cat" in details


def test_a_body_of_100_mb(app: str) -> None:
    """Of values: more than may be held at once. Of one string: no picture, and said so."""
    numbers = b'{"inputs": [' + b"0," * (50 << 20) + b"0]}"
    assert post(app, "/inputs", numbers)[:2] == (413, StatusCode.RPC_MAX_MESSAGE_SIZE_EXCEEDED)
    assert post(app, "/inputs", b'{"inputs": [' + b"x" * (100 << 20))[:2] == (400, StatusCode.CONN_BAD_REQUEST_FORMAT)


def test_a_body_over_the_limit(app: str) -> None:
    """Refused by its length, before it is sent."""
    host, _, path = app.removeprefix("http://").partition("/")
    session = requests.Session()
    asked = requests.Request("POST", f"http://{host}/{path}/inputs").prepare()
    asked.headers["Content-Length"] = str(2 << 30)
    assert told(session.send(asked, timeout=60))[:2] == (413, StatusCode.RPC_MAX_MESSAGE_SIZE_EXCEEDED)


@pytest.mark.parametrize(
    "body",
    [
        '{"inputs": ' + "[" * 100_000,
        '{"inputs": ' + "[" * 100_000 + "]" * 100_000 + "}",
        '{"a": ' * 100_000 + "1" + "}" * 100_000,
        '{"inputs": [{"data": {"metadata": ' + '{"a": ' * 5_000 + "1" + "}" * 5_000 + "}}]}",
    ],
)
def test_a_body_that_is_deep(app: str, body: str) -> None:
    status, code, _ = post(app, "/inputs", body)
    assert (status, code) in {(400, StatusCode.CONN_BAD_REQUEST_FORMAT), (400, StatusCode.CONN_INVALID_REQUEST)}
