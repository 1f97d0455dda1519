"""Every search of the published page on ranks, by programs for the published Python and Node clients.

Each runs in its own environment and process; only the channel is changed.
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

from postil.v1.concept_pb2 import ConceptLanguage
from postil.v1.concept_service_pb2 import PostConceptLanguagesRequest
from postil.v1.status_code_pb2 import StatusCode
from postil_client import Client, build
from support.external import clarifai_python, missing, published_client
from support.photos import photo
from support.server import OWN, Server
from support.web import WebServer

pytestmark = pytest.mark.timeout(300)  # the first run installs the clients

PROGRAMS = Path(__file__).parent / "programs"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, str, Path]]:
    """A server with labelled pictures, the cat's address on the web, and its file."""
    folder = tmp_path_factory.mktemp("rank-seed")
    file = folder / "cat.png"
    file.write_bytes(photo("chelsea.png"))
    server, web = Server(folder, "--fetch-allow", "127.0.0.0/8"), WebServer()
    with Client(server.grpc) as client:
        names = {"cat": "chelsea.png", "astronaut": "astronaut.png", "coffee": "coffee.png", "rocket": "rocket.jpg"}
        client.add_pictures({name: photo(picture) for name, picture in names.items()})
        client.wait_until_processed(names)
        client.annotate(
            [
                build.make_annotation("cat", ["cat"], ["dog"]),
                build.make_annotation("astronaut", ["people"], ["cat"]),
                build.make_annotation("rocket", ["dog"]),
            ]
        )
    dog = ConceptLanguage(id="ja", name="犬")
    request = PostConceptLanguagesRequest(concept_id="dog", concept_languages=[dog])
    assert server.call(OWN, "PostConceptLanguages", request).status.code == StatusCode.SUCCESS
    yield server, web.serve("cat.png", photo("chelsea.png")), file
    web.close()
    server.stop()


def run(*command: str | Path, **environment: str) -> dict[str, Any]:
    done = subprocess.run(
        [str(part) for part in command],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    report: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return report


def check(report: dict[str, Any]) -> None:
    """What every client has to be told."""
    first = {"custom": "astronaut", "by_name": "astronaut", "japanese": "rocket"}
    first |= dict.fromkeys(["labelled_and_not_predicted", "url", "bytes", "input"], "cat")
    for name, answer in report.items():
        assert answer["code"] == StatusCode.SUCCESS, (name, answer)
        assert answer["hits"], name
        assert all(0 <= hit["score"] <= 1 and hit["annotation"] for hit in answer["hits"])
        assert [hit["score"] for hit in answer["hits"]] == sorted((h["score"] for h in answer["hits"]), reverse=True)
        if name in first:
            assert answer["hits"][0]["input"] == first[name], (name, answer["hits"][:3])
    for name in ("url", "bytes", "input"):
        assert report[name]["hits"][0]["score"] > 0.999


def test_python(world: tuple[Server, str, Path]) -> None:
    server, url, file = world
    host, _, port = server.grpc.rpartition(":")
    check(run(clarifai_python(), PROGRAMS / "rank_seed.py", host, port, url, file, "cat"))


def test_node(world: tuple[Server, str, Path]) -> None:
    server, url, file = world
    node = shutil.which("node") or missing("node", "install nodejs")
    modules = published_client("node/nodejs-grpc-*") / "node_modules"
    check(run(node, PROGRAMS / "rank_seed.js", server.grpc, url, file, "cat", NODE_PATH=str(modules)))
