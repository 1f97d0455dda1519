"""Published clients of several generations, each in its own environment and process, against a real server.

Only the host differs from what their users wrote. The gRPC client has a file of its own (test_published_clients.py).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from postil.v1.status_code_pb2 import StatusCode
from support.external import missing, published_client
from support.photos import photo
from support.server import Server
from support.web import WebServer

pytestmark = pytest.mark.timeout(300)  # the first run installs the clients

PROGRAMS = Path(__file__).parent / "programs"
GONE = [404, StatusCode.CONN_DOES_NOT_EXIST]
MODELS = {"general-image-embedding", "general-text-embedding", "general-image-recognition"}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose first file, by name, is the cat."""
    folder = tmp_path_factory.mktemp("pictures")
    for name in ("chelsea.png", "coffee.png", "rocket.jpg"):
        (folder / name).write_bytes(photo(name))
    return folder


@pytest.fixture
def world(tmp_path: Path) -> Iterator[tuple[Server, str]]:
    """A server of the program's own, and the address of the cat on a web of one machine."""
    server, web = Server(tmp_path, "--fetch-allow", "127.0.0.0/8"), WebServer()
    yield server, web.serve("cat.png", photo("chelsea.png"))
    web.close()
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


def test_python_2_6_2(world: tuple[Server, str], pictures: Path) -> None:
    server, url = world
    python = published_client("venvs/clarifai-2.*") / "bin/python"
    pure = {"PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": "python"}  # its protobuf has no native part for this Python
    report = run(python, PROGRAMS / "clarifai_2_6_2.py", server.http, pictures, url, **pure)
    upload = report["upload"]
    assert (upload["concepts"], upload["not_concepts"], upload["metadata"]) == (["cat"], ["dog"], {"a": {"b": [1, 2]}})
    assert upload["status"] == StatusCode.INPUT_SUCCESS
    assert upload["url"].startswith(server.http)
    assert report["got"] == upload
    assert report["by_url"]["url"] == url
    assert [image["id"] for image in report["bulk"]] == ["coffee", "rocket"]
    assert (report["counts"], report["geo"]) == (4, [-73.0, 40.5])
    assert len(report["page"]) == 2
    assert report["all"] == ["by url", "coffee", "first", "rocket"]
    assert (report["merged"]["concepts"], report["merged"]["not_concepts"]) == (["cat", "whiskers"], ["dog", "car"])
    assert (report["removed"]["concepts"], report["removed"]["not_concepts"]) == (["cat"], ["dog"])
    assert (report["overwritten"]["concepts"], report["overwritten"]["url"]) == (["lion"], upload["url"])
    assert report["metadata"]["metadata"] == {"c": 3.5}
    assert report["duplicate"] == [400, StatusCode.FAILURE]
    assert report["concept"] == ["A tree", "A tree"]
    assert report["concepts"] == ["car", "cat", "dog", "lion", "tree", "whiskers"]
    assert (report["found"], report["renamed"]) == (["whiskers"], "Two trees")
    assert report["no concept"] == report["gone"] == GONE
    assert {name for name, _ in report["models"]} >= MODELS
    assert {code for _, code in report["models"]} == {StatusCode.MODEL_TRAINED}
    assert report["deleted"] == StatusCode.SUCCESS
    assert report["everything"] == [400, StatusCode.INPUT_INVALID_ARGUMENT], "nothing deletes a whole app by a flag"
    assert report["left"] == ["first"]


def test_javascript_2_9_1(world: tuple[Server, str], pictures: Path) -> None:
    server, url = world
    node = shutil.which("node") or missing("node", "apt-get install -y nodejs (brew install node)")
    home = published_client("node/clarifai-*")
    report = run(node, PROGRAMS / "clarifai_2_9_1.js", home, server.http, pictures, url)
    (upload,) = report["upload"]
    # The client itself turns 0 into null.
    assert upload["concepts"] == [["cat", 1], ["dog", None], ["animal", 1]]
    assert upload["metadata"] == {"a": {"b": 1}}
    assert upload["imageUrl"].startswith(server.http)
    assert report["got"] == upload
    assert len(report["unnamed"][0]["id"]) == 32
    assert (report["unnamed"][1]["id"], report["unnamed"][1]["imageUrl"]) == ("by url", url)
    assert report["counts"]["processed"] + report["counts"]["to_process"] == 3
    assert len(report["page"]) == 2
    assert ["whiskers", 1] in report["merged"][0]["concepts"]
    assert report["removed"][0]["concepts"] == upload["concepts"]
    assert report["overwritten"][0]["concepts"] == [["lion", 1]]
    assert report["duplicate"] == [400, StatusCode.FAILURE]
    assert (report["concept"], report["gotConcept"]) == ([["tree", "A tree"]], "A tree")
    assert report["concepts"] == ["animal", "cat", "dog", "lion", "tree", "whiskers"]
    assert report["found"] == ["whiskers"]
    assert set(report["models"]) >= MODELS
    assert report["noInput"] == report["noModel"] == report["gone"] == GONE
    assert report["deleted"] == StatusCode.SUCCESS
    assert report["everything"] == [400, StatusCode.INPUT_INVALID_ARGUMENT]


def test_json_channel(world: tuple[Server, str], pictures: Path) -> None:
    server, url = world
    python = published_client("venvs/clarifai-json-*") / "bin/python"
    report = run(python, PROGRAMS / "clarifai_json.py", server.http, pictures, url)
    assert {step: reply["code"] for step, reply in report.items() if step != "gone"} == dict.fromkeys(
        [step for step in report if step != "gone"], StatusCode.SUCCESS
    )
    assert report["gone"]["code"] == StatusCode.CONN_DOES_NOT_EXIST
    assert report["got"]["status"]["req_id"].startswith("python-json-")
    cat, *_ = report["upload"]["inputs"]
    assert report["got"]["input"] == cat
    assert [(c["id"], c.get("value", 0)) for c in cat["data"]["concepts"]] == [("cat", 1), ("dog", 0)]
    assert len(report["page"]["inputs"]) == 2
    made = report["annotate"]["annotations"][0]
    assert report["annotation"]["annotation"]["data"] == made["data"]
    assert made["data"]["regions"][0]["region_info"]["bounding_box"] == {"bottom_row": 0.5, "right_col": 0.5}
    assert made["id"] in [one["id"] for one in report["annotations"]["annotations"]]
    for step in ("search", "searched inputs"):
        first, *others = report[step]["hits"]
        assert first["input"]["id"] == "chelsea"
        assert first["score"] >= max(hit["score"] for hit in others)
    assert [c["id"] for c in report["patched"]["inputs"][0]["data"]["concepts"]] == ["lion"]
    assert {"tree", "lion", "ear"} <= {one["id"] for one in report["concepts"]["concepts"]}
    assert {one["id"] for one in report["models"]["models"]} >= MODELS


def test_python_12(world: tuple[Server, str], pictures: Path) -> None:
    server, url = world
    python = published_client("venvs/clarifai-12.*") / "bin/python"
    report = run(python, PROGRAMS / "clarifai_12.py", f"http://{server.grpc}", pictures, url, CLARIFAI_PAT="any-word")
    assert report["app"] == "sdk"
    assert report["apps"] == ["main", "sdk"]
    assert [name for name, _ in report["inputs"]] == ["by-url", "chelsea", "coffee", "rocket", "text"]
    assert {code for name, code in report["inputs"] if name != "by-url"} == {StatusCode.INPUT_SUCCESS}
    assert report["annotations"] == ["ear"]
    assert report["concepts"] == ["chelsea", "coffee", "ear", "photo", "rocket"]
    assert report["search"][0] == ["chelsea", 1.0]
    assert report["left"] == ["chelsea", "coffee", "rocket", "text"]
