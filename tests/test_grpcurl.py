"""The server as grpcurl sees it, through the scripts of clients/shell: reflection, calls, both service names."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from support.doors import METHODS
from support.external import ROOT, grpcurl
from support.photos import photo
from support.server import Server

SHELL = ROOT / "clients/shell"
SERVICES = ["", "clarifai.api.V2"]


class Shell:
    """Runs the scripts against one server, under one service name."""

    def __init__(self, server: Server, service: str) -> None:
        self.environment = {
            **os.environ,
            "GRPCURL": str(grpcurl()),
            "POSTIL_TARGET": server.grpc,
            "POSTIL_SERVICE": service,
            "POSTIL_KEY": "any-word",
        }

    def text(self, script: str, *arguments: str) -> str:
        command = [str(SHELL / script), *arguments]
        done = subprocess.run(command, env=self.environment, check=False, capture_output=True, text=True)
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
        return done.stdout

    def json(self, script: str, *arguments: str) -> Any:
        return json.loads(self.text(script, *arguments))


@pytest.fixture(params=SERVICES, ids=["own", "vendor"])
def shell(request: pytest.FixtureRequest, server: Server) -> Shell:
    return Shell(server, request.param)


def test_lists_both_names_and_the_standard_services(server: Server) -> None:
    listed = set(Shell(server, "").text("list.sh").split())
    assert listed - {"grpc.reflection.v1.ServerReflection"} == {
        "clarifai.api.V2",
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
        *(method.service for method in METHODS.values()),
    }


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("postil.v1.Annotations", "rpc PostAnnotations"),
        ("clarifai.api.V2", "rpc PostAnnotationsSearches"),
        ("clarifai.api.V2.PostAnnotations", "PostAnnotationsRequest"),
        ("postil.v1.Annotations.PostAnnotations", "PostAnnotationsRequest"),
        ("postil.v1.Hit", "float score = 1"),
    ],
)
def test_describes(server: Server, name: str, says: str) -> None:
    assert says in Shell(server, "").text("list.sh", name)


def test_labels_and_finds_texts(shell: Shell, prefix: str) -> None:
    tea, cat = f"{prefix}-tea", f"{prefix}-cat"
    shell.json("add_text.sh", tea, 'a "hot" cup of tea', "drink")
    shell.json("add_text.sh", cat, "a cat asleep on the sofa")
    kept = shell.json("label.sh", tea, f"{prefix}-kitchen", "morning")
    assert kept["status"]["code"] == "SUCCESS"
    assert [concept["id"] for concept in kept["annotations"][0]["data"]["concepts"]] == [f"{prefix}-kitchen", "morning"]
    found = shell.json("search_by_text.sh", "a hot drink")
    assert found["status"]["code"] == "SUCCESS"
    order = [hit["input"]["id"] for hit in found["hits"] if hit["input"]["id"] in {tea, cat}]
    assert order[0] == tea
    first = next(hit for hit in found["hits"] if hit["input"]["id"] == tea)
    assert first["input"]["data"]["text"]["raw"] == 'a "hot" cup of tea'
    assert shell.json("search_by_concept.sh", f"{prefix}-kitchen")["hits"][0]["input"]["id"] == tea


def test_finds_pictures(shell: Shell, prefix: str, tmp_path: Path) -> None:
    for name in ("chelsea.png", "coffee.png"):
        (tmp_path / name).write_bytes(photo(name))
        answer = shell.json("add_picture.sh", f"{prefix}-{name}", str(tmp_path / name))
        assert answer["status"]["code"] == "SUCCESS"
    for found in (
        shell.json("search_by_picture.sh", str(tmp_path / "coffee.png")),
        shell.json("search_by_input.sh", f"{prefix}-coffee.png"),
    ):
        assert found["hits"][0]["score"] == pytest.approx(1.0, abs=1e-3)
        best = {hit["input"]["id"] for hit in found["hits"] if hit["score"] > 0.999}
        assert f"{prefix}-coffee.png" in best


def test_scripts_say_how_they_are_used(server: Server) -> None:
    for script in sorted(SHELL.glob("[ls]*_*.sh")):
        done = subprocess.run([str(script)], check=False, capture_output=True, text=True)
        assert done.returncode == 2, script.name
        assert done.stderr.startswith(f"usage: {script.name} ")


@pytest.fixture
def prefix(request: pytest.FixtureRequest) -> str:
    """Keeps the two service names, which share a server, apart."""
    return "vendor" if "vendor" in request.node.name else "own"
