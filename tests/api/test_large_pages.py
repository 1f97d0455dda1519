"""Pages that are larger than an answer may be: refused with words that help, and never held in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from postil.core.drafts import MAX_BYTES
from postil.v1.annotation_service_pb2 import ListAnnotationsRequest
from postil.v1.common_pb2 import Pagination, UserAppIDSet
from postil.v1.input_service_pb2 import ListInputsRequest, PostInputsRequest, StreamInputsRequest
from postil.v1.search_pb2 import Search
from postil.v1.search_service_pb2 import PostAnnotationsSearchesRequest, PostInputsSearchesRequest
from postil.v1.status_code_pb2 import StatusCode
from support.server import OWN, Server

ROOM_MIB = 16  # of an answer
CACHE_MIB = 16  # SQLite's, of a thread that had not read before
INPUTS = 200  # of almost 1 MiB each, and an annotation as large beside each
BATCH = 10
APP = UserAppIDSet(app_id="large")
LARGE = "x" * (MAX_BYTES - 1000)
RPCS = ("ListInputs", "StreamInputs", "ListAnnotations", "PostInputsSearches", "PostAnnotationsSearches")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("large"), "--max-message-mb", str(ROOM_MIB))
    for start in range(0, INPUTS, BATCH):
        request = PostInputsRequest(user_app_id=APP)
        for number in range(start, start + BATCH):
            item = request.inputs.add(id=f"i{number:03}")
            item.data.embeddings.add(vector=[1.0, number / INPUTS])
            item.data.metadata.update({"long": LARGE})
        assert made.call(OWN, "PostInputs", request, timeout=120).status.code == StatusCode.SUCCESS
    yield made
    made.stop()


def near() -> Search:
    search = Search()
    search.query.ranks.add().annotation.data.embeddings.add(vector=[1.0, 0.0])
    return search


def asking(rpc: str, count: int) -> Any:
    """The request for a page of so many items."""
    page = Pagination(page=1, per_page=count)
    made: dict[str, Callable[[], Any]] = {
        "ListInputs": lambda: ListInputsRequest(user_app_id=APP, per_page=count),
        "StreamInputs": lambda: StreamInputsRequest(user_app_id=APP, per_page=count),
        "ListAnnotations": lambda: ListAnnotationsRequest(user_app_id=APP, per_page=count, list_all_annotations=True),
        "PostInputsSearches": lambda: PostInputsSearchesRequest(user_app_id=APP, searches=[near()], pagination=page),
        "PostAnnotationsSearches": lambda: PostAnnotationsSearchesRequest(
            user_app_id=APP, searches=[Search()], pagination=page
        ),
    }
    return made[rpc]()


def over_http(server: Server, rpc: str, count: int) -> tuple[int, Any]:
    """HTTP status and JSON of the same call."""
    base = f"{server.http}/v2/users/me/apps/large"
    page = {"page": 1, "per_page": count}
    rank = {"annotation": {"data": {"embeddings": [{"vector": [1.0, 0.0]}]}}}
    send: Callable[[], requests.Response] = {
        "ListInputs": lambda: requests.get(f"{base}/inputs?per_page={count}", timeout=120),
        "StreamInputs": lambda: requests.get(f"{base}/inputs/stream?per_page={count}", timeout=120),
        "ListAnnotations": lambda: requests.get(
            f"{base}/annotations?per_page={count}&list_all_annotations=true", timeout=120
        ),
        "PostInputsSearches": lambda: requests.post(
            f"{base}/inputs/searches",
            json={"searches": [{"query": {"ranks": [rank]}}], "pagination": page},
            timeout=120,
        ),
        "PostAnnotationsSearches": lambda: requests.post(
            f"{base}/annotations/searches", json={"searches": [{"query": {}}], "pagination": page}, timeout=120
        ),
    }[rpc]
    answer = send()
    return answer.status_code, answer.json()


def memory(server: Server, name: str) -> int:
    """A figure of the server's memory, in MiB."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(status.split(f"{name}:")[1].split()[0]) >> 10


def growth(server: Server, work: Callable[[], object]) -> int:
    """By how many MiB the server's memory grew at the most."""
    Path(f"/proc/{server.process.pid}/clear_refs").write_text("5")  # the peak starts anew
    before = memory(server, "VmRSS")
    work()
    return memory(server, "VmHWM") - before


def refused(status: Any) -> None:
    assert status["code"] == StatusCode.RPC_MAX_MESSAGE_SIZE_EXCEEDED
    assert f"{ROOM_MIB << 20:,} bytes" in status["details"]
    assert "smaller per_page" in status["details"]


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peaks of memory are told by Linux")
@pytest.mark.parametrize("rpc", RPCS)
def test_a_page_that_is_too_large_is_refused_and_never_held(server: Server, rpc: str) -> None:
    """The page has twelve times as much as an answer may have, and would be held several times over."""
    for _ in range(2):  # what a page that fits leaves behind is no growth
        assert server.call(OWN, rpc, asking(rpc, 4)).status.code == StatusCode.SUCCESS
        assert over_http(server, rpc, 4)[0] == 200

    def by_grpc() -> None:
        status = server.call(OWN, rpc, asking(rpc, INPUTS), timeout=120).status
        refused({"code": status.code, "details": status.details})

    def by_http() -> None:
        code, answer = over_http(server, rpc, INPUTS)
        assert code == 413
        refused(answer["status"])

    # Once as rows, once as the frames of hits. The page itself has twelve times as much or more, each time.
    most = 2 * ROOM_MIB + CACHE_MIB
    assert growth(server, by_grpc) < most
    assert growth(server, by_http) < most


def test_a_small_page_far_down_is_shown(server: Server) -> None:
    """Hits before it are passed over, a few at a time: together they are more than an answer may be."""
    request = asking("PostInputsSearches", 2)
    request.pagination.page = 40
    answer = server.call(OWN, "PostInputsSearches", request, timeout=120)
    assert answer.status.code == StatusCode.SUCCESS
    assert [hit.input.id for hit in answer.hits] == ["i078", "i079"]


def test_many_searches_are_one_answer(server: Server) -> None:
    request = asking("PostInputsSearches", 4)
    request.searches.extend([near()] * 5)
    status = server.call(OWN, "PostInputsSearches", request, timeout=120).status
    refused({"code": status.code, "details": status.details})


def test_json_is_larger_than_what_it_shows(server: Server) -> None:
    """Six letters for each that cannot be printed."""
    app = UserAppIDSet(app_id="unprintable")
    request = PostInputsRequest(user_app_id=app)
    for number in range(4):
        item = request.inputs.add(id=f"i{number}")
        item.data.embeddings.add(vector=[1.0, 0.0])
        item.data.metadata.update({"long": "\x01" * len(LARGE)})
    assert server.call(OWN, "PostInputs", request, timeout=120).status.code == StatusCode.SUCCESS
    listed = server.call(OWN, "ListInputs", ListInputsRequest(user_app_id=app))
    assert len(listed.inputs) == 4
    answer = requests.get(f"{server.http}/v2/users/me/apps/unprintable/inputs", timeout=120)
    assert answer.status_code == 413
    refused(answer.json()["status"])
    assert "The first 3 of 4 items, in JSON," in answer.json()["status"]["details"]
