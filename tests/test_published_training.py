"""Published clients of three generations train a model and rank by it, each in its own environment and process."""

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
from support.external import clarifai_python, missing, published_client
from support.photos import photo
from support.server import Server

pytestmark = pytest.mark.timeout(300)  # the first run installs the clients

PROGRAMS = Path(__file__).parent / "programs"
STATES = [StatusCode.MODEL_UNTRAINED, StatusCode.MODEL_TRAINED]
SAID = {"chelsea": "my chelsea", "coffee": "my coffee", "rocket": "my rocket"}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for name in ("chelsea.png", "coffee.png", "rocket.jpg"):
        (folder / name).write_bytes(photo(name))
    return folder


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    running = Server(tmp_path)
    yield running
    running.stop()


def run(*command: str | Path, **environment: str) -> dict[str, Any]:
    """What a program printed last."""
    done = subprocess.run(
        [str(part) for part in command], check=False, capture_output=True, text=True, timeout=200,
        env={**os.environ, **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    report: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return report


def check(report: dict[str, Any]) -> None:
    assert report["states"] == STATES
    assert report["said"] == SAID
    assert report["rank"][0] == "chelsea"
    assert set(report["rank"]) == set(SAID)


def test_grpc_12(server: Server, pictures: Path) -> None:
    host, _, port = server.grpc.rpartition(":")
    report = run(clarifai_python(), PROGRAMS / "train_grpc.py", host, port, pictures)
    assert set(report["codes"]) == {StatusCode.SUCCESS}, report
    check(report)


def test_python_2_6_2(server: Server, pictures: Path) -> None:
    python = published_client("venvs/clarifai-2.*") / "bin/python"
    pure = {"PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": "python"}  # its protobuf has no native part for this Python
    check(run(python, PROGRAMS / "train_2_6_2.py", server.http, pictures, **pure))


def test_javascript_2_9_1(server: Server, pictures: Path) -> None:
    node = shutil.which("node") or missing("node", "apt-get install -y nodejs (brew install node)")
    home = published_client("node/clarifai-*")
    check(run(node, PROGRAMS / "train_2_9_1.js", home, server.http, pictures))


def test_sdk_12(server: Server, pictures: Path) -> None:
    python = published_client("venvs/clarifai-12.*") / "bin/python"
    report = run(python, PROGRAMS / "train_sdk_12.py", f"http://{server.grpc}", pictures, CLARIFAI_PAT="any-word")
    assert report["states"][0] in {
        StatusCode.MODEL_QUEUED_FOR_TRAINING,
        StatusCode.MODEL_TRAINING,
        StatusCode.MODEL_TRAINED,
    }
    assert report["states"][1] == StatusCode.MODEL_TRAINED
    assert report["params"]["train_params"] == {"include_pending": False}
    assert report["said"] == SAID
    assert report["first"] == ["my chelsea"]
    assert report["rank"][0] == "chelsea"
    assert set(report["rank"]) == set(SAID)
    assert (report["versions"], report["models"]) == ([True], ["mine"])
