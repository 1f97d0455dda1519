"""Searches and predictions through the two REST clients of 2019, each in its own environment and process.

Only the host differs from what their users wrote. What else they do is in test_old_clients.py.
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
CATS = {"n02123045", "n02123159", "n02124075"}  # tabby, tiger cat, Egyptian cat
AFTER = ["rocket", "coffee"]  # by how little they look like the cat


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for name in ("chelsea.png", "coffee.png", "rocket.jpg"):
        (folder / name).write_bytes(photo(name))
    return folder


@pytest.fixture
def world(tmp_path: Path) -> Iterator[tuple[Server, str]]:
    """A server of the program's own, and the address of the cat on a web of one machine."""
    server, web = Server(tmp_path, "--fetch-allow", "127.0.0.0/8", "--delete-all"), WebServer()
    yield server, web.serve("cat.png", photo("chelsea.png"))
    web.close()
    server.stop()


def run(*command: str | Path, **environment: str) -> dict[str, Any]:
    """What a program printed last."""
    done = subprocess.run(
        [str(part) for part in command], check=False, capture_output=True, text=True, timeout=200,
        env={**os.environ, **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    report: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return report


def test_python_2_6_2(world: tuple[Server, str], pictures: Path) -> None:
    server, url = world
    python = published_client("venvs/clarifai-2.*") / "bin/python"
    pure = {"PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": "python"}  # its protobuf has no native part for this Python
    report = run(python, PROGRAMS / "search_2_6_2.py", server.http, pictures, url, **pure)
    check(report)
    assert set(report["predictions"]) >= {"url", "bytes", "filename", "base64", "id", "today's id", "public", "tags"}


def test_javascript_2_9_1(world: tuple[Server, str], pictures: Path) -> None:
    server, url = world
    node = shutil.which("node") or missing("node", "apt-get install -y nodejs (brew install node)")
    home = published_client("node/clarifai-*")
    report = run(node, PROGRAMS / "search_2_9_1.js", home, server.http, pictures, url)
    check(report)
    assert report["image"].pop("two pictures")[:2] == ["chelsea", "coffee"]
    assert set(report["predictions"]) >= {"url", "base64", "id", "today's id", "public", "model"}


def check(report: dict[str, Any]) -> None:
    """What both clients have to be told."""
    check_images(dict(report["image"]))
    check_what_is_said(report["said"])
    check_predicted(report["prediction"])
    check_predictions(report["predictions"])
    assert report["combined"] == ["coffee"]
    assert report["no model"] == [404, StatusCode.MODEL_DOES_NOT_EXIST]
    assert report["no input"] == [400, StatusCode.SEARCH_INVALID_REQUEST]
    assert report["everything"] == report["no models"] == StatusCode.SUCCESS
    assert report["left"] == []


def check_images(found: dict[str, Any]) -> None:
    """By what it looks like: the cat twice, as uploaded and as fetched, then the others."""
    scores = found.pop("scores")
    assert scores[:2] == pytest.approx([1, 1], abs=1e-3)
    assert 0 <= scores[3] <= scores[2] < 0.9
    assert found.pop("second page") == AFTER
    found.pop("two pictures", None)
    for way, ids in found.items():
        assert sorted(ids[:2]) == ["by-url", "chelsea"], way
        assert ids[2:] == AFTER, way


def check_what_is_said(found: dict[str, Any]) -> None:
    expected = {
        "original url": ["by-url"],
        "labelled": ["chelsea"],
        "labelled absent": ["coffee", "rocket"],
        "labelled both": ["coffee"],
        "metadata": ["coffee"],
        "nested": ["chelsea"],
        "no metadata": [],
        "near": ["chelsea"],
        "far": ["chelsea", "rocket"],
        "box": ["coffee"],
    }
    assert {name: found[name] for name in expected} == expected
    others = [ids for name, ids in found.items() if name not in expected]  # each client has ways of its own
    assert others
    assert all(ids == ["chelsea"] for ids in others), found


def check_predicted(found: dict[str, Any]) -> None:
    """By what models say; the cats first, or last where they are not wanted."""
    for name in ("predicted", "predicted id"):
        assert sorted(found[name][:2]) == ["by-url", "chelsea"], name
    assert sorted(found["predicted absent"][-2:]) == ["by-url", "chelsea"]
    assert found["predicted both"][0] == "coffee"


def check_predictions(said: dict[str, Any]) -> None:
    """By every way to name the model and to give the picture: the same."""
    said = dict(said)
    assert said.pop("embedding") > 100
    ((cat, dog),) = said.pop("chosen")
    assert (cat[0], dog[0]) == ("cat", "dog")
    assert cat[1] > 0.5 > dog[1]
    few, sure = said.pop("few"), said.pop("sure")
    assert len(said.pop("several")) == 2
    everything = said["url"][0]
    assert len(everything) == 20
    assert {name for name, _ in everything[:3]} == CATS
    assert few == [everything[:2]]
    assert sure == [[pair for pair in everything if pair[1] >= 0.2]]
    assert [way for way, outputs in said.items() if outputs != [everything]] == []
