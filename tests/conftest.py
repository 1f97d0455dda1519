"""Fixtures that all tests share: a real server, both service names, an app of one's own, photographs."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from postil.v1.common_pb2 import UserAppIDSet
from support.photos import photo
from support.server import NAMES, Server

# Tests post pictures from servers on this machine.
_FETCH = ("--fetch-allow", "127.0.0.0/8")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for the whole run. Tests stay apart by using apps of their own (`app`)."""
    running = Server(tmp_path_factory.mktemp("server"), *_FETCH)
    yield running
    code = running.stop()
    assert code == 0, running.tail()


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Starts servers of the test's own: `start_server("--max-message-mb", "1", folder="name")`."""
    running: list[Server] = []

    def start(*options: str, folder: str = "server") -> Server:
        place = tmp_path / folder
        place.mkdir(exist_ok=True)
        running.append(Server(place, *_FETCH, *options))
        return running[-1]

    yield start
    for one in running:
        one.stop()


@pytest.fixture(params=NAMES, ids=["own", "vendor"])
def service_name(request: pytest.FixtureRequest) -> str:
    """Both names of every RPC, for `server.call(service_name, rpc, request)`."""
    name: str = request.param
    return name


@pytest.fixture
def call(server: Server, service_name: str) -> Callable[..., Any]:
    """`call(rpc, request)` under both service names."""

    def invoke(rpc: str, request: Any, **options: Any) -> Any:
        return server.call(service_name, rpc, request, **options)

    return invoke


@pytest.fixture
def app() -> UserAppIDSet:
    """An app that no other test uses; the server creates it when it is named."""
    return UserAppIDSet(user_id="me", app_id=f"test-{uuid.uuid4().hex[:16]}")


@pytest.fixture(scope="session")
def photos() -> dict[str, bytes]:
    """Real photographs by what they show."""
    return {"cat": photo("chelsea.png"), "cup": photo("coffee.png"), "rocket": photo("rocket.jpg")}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Shows the end of the server's log below a test that failed."""
    report = yield
    running = getattr(item, "funcargs", {}).get("server")
    if report.failed and isinstance(running, Server):
        report.sections.append(("server log", running.tail()))
    return report
