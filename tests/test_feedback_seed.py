"""The published page on feedback: each of its Python, JavaScript and curl samples, against a real server.

Only the host and the placeholders differ. The clients run in environments and processes of their own.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from postil.v1.data_pb2 import RegionInfoFeedback
from postil.v1.feedback_service_pb2 import FeedbackEvent, ListFeedbackRequest
from postil.v1.input_pb2 import EventType
from postil.v1.search_pb2 import Query, Rank, Search
from postil.v1.search_service_pb2 import PostInputsSearchesRequest
from postil.v1.status_code_pb2 import StatusCode
from postil_client import Client
from support.external import missing, published_client
from support.photos import photo
from support.server import OWN, Server

pytestmark = pytest.mark.timeout(300)  # the first run installs the clients

PROGRAMS = Path(__file__).parent / "programs"
GENERAL = "aaa03c23b3724a16a56b629203edc62c"
LOGO = "c443119bf2ed4da98487520d01a0b1e3"
OK = {"code": StatusCode.SUCCESS, "description": "Ok"}

# The bodies of the curl samples, with their placeholders; the second has a comma too many, as published.
CONCEPTS = """
{
"input": {
"id": "{input_id}",
"data": {
"image": {
"url": "https://samples.clarifai.com/dog.tiff"
},
"concepts":[
{"id": "ai_8S2Vq3cR", "value": true },
{"id": "ai_mFqxrph2", "value": false }
]
},
"feedback_info":{
"event_type": "annotation",
"output_id": "{output_id}",
"end_user_id": "{end_user_id}",
"session_id": "{session_id}"
}
}
}"""
REGIONS = """
{
"input": {
"id": "{input_id}",
"data": {
"image": {
"url": "https://clarifai.com/images/model-samples/logo-002.jpg"
},
"regions":
[
{
"region_info": {
"bounding_box": {
"top_row": 0.3,
"left_col": 0.2,
"bottom_row": 0.7,
"right_col": 0.8
},
"feedback": "accurate"
},
"data": {
"concepts":[
{"id": "ai_TG4GHlnf", "value": true }
]
}
}
]
},
"feedback_info":{
"event_type": "annotation",
"output_id": "{output_id}",
"end_user_id": "{end_user_id}",
"session_id": "{session_id}",
}
}
}"""
SEARCH = """
{
"input": {
"id": "{input_id}",
"feedback_info": {
"event_type": "search_click",
"search_id": "{output_id}",
"end_user_id": "{end_user_id}",
"session_id": "{session_id}"
}
}
}"""


class World(NamedTuple):
    """A server with two pictures, and what fills the placeholders."""

    server: Server
    input_id: str
    search_id: str


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    server = Server(tmp_path_factory.mktemp("feedback-seed"))
    with Client(server.grpc) as client:
        names = {"cat": photo("chelsea.png"), "coffee": photo("coffee.png")}
        client.add_pictures(names)
        client.wait_until_processed(names)
    rank = Rank()
    rank.annotation.input_id = "cat"
    request = PostInputsSearchesRequest(searches=[Search(query=Query(ranks=[rank]))])
    answer = server.call(OWN, "PostInputsSearches", request)
    assert answer.status.code == StatusCode.SUCCESS
    yield World(server, "coffee", answer.id)
    server.stop()


def run(*command: str | Path, **environment: str) -> dict[str, Any]:
    """What a program printed last."""
    done = subprocess.run(
        [str(part) for part in command], check=False, capture_output=True, text=True, timeout=120,
        env={**os.environ, **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    report: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return report


def check(world: World, end_user: str) -> None:
    """Three things were said by this person, and kept as they were said."""
    request = ListFeedbackRequest(end_user_id=end_user)
    events: list[FeedbackEvent] = list(world.server.call(OWN, "ListFeedback", request).feedback)
    assert {event.input.id for event in events} == {world.input_id}
    assert {event.input.feedback_info.session_id for event in events} == {"session"}
    (click,) = [event for event in events if event.input.feedback_info.event_type == EventType.search_click]
    assert (click.input.feedback_info.search_id, click.matched) == (world.search_id, True)
    said = {event.model_id: event.input for event in events if event.id != click.id}
    assert len(said) == 2
    assert {one.feedback_info.output_id for one in said.values()} == {"made-up"}
    logos = said.pop(LOGO)
    (region,) = logos.data.regions
    assert region.region_info.feedback == RegionInfoFeedback.accurate
    assert region.region_info.bounding_box.top_row == pytest.approx(0.3)
    assert [(concept.id, concept.value) for concept in region.data.concepts] == [("ai_TG4GHlnf", 1)]
    (general,) = said.values()
    assert [(concept.id, concept.value) for concept in general.data.concepts] == [
        ("ai_8S2Vq3cR", 1),
        ("ai_mFqxrph2", 0),
    ]


def fine(report: dict[str, Any]) -> None:
    for name in ("concepts", "regions", "search"):
        assert OK.items() <= report[name].items(), name


def test_python(world: World) -> None:
    python = published_client("venvs/clarifai-2.*") / "bin/python"
    pure = {"PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": "python"}  # its protobuf has no native part for this Python
    ids = (world.input_id, "made-up", world.search_id, "python", "session")
    report = run(python, PROGRAMS / "feedback_seed.py", world.server.http, *ids, **pure)
    fine(report)
    assert (report["general"], report["logo"]) == (["general-image-recognition", "general-v1.3"], [LOGO, "logo"])
    check(world, "python")


def test_javascript(world: World) -> None:
    node = shutil.which("node") or missing("node", "apt-get install -y nodejs (brew install node)")
    home = published_client("node/clarifai-*")
    ids = (world.input_id, "made-up", world.search_id, "javascript", "session")
    fine(run(node, PROGRAMS / "feedback_seed.js", home, world.server.http, *ids))
    check(world, "javascript")


def test_curl(world: World) -> None:
    samples = [
        (CONCEPTS, f"/v2/models/{GENERAL}/feedback", "made-up"),
        (REGIONS, f"/v2/models/{LOGO}/feedback", "made-up"),
        (SEARCH, "/v2/searches/feedback", world.search_id),
    ]
    for body, path, output_id in samples:
        places = {"input_id": world.input_id, "output_id": output_id, "end_user_id": "curl", "session_id": "session"}
        filled = re.sub(r"\{(\w+)\}", lambda match, places=places: places[match[1]], body)  # type: ignore[misc]
        assert OK.items() <= curl(world.server.http + path, filled)["status"].items()
    check(world, "curl")


def test_predicting_with_a_model_that_is_known_by_name_only(world: World) -> None:
    reply = curl(f"{world.server.http}/v2/models/{LOGO}/outputs", '{"inputs": [{"data": {"text": {"raw": "x"}}}]}')
    assert reply["status"]["code"] == StatusCode.MODEL_DOES_NOT_EXIST
    assert "logos" in reply["status"]["details"]
    assert "general-image-recognition" in reply["status"]["details"]


def test_feedback_on_a_model_that_nobody_knows(world: World) -> None:
    body = CONCEPTS.replace("{input_id}", "cat")
    reply = curl(f"{world.server.http}/v2/models/no-such-model/feedback", body)
    assert reply["status"]["code"] == StatusCode.MODEL_DOES_NOT_EXIST
    assert reply["status"]["http_status_code"] == 404


def curl(url: str, body: str) -> dict[str, Any]:
    """The reply, however it fared."""
    command = shutil.which("curl") or missing("curl", "apt-get install -y curl")
    headers = ("-H", "Authorization: Key YOUR_API_KEY", "-H", "Content-Type: application/json")
    return run(command, "-s", "-X", "POST", *headers, "-d", body, url)
