"""A program written for the published client predicts and ranks by predictions here."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from postil.v1.status_code_pb2 import StatusCode
from support.external import clarifai_python
from support.photos import photo
from support.server import Server

PROGRAM = Path(__file__).parent / "programs/predict_grpc.py"
PHOTOS = {"camera": "camera.png", "chelsea": "chelsea.png", "coffee": "coffee.png"}


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the program found on a server of its own."""
    folder = tmp_path_factory.mktemp("pictures")
    for name, file in PHOTOS.items():
        (folder / f"{name}.png").write_bytes(photo(file))
    server = Server(tmp_path_factory.mktemp("predict"))
    host, _, port = server.grpc.rpartition(":")
    try:
        command = [str(clarifai_python()), str(PROGRAM), host, port, str(folder)]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=100)
    finally:
        server.stop()
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def test_the_old_id_of_the_general_model_says_what_pictures_show(report: dict[str, Any]) -> None:
    assert report["outputs"]["code"] == StatusCode.SUCCESS
    said = report["outputs"]["said"]
    assert (said["coffee"][0], said["camera"][0]) == ("espresso", "tripod")
    assert said["chelsea"][0] in {"tabby", "tiger cat", "Egyptian cat"}
    assert {len(names) for names in said.values()} == {20}


def test_the_output_config_of_a_version_counts(report: dict[str, Any]) -> None:
    assert {name: names[0] for name, names in report["outputs"]["said"].items()} == {
        name: names[0] for name, names in report["one"]["said"].items()
    }
    assert {len(names) for names in report["one"]["said"].values()} == {1}


def test_the_model_tells_its_concepts(report: dict[str, Any]) -> None:
    assert report["known"] > 1000


def test_the_general_workflow_runs(report: dict[str, Any]) -> None:
    assert report["workflow"]["code"] == StatusCode.SUCCESS
    assert report["workflow"]["outputs"] == [["visual-embedder", "visual-classifier"]] * len(PHOTOS)


def test_ranking_by_a_predicted_concept(report: dict[str, Any]) -> None:
    assert (report["rank"]["code"], report["rank"]["added"]) == (StatusCode.SUCCESS, StatusCode.SUCCESS)
    assert report["rank"]["hits"][0] == "chelsea"
    assert set(report["rank"]["hits"]) == set(PHOTOS)
