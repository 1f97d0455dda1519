"""Inputs given by URL: URLs that do not answer hold up their own app alone, and are let go of when nobody waits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from postil.v1.common_pb2 import UserAppIDSet
from postil.v1.input_service_pb2 import (
    CancelInputsAddJobRequest,
    GetInputCountRequest,
    GetInputRequest,
    ListInputsRequest,
    PostInputsRequest,
)
from postil.v1.status_code_pb2 import StatusCode
from support.server import OWN, Server
from support.waiting import until
from support.web import WebServer

SLOW = UserAppIDSet(app_id="slow")
QUICK = UserAppIDSet(app_id="quick")
WAITING = (StatusCode.INPUT_PENDING, StatusCode.INPUT_IN_PROGRESS)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path, "--fetch-allow", "127.0.0.0/8")
    yield made
    made.stop()


def post(server: Server, app: UserAppIDSet, *urls: str, job: str = "") -> None:
    """Posts texts by URL, named by their place."""
    request = PostInputsRequest(user_app_id=app, inputs_add_job_id=job)
    for number, url in enumerate(urls):
        request.inputs.add(id=f"i{number}").data.text.url = url
    assert server.call(OWN, "PostInputs", request).status.code == StatusCode.SUCCESS


def state(server: Server, app: UserAppIDSet) -> int:
    """Of its first input."""
    request = GetInputRequest(user_app_id=app, input_id="i0")
    code: int = server.call(OWN, "GetInput", request).input.status.code
    return code


def pending(server: Server, app: UserAppIDSet) -> int:
    count: int = server.call(OWN, "GetInputCount", GetInputCountRequest(user_app_id=app)).counts.to_process
    return count


def test_slow_urls_hold_up_their_own_app_alone(server: Server, web: WebServer) -> None:
    slow = [web.hang(f"slow{number}") for number in range(20)]
    post(server, SLOW, *slow)
    until(lambda: len(web.requests) == 4)  # an app that is alone has half of the workers
    post(server, QUICK, web.serve("quick", b"here at once"))
    until(lambda: state(server, QUICK) not in WAITING)
    assert state(server, QUICK) == StatusCode.INPUT_SUCCESS
    assert pending(server, SLOW) == len(slow)
    assert web.requests.count("quick") == 1
    assert len(web.requests) == 5


def test_several_slow_apps_leave_room_for_the_next(server: Server, web: WebServer) -> None:
    for number, wanted in enumerate((4, 6, 7)):
        post(server, UserAppIDSet(app_id=f"slow{number}"), *(web.hang(f"{number}-{place}") for place in range(9)))
        until(lambda wanted=wanted: len(web.requests) == wanted)  # type: ignore[misc]
    post(server, QUICK, web.serve("quick", b"here at once"))
    until(lambda: state(server, QUICK) == StatusCode.INPUT_SUCCESS)


def test_a_cancelled_job_gives_its_workers_back(server: Server, web: WebServer) -> None:
    """The URLs that hang would take twenty seconds each, and one could see them end."""
    post(server, SLOW, *(web.hang(f"slow{number}") for number in range(4)), job="job")
    until(lambda: len(web.requests) == 4)
    server.call(OWN, "CancelInputsAddJob", CancelInputsAddJobRequest(user_app_id=SLOW, id="job"))
    until(lambda: len(web.ended) == 4)
    listed = server.call(OWN, "ListInputs", ListInputsRequest(user_app_id=SLOW)).inputs
    assert {one.status.details for one in listed} == {"The add job 'job' was cancelled."}


def test_a_server_that_stops_waits_for_no_url_and_forgets_none(server: Server, web: WebServer) -> None:
    post(server, SLOW, web.hang("slow"))
    until(lambda: web.requests == ["slow"])
    server.restart()  # in less time than a fetch may take
    assert state(server, SLOW) in WAITING
    until(lambda: web.requests == ["slow", "slow"])
