"""Programs written for the published client work here with nothing changed but the channel."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from postil.v1.status_code_pb2 import StatusCode
from support.external import clarifai_python, missing
from support.photos import photo
from support.server import Server

PROGRAM = Path(__file__).parent / "programs/published_client.py"
SEARCHES = ("by_url", "by_bytes", "by_input", "by_concept")
DEFAULT_PORT = 18080


@pytest.fixture(scope="module")
def python() -> Path:
    return clarifai_python()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose first file, by name, is the cat."""
    folder = tmp_path_factory.mktemp("pictures")
    for name in ("chelsea.png", "coffee.png", "rocket.jpg"):
        (folder / name).write_bytes(photo(name))
    return folder


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the parent's name
        pass


@pytest.fixture(scope="module")
def url(pictures: Path) -> Iterator[str]:
    """Where the cat is on the web, here a web of one machine."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(pictures))) as web:
        thread = threading.Thread(target=web.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{web.server_port}/chelsea.png"
        web.shutdown()
        thread.join()


def run(python: Path, port: int, pictures: Path, url: str) -> dict[str, Any]:
    command = [str(python), str(PROGRAM), "127.0.0.1", str(port), str(pictures), url]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


@pytest.fixture(scope="module")
def report(python: Path, pictures: Path, url: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the program found on a server of its own."""
    server = Server(tmp_path_factory.mktemp("published"), "--fetch-allow", "127.0.0.0/8")
    try:
        return run(python, int(server.grpc.rpartition(":")[2]), pictures, url)
    finally:
        server.stop()


def test_every_step_succeeds(report: dict[str, Any]) -> None:
    steps = {name: step["code"] for name, step in report.items() if name != "processed"}
    assert steps == dict.fromkeys(["upload", "models", "annotate", *SEARCHES], StatusCode.SUCCESS), report


def test_inputs_are_processed_and_annotations_kept(report: dict[str, Any]) -> None:
    assert report["processed"] == [StatusCode.INPUT_SUCCESS] * 3
    assert report["annotate"]["items"] == [StatusCode.ANNOTATION_SUCCESS]


@pytest.mark.parametrize("step", ["by_url", "by_bytes", "by_input"])
def test_the_picture_itself_comes_first(report: dict[str, Any], step: str) -> None:
    (name, score, hosted), *others = report[step]["hits"]
    assert name == "chelsea"
    assert score == pytest.approx(1.0, abs=1e-3)
    assert hosted.startswith("http://127.0.0.1:")
    assert {other[0] for other in others} >= {"coffee", "rocket"}
    assert all(other[1] <= score for other in others)
    assert all(report[step]["annotations"]), "each hit names its annotation"


def test_a_label_ranks_what_carries_it_first(report: dict[str, Any]) -> None:
    hits = report["by_concept"]["hits"]
    assert hits[0][0] == "chelsea"
    scores = [score for _, score, _ in hits]
    assert scores == sorted(scores, reverse=True)


def test_the_client_finds_our_default_port(
    python: Path, pictures: Path, url: str, start_server: Callable[..., Server]
) -> None:
    with closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", DEFAULT_PORT))
        except OSError:
            missing(f"port {DEFAULT_PORT}", "stop the server that listens there")
    start_server("--grpc", f"127.0.0.1:{DEFAULT_PORT}")
    report = run(python, 0, pictures, url)
    assert report["annotate"]["code"] == StatusCode.SUCCESS
    assert report["by_input"]["hits"][0][0] == "chelsea"
