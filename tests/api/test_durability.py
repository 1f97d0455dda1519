"""What was acknowledged is there after `kill -9`, searchable at once, and rows, media and index agree."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable
from typing import Any

import grpc
import numpy as np
import pytest

from postil.v1.annotation_pb2 import Annotation
from postil.v1.annotation_service_pb2 import PostAnnotationsRequest
from postil.v1.common_pb2 import Pagination
from postil.v1.concept_pb2 import Concept
from postil.v1.data_pb2 import Data, Embedding
from postil.v1.input_pb2 import Input
from postil.v1.input_service_pb2 import GetInputCountRequest, ListInputsRequest, PostInputsRequest
from postil.v1.input_service_pb2_grpc import InputsStub
from postil.v1.search_pb2 import Query, Rank, Search
from postil.v1.search_service_pb2 import PostInputsSearchesRequest
from postil.v1.status_code_pb2 import StatusCode
from support.server import OWN, Server, clean_environment, command

DIM = 64
BATCH = 64


class Writer(threading.Thread):
    """Posts batches until the server goes, and remembers what was acknowledged."""

    def __init__(self, server: Server, name: str) -> None:
        super().__init__(daemon=True)
        # A channel of its own: the fixture's would be opened again, to a server that is gone, by a call just too late.
        self._channel = grpc.insecure_channel(server.grpc)
        self._post = InputsStub(self._channel).PostInputs
        self._name = name
        self._random = np.random.default_rng(sum(name.encode()))
        self.acknowledged: dict[str, list[float]] = {}

    def run(self) -> None:
        for number in range(10_000):
            vectors = self._random.standard_normal((BATCH, DIM)).astype(np.float32)
            named = {f"{self._name}-{number}-{row}": vector.tolist() for row, vector in enumerate(vectors)}
            items = [
                Input(id=name, data=Data(embeddings=[Embedding(vector=vector)], concepts=[Concept(id="c", value=1)]))
                for name, vector in named.items()
            ]
            try:
                answer = self._post(PostInputsRequest(inputs=items), timeout=30)
            except grpc.RpcError:  # the server is gone
                self._channel.close()
                return
            assert answer.status.code == StatusCode.SUCCESS, answer.status
            self.acknowledged |= named


def search(server: Server, vector: list[float]) -> Any:
    rank = Rank(annotation=Annotation(data=Data(embeddings=[Embedding(vector=vector)])))
    request = PostInputsSearchesRequest(
        searches=[Search(query=Query(ranks=[rank]))], pagination=Pagination(page=1, per_page=1)
    )
    return server.call(OWN, "PostInputsSearches", request)


@pytest.mark.parametrize("seconds", [0.4, 1.3])
def test_kill_9_in_the_middle_of_a_load(start_server: Callable[..., Server], seconds: float) -> None:
    server = start_server()
    writers = [Writer(server, name) for name in ("a", "b", "c")]
    for writer in writers:
        writer.start()
    deadline = time.monotonic() + 60
    while not all(writer.acknowledged for writer in writers) and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(seconds)  # from here on each has something to lose
    server.kill9()
    for writer in writers:
        writer.join(20)
    kept = {name: vector for writer in writers for name, vector in writer.acknowledged.items()}
    assert len(kept) >= BATCH

    names = list(kept)
    for start in range(0, len(names), 500):
        wanted = names[start : start + 500]
        found = server.call(OWN, "ListInputs", ListInputsRequest(ids=wanted, per_page=1000)).inputs
        assert {item.id for item in found} == set(wanted)
    for name in names[:: max(1, len(names) // 50)]:
        answer = search(server, kept[name])
        assert answer.hits[0].input.id == name
        assert answer.hits[0].annotation.data.concepts[0].id == "c"
    total = server.call(OWN, "GetInputCount", GetInputCountRequest()).counts.processed
    assert total % BATCH == 0, "no batch is half there"

    assert server.stop() == 0
    verified = subprocess.run(
        command("verify", "--data-dir", str(server.data_dir)),
        capture_output=True,
        text=True,
        check=False,
        env=clean_environment(),
    )
    assert verified.returncode == 0, verified.stdout + verified.stderr


def test_labels_and_urls_survive_a_restart_on_other_ports(
    start_server: Callable[..., Server], photos: dict[str, bytes]
) -> None:
    server = start_server()
    item = Input(id="cat", data=Data(concepts=[Concept(id="animal", value=1)]))
    item.data.image.base64 = photos["cat"]
    server.call(OWN, "PostInputs", PostInputsRequest(inputs=[item]))
    label = Annotation(input_id="cat", data=Data(concepts=[Concept(id="pet", value=1)]))
    server.call(OWN, "PostAnnotations", PostAnnotationsRequest(annotations=[label]))
    server.restart()
    listed = server.call(OWN, "ListInputs", ListInputsRequest()).inputs
    assert listed[0].data.concepts[0].id == "animal"
    assert listed[0].data.image.url.startswith(server.http), "the url moved with the door"
