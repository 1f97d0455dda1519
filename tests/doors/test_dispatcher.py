"""The one path of every call: what reaches a servicer, what comes back, what is refused, what is counted."""

from __future__ import annotations

import logging
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from google.protobuf.message import Message

from postil.core import statuses
from postil.core.call import Call, Crowded
from postil.doors.rpc.dispatcher import Reason, Refused
from postil.doors.rpc.limits import Limits
from postil.errors import Failure
from postil.metrics import Metrics
from postil.v1.annotation_service_pb2 import MultiAnnotationResponse, PostAnnotationsRequest
from postil.v1.app_service_pb2 import GetAppRequest, SingleAppResponse
from postil.v1.common_pb2 import UserAppIDSet
from postil.v1.search_service_pb2 import MultiSearchResponse, PostInputsSearchesRequest
from postil.v1.status_code_pb2 import StatusCode
from postil.v1.status_service_pb2 import GetStatusCodeRequest, SingleStatusCodeResponse
from postil.v1.user_service_pb2 import GetUserRequest, SingleUserResponse
from support.doors import METHODS, FakeApps, dispatcher


class Spy:
    """A servicer's method that remembers its calls."""

    def __init__(self, answer: Message | bytes | BaseException) -> None:
        self.answer = answer
        self.calls: list[Call] = []
        self.requests: list[Any] = []

    def __call__(self, call: Call, request: Any) -> Message | bytes:
        self.calls.append(call)
        self.requests.append(request)
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


def post(answer: Message | bytes | BaseException, **given: Any) -> MultiAnnotationResponse:
    """One PostAnnotations through a dispatcher whose servicer gives or raises `answer`."""
    body = dispatcher({"PostAnnotations": Spy(answer)}).call("PostAnnotations", b"", **given)
    return MultiAnnotationResponse.FromString(body)


def metric(metrics: Metrics, sample: str) -> float:
    found = re.search(rf"^{re.escape(sample)} (\S+)$", metrics.render().decode(), re.MULTILINE)
    return float(found[1]) if found else 0.0


def test_fills_in_success() -> None:
    status = post(MultiAnnotationResponse()).status
    assert (status.code, status.description, status.http_status_code) == (10000, "Ok", 200)
    assert re.fullmatch("[0-9a-f]{32}", status.req_id)


def test_keeps_the_status_a_servicer_chose() -> None:
    status = post(MultiAnnotationResponse(status=statuses.status(StatusCode.MIXED_STATUS, "one of two"))).status
    assert (status.code, status.details) == (10010, "one of two")
    assert status.req_id


def test_bytes_are_final() -> None:
    final = MultiAnnotationResponse(status=statuses.status(StatusCode.SUCCESS)).SerializeToString()
    assert dispatcher({"PostAnnotations": Spy(final)}).call("PostAnnotations", b"") == final


def test_request_ids_differ_and_take_a_prefix() -> None:
    spy = Spy(MultiAnnotationResponse())
    door = dispatcher({"PostAnnotations": spy})
    for prefix in ("sdk-1", "sdk-1", "bad\nprefix"):
        door.call("PostAnnotations", b"", [("user-agent", "x"), ("x-clarifai-request-id-prefix", prefix)])
    first, second, third = (call.request_id for call in spy.calls)
    assert first != second
    assert re.fullmatch("sdk-1-[0-9a-f]{32}", first)
    assert re.fullmatch("[0-9a-f]{32}", third)


def test_a_failure_becomes_the_rpcs_own_response() -> None:
    status = post(Failure(StatusCode.ANNOTATION_INVALID_ARGUMENT, "annotations[0] has no input_id.", "notes")).status
    assert (status.code, status.description) == (24155, "Invalid annotation argument")
    assert (status.details, status.developer_notes) == ("annotations[0] has no input_id.", "notes")
    assert status.http_status_code == 400
    assert status.req_id


def test_an_unexpected_error_tells_nothing_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR, logger="postil"):
        status = post(RuntimeError("secret path /srv/x")).status
    assert status.code == StatusCode.INTERNAL_SERVER_ISSUE
    assert status.http_status_code == 500
    assert "secret" not in str(status)
    assert status.req_id in status.details
    (record,) = caplog.records
    assert "secret" in str(record.msg)
    assert status.req_id in str(record.msg)


def test_undecodable_bytes() -> None:
    spy = Spy(MultiAnnotationResponse())
    body = dispatcher({"PostAnnotations": spy}).call("PostAnnotations", b"\xff\xff\xff")
    status = MultiAnnotationResponse.FromString(body).status
    assert status.code == StatusCode.CONN_BAD_REQUEST_FORMAT
    assert "PostAnnotationsRequest" in status.details
    assert not spy.calls


def test_a_declared_rpc_without_servicer_is_unimplemented() -> None:
    with pytest.raises(Refused) as caught:
        dispatcher({}).call("PostModelFeedback", b"")
    assert caught.value.reason is Reason.UNIMPLEMENTED
    assert "PostModelFeedback" in caught.value.details


def test_a_handler_that_the_contract_does_not_know_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="PostNonsense"):
        dispatcher({"PostNonsense": Spy(b"")})


@pytest.mark.parametrize("named", [UserAppIDSet(), UserAppIDSet(user_id="me"), UserAppIDSet(user_id="postil")])
def test_default_user_and_app(named: UserAppIDSet) -> None:
    spy = Spy(MultiAnnotationResponse())
    dispatcher({"PostAnnotations": spy}).call(
        "PostAnnotations", PostAnnotationsRequest(user_app_id=named).SerializeToString()
    )
    (call,) = spy.calls
    assert (call.user_id, call.app.user_id, call.app.id, call.public) == ("postil", "postil", "main", False)


def test_apps_are_resolved_once_and_walled_off_by_user() -> None:
    apps, spy = FakeApps(), Spy(MultiAnnotationResponse())
    door = dispatcher({"PostAnnotations": spy}, apps)
    for user in ("ann", "bob", "ann"):
        named = UserAppIDSet(user_id=user, app_id="birds")
        door.call("PostAnnotations", PostAnnotationsRequest(user_app_id=named).SerializeToString())
    rows = [call.app.row for call in spy.calls]
    assert rows == [1, 2, 1]
    assert apps.asked == 2


def test_asking_for_an_app_does_not_create_it() -> None:
    apps, spy = FakeApps(), Spy(SingleAppResponse())
    request = GetAppRequest(user_app_id=UserAppIDSet(app_id="nowhere")).SerializeToString()
    status = SingleAppResponse.FromString(dispatcher({"GetApp": spy}, apps).call("GetApp", request)).status
    assert status.code == StatusCode.CONN_DOES_NOT_EXIST
    assert "nowhere" in status.details
    assert not spy.calls
    assert not apps.records


def test_the_public_app() -> None:
    spy = Spy(MultiSearchResponse())
    named = UserAppIDSet(user_id="clarifai", app_id="main")
    request = PostInputsSearchesRequest(user_app_id=named).SerializeToString()
    dispatcher({"PostInputsSearches": spy}).call("PostInputsSearches", request)
    assert spy.calls[0].public
    assert spy.calls[0].app_record is None


@pytest.mark.parametrize("wrong", ["a/b", "x" * 49, "a b", "ü", "a\nb"])
@pytest.mark.parametrize("field", ["user_id", "app_id"])
def test_ids_are_checked(field: str, wrong: str) -> None:
    apps = FakeApps()
    request = PostAnnotationsRequest(user_app_id=UserAppIDSet(**{field: wrong})).SerializeToString()
    body = dispatcher({"PostAnnotations": Spy(b"")}, apps).call("PostAnnotations", request)
    status = MultiAnnotationResponse.FromString(body).status
    assert status.code == StatusCode.CONN_INVALID_REQUEST
    assert field[:-3] in status.details
    assert not apps.asked


def test_calls_about_users_and_about_nothing_need_no_app() -> None:
    apps, user, code = FakeApps(), Spy(SingleUserResponse()), Spy(SingleStatusCodeResponse())
    door = dispatcher({"GetUser": user, "GetStatusCode": code}, apps)
    door.call("GetUser", GetUserRequest(user_app_id=UserAppIDSet(user_id="ann")).SerializeToString())
    door.call("GetStatusCode", GetStatusCodeRequest(status_code_id="10000").SerializeToString())
    assert user.calls[0].user_id == "ann"
    assert user.calls[0].app_record is None
    assert code.calls[0].app_record is None
    assert not apps.asked


def test_deadline_and_activity_reach_the_servicer() -> None:
    spy = Spy(MultiAnnotationResponse())
    deadline = time.monotonic() + 5
    there = [True]
    dispatcher({"PostAnnotations": spy}).call("PostAnnotations", b"", (), deadline, lambda: there[0])
    assert 4 < spy.calls[0].remaining() <= 5
    spy.calls[0].check()
    there[0] = False
    with pytest.raises(Failure) as caught:
        spy.calls[0].check()
    assert caught.value.code == StatusCode.RPC_REQUEST_TIMEOUT


def test_a_caller_who_has_hung_up_is_not_worked_for() -> None:
    spy = Spy(MultiAnnotationResponse())
    with pytest.raises(Refused) as caught:
        dispatcher({"PostAnnotations": spy}).call("PostAnnotations", b"", (), None, lambda: False)
    assert caught.value.reason is Reason.TIMED_OUT
    assert not spy.calls


def test_a_deadline_that_has_passed_is_refused() -> None:
    spy = Spy(MultiAnnotationResponse())
    with pytest.raises(Refused) as caught:
        dispatcher({"PostAnnotations": spy}).call("PostAnnotations", b"", (), time.monotonic() - 1)
    assert caught.value.reason is Reason.TIMED_OUT
    assert not spy.calls


@pytest.mark.parametrize(("calls", "size"), [(1, 1 << 20), (9, 10)])
def test_overload_is_refused_and_room_comes_back(calls: int, size: int) -> None:
    began, go, metrics = threading.Event(), threading.Event(), Metrics()

    def slow(_call: Call, _request: Any) -> Message:
        began.set()
        assert go.wait(10)
        return MultiAnnotationResponse()

    door = dispatcher({"PostAnnotations": slow}, limits=Limits(calls, size), metrics=metrics)
    request = PostAnnotationsRequest(user_app_id=UserAppIDSet(app_id="a")).SerializeToString()
    assert len(request) > 3
    request *= 2  # merging the same field twice is legal; two of them are more than ten bytes
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(door.call, "PostAnnotations", request)
        assert began.wait(10)
        with pytest.raises(Refused) as caught:
            door.call("PostAnnotations", request)
        go.set()
        first.result(10)
    assert caught.value.reason is Reason.EXHAUSTED
    assert metric(metrics, 'postil_refused_total{reason="exhausted"}') == 1
    door.call("PostAnnotations", request)  # there is room again


def test_what_would_be_too_late_is_refused_like_overload() -> None:
    metrics = Metrics()
    door = dispatcher({"PostInputsSearches": Spy(Crowded())}, metrics=metrics)
    with pytest.raises(Refused) as caught:
        door.call("PostInputsSearches", b"")
    assert caught.value.reason is Reason.EXHAUSTED
    assert "longer deadline" in caught.value.details
    assert metric(metrics, 'postil_refused_total{reason="exhausted"}') == 1


def test_a_closed_gate_refuses() -> None:
    door = dispatcher({"PostAnnotations": Spy(MultiAnnotationResponse())})
    door.admit(calls=False)
    with pytest.raises(Refused) as caught:
        door.call("PostAnnotations", b"")
    assert caught.value.reason is Reason.UNAVAILABLE
    door.admit(calls=True)
    door.call("PostAnnotations", b"")


def test_room_comes_back_after_errors() -> None:
    door = dispatcher({"PostAnnotations": Spy(RuntimeError("no"))}, limits=Limits(1, 100))
    for _ in range(3):
        door.call("PostAnnotations", b"")


def test_counts_by_code() -> None:
    metrics = Metrics()
    spy = Spy(MultiAnnotationResponse())
    door = dispatcher({"PostAnnotations": spy}, metrics=metrics)
    door.call("PostAnnotations", b"")
    door.call("PostAnnotations", b"")
    spy.answer = Failure(StatusCode.INPUT_DOES_NOT_EXIST, "gone")
    door.call("PostAnnotations", b"")
    assert metric(metrics, 'postil_calls_total{code="10000",rpc="PostAnnotations"}') == 2
    assert metric(metrics, 'postil_calls_total{code="30102",rpc="PostAnnotations"}') == 1
    assert metric(metrics, 'postil_call_seconds_count{rpc="PostAnnotations"}') == 3


def test_scopes_come_from_the_http_bindings() -> None:
    def scope(name: str) -> str:
        return METHODS[name].scope.value

    assert [scope(n) for n in ("PostAnnotations", "ListModels", "GetApp", "DeleteApp", "PatchApp")] == ["app"] * 5
    assert [scope(n) for n in ("ListApps", "PostApps", "PatchApps", "GetUser")] == ["user"] * 4
    assert [scope(n) for n in ("ListStatusCodes", "GetStatusCode")] == ["none"] * 2
    assert METHODS["PostAnnotations"].creates_app
    assert not any(METHODS[n].creates_app for n in ("GetApp", "DeleteApp", "PatchApp", "PatchApps", "GetUser"))


def test_reads_and_writes_are_told_apart() -> None:
    reads = {name for name, method in METHODS.items() if method.reads}
    assert {"GetInput", "ListAnnotations", "PostAnnotationsSearches", "PostInputsSearches", "StreamInputs"} <= reads
    assert not reads & {
        "PostInputs",
        "PatchAnnotations",
        "DeleteInputs",
        "PatchAnnotationsSearches",
        "PostSearchFeedback",
    }
