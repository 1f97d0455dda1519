"""What goes on behind calls, through a real server: media go when nothing keeps them, a dead server's work is ended."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import requests
from sqlite_utils import Database

from postil.store import seals
from postil.store.layout import BLOBS, DATABASE
from postil.store.verify import verify
from postil.v1 import dataset_service_pb2 as datasets
from postil.v1.concept_pb2 import Concept
from postil.v1.dataset_pb2 import Dataset, DatasetInput, DatasetVersion
from postil.v1.input_pb2 import Input
from postil.v1.input_service_pb2 import DeleteInputsRequest, GetInputRequest, PostInputsRequest
from support.photos import photo
from support.server import OWN, Server

WAIT_S = 120.0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    running = Server(tmp_path)
    yield running
    assert running.stop() == 0, running.tail()


def good(server: Server, rpc: str, request: Any) -> Any:
    answer = server.call(OWN, rpc, request)
    assert answer.status.code == 10000, answer
    return answer


def aged(server: Server) -> None:
    """As if all media had been posted long ago."""
    for path in (server.data_dir / BLOBS).rglob("*"):
        if path.is_file():
            os.utime(path, (1, 1))


def until_gone(url: str) -> None:
    end = time.monotonic() + WAIT_S
    while _status(url) != 404:
        assert time.monotonic() < end
        time.sleep(0.05)


def _status(url: str) -> int:
    try:
        return requests.get(url, timeout=30).status_code
    except requests.exceptions.ChunkedEncodingError:  # it went between the headers and the body
        return 0


def served(server: Server, digest: str) -> str:
    return f"{server.http}/blobs/{digest}"


def test_media_stay_while_a_version_shows_them_and_go_after_it(server: Server) -> None:
    picture, other = Input(id="a"), Input(id="b")
    picture.data.image.base64, other.data.image.base64 = photo("coffee.png"), photo("chelsea.png")
    answer = good(server, "PostInputs", PostInputsRequest(inputs=[picture, other]))
    frozen, loose = (one.data.image.hosted.suffix for one in answer.inputs)
    good(server, "PostDatasets", datasets.PostDatasetsRequest(datasets=[Dataset(id="d")]))
    member = DatasetInput(input=Input(id="a"))
    good(server, "PostDatasetInputs", datasets.PostDatasetInputsRequest(dataset_id="d", dataset_inputs=[member]))
    version = DatasetVersion(id="v")
    good(server, "PostDatasetVersions", datasets.PostDatasetVersionsRequest(dataset_id="d", dataset_versions=[version]))
    good(server, "DeleteInputs", DeleteInputsRequest(ids=["a", "b"]))
    aged(server)
    server.kill9()
    until_gone(served(server, loose))
    assert requests.get(served(server, frozen), timeout=30).content == photo("coffee.png")
    assert list(verify(server.data_dir)) == []
    gone = datasets.DeleteDatasetVersionsRequest(dataset_id="d", dataset_version_ids=["v"])
    good(server, "DeleteDatasetVersions", gone)
    aged(server)
    server.restart()
    until_gone(served(server, frozen))
    assert list(verify(server.data_dir)) == []


def test_a_rename_that_a_dead_server_left_is_ended_before_calls(server: Server) -> None:
    item = Input(id="a")
    item.data.text.raw = "a note"
    item.data.concepts.append(Concept(id="dog", name="Dog", value=1))
    good(server, "PostInputs", PostInputsRequest(inputs=[item]))
    server.kill9(restart=False)
    with closing(sqlite3.connect(server.data_dir / DATABASE)) as connection:
        seals.register(connection)
        database = Database(connection)
        row, app = connection.execute("SELECT row, app FROM concepts WHERE id = 'dog'").fetchone()
        database.table("concepts").update(row, {"name": "Hound"})
        database.table("renames").insert({"concept": row, "app": app, "done": 0})
        connection.commit()
    server.kill9()
    found = good(server, "GetInput", GetInputRequest(input_id="a")).input
    assert [one.name for one in found.data.concepts] == ["Hound"]
