"""Every search of the published page on ranks: programs for the published Python and Node clients, curl and fetch.

Each runs in its own environment and process; only the channel, or the host and the placeholders, are changed.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

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


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cat as a JPEG that fits on a command line: the curl sample puts its base64 text there."""
    file = tmp_path_factory.mktemp("small") / "image.jpeg"
    Image.open(io.BytesIO(photo("chelsea.png"))).resize((300, 200)).save(file, quality=90)
    return file


def samples(name: str, marker: str) -> dict[str, str]:
    """The samples of a file by name, each below a line that names it."""
    _, *parts = re.split(rf"^{marker} --- (\w+)\n", (PROGRAMS / name).read_text(), flags=re.MULTILINE)
    return dict(zip(parts[::2], parts[1::2], strict=True))


def filled(sample: str, world: tuple[Server, str, Path], small: Path) -> str:
    server, url, _ = world
    places = {
        "https://api.clarifai.com": server.http,
        "{YOUR_USER_ID}": "me",
        "{YOUR_APP_ID}": "main",
        "{YOUR_IMAGE_URL}": url,
        "/home/user/image.jpeg": str(small),
        "{input_id}": "cat",
    }
    for place, value in places.items():
        sample = sample.replace(place, value)
    return sample


CURL = samples("rank_seed_curl.sh", "#")
FETCH = samples("rank_seed_fetch.js", "//")


def test_that_no_sample_is_left_out() -> None:
    names = ["concept", "custom", "cat_not_dog", "japanese", "url", "bytes", "input", "input_id"]
    assert list(CURL) == list(FETCH) == names


@pytest.mark.parametrize("name", CURL)
def test_curl(world: tuple[Server, str, Path], small: Path, name: str) -> None:
    if not shutil.which("curl"):
        missing("curl", "apt-get install -y curl")
    quiet = filled(CURL[name], world, small).replace("curl -X", "curl -s -X")
    check_answer(name, run("bash", "-c", quiet))


@pytest.mark.parametrize("name", FETCH)
def test_fetch(world: tuple[Server, str, Path], small: Path, name: str) -> None:
    node = shutil.which("node") or missing("node", "install nodejs")
    check_answer(name, run(node, "-e", filled(FETCH[name], world, small)))


def check_answer(name: str, answer: dict[str, Any]) -> None:
    """What curl and fetch have to be told."""
    assert answer["status"]["code"] == StatusCode.SUCCESS, answer["status"]
    first = {"concept": "astronaut", "custom": "astronaut", "japanese": "rocket"}
    found = [(hit["input"]["id"], hit["score"]) for hit in answer["hits"]]
    assert found[0][0] == first.get(name, "cat")
    assert [score for _, score in found] == sorted((score for _, score in found), reverse=True)
    assert all(0 <= score <= 1 for _, score in found)
    if name in ("url", "input", "input_id"):
        assert found[0][1] > 0.999
        assert found[-1][1] < 0.95, "the other pictures are further away"
