"""A client that was told UNAVAILABLE sends the same again, with ids of its own: what had been written is answered as a
duplicate, nothing is there twice, and no batch is half there."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import grpc
import pytest
import requests

from postil.v1.annotation_pb2 import Annotation
from postil.v1.annotation_service_pb2 import ListAnnotationsRequest, PostAnnotationsRequest
from postil.v1.concept_pb2 import Concept
from postil.v1.data_pb2 import Data, Embedding
from postil.v1.dataset_pb2 import Dataset
from postil.v1.dataset_service_pb2 import PostDatasetsRequest
from postil.v1.input_pb2 import Input
from postil.v1.input_service_pb2 import ListInputsRequest, PostInputsRequest
from postil.v1.model_pb2 import Model
from postil.v1.model_service_pb2 import PostModelsRequest
from support.server import OWN, Server

VECTOR = Data(embeddings=[Embedding(vector=[1])])
_KILLS = 3
_BATCH = 20
_DUPLICATES = {"PostInputs": 30100, "PostAnnotations": 40010}


class Stubborn:
    """Posts batches of inputs, then their labels, each until it is answered."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._lock = threading.Lock()
        self.enough = threading.Event()
        self.inputs: list[str] = []
        self.labels: list[str] = []
        self.resent: Counter[str] = Counter()  # batches that had been written although no answer came
        self.wrong: list[object] = []
        self.thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        number = 0
        while not self.enough.is_set() and not self.wrong:
            names = [f"{number}-{at}" for at in range(_BATCH)]
            data = [Data(embeddings=[Embedding(vector=[number + 1.0, at])]) for at in range(_BATCH)]
            inputs = [Input(id=name, data=one) for name, one in zip(names, data, strict=True)]
            self._post("PostInputs", PostInputsRequest(inputs=inputs), "inputs")
            label = Data(concepts=[Concept(id="c", value=1)])
            labels = [Annotation(id=f"label-{name}", input_id=name, data=label) for name in names]
            self._post("PostAnnotations", PostAnnotationsRequest(annotations=labels), "annotations")
            self.inputs += names
            self.labels += [one.id for one in labels]
            number += 1

    def _post(self, rpc: str, request: Any, items: str) -> None:
        until, sent = time.monotonic() + 180, 0
        while time.monotonic() < until:
            sent += 1
            try:
                answer = self._server.call(OWN, rpc, request, timeout=30)
            except (grpc.RpcError, ValueError):  # killed; its channel closed meanwhile
                time.sleep(0.02)
                continue
            codes = {item.status.code for item in getattr(answer, items)}
            if sent > 1 and codes == {_DUPLICATES[rpc]}:
                self.resent[rpc] += 1
            elif answer.status.code != 10000:
                self.wrong.append(answer.status)
            return
        self.wrong.append("no answer")


def test_what_is_sent_again_is_there_once(start_server: Callable[..., Server]) -> None:
    server = start_server()
    client = Stubborn(server)
    client.thread.start()
    for _ in range(_KILLS):
        before = len(client.labels)
        while len(client.labels) < before + 3 * _BATCH and not client.wrong:
            time.sleep(0.01)
        server.kill9()
    client.enough.set()
    client.thread.join()
    assert client.wrong == []
    found = server.call(OWN, "ListInputs", ListInputsRequest(per_page=1000)).inputs
    assert Counter(one.id for one in found) == Counter(client.inputs)
    request = ListAnnotationsRequest(per_page=1000, list_all_annotations=False)
    labels = server.call(OWN, "ListAnnotations", request).annotations
    assert Counter(one.id for one in labels) == Counter(client.labels)


@pytest.mark.parametrize(
    ("rpc", "request_", "code", "item"),
    [
        ("PostInputs", PostInputsRequest(inputs=[Input(id="r", data=VECTOR)]), 10020, 30100),
        ("PostDatasets", PostDatasetsRequest(datasets=[Dataset(id="r")]), 40010, 0),
        ("PostModels", PostModelsRequest(models=[Model(id="r", model_type_id="embedding-classifier")]), 40010, 0),
    ],
)
def test_each_kind_says_duplicate(rpc: str, request_: Any, code: int, item: int, call: Any, app: Any) -> None:
    request_.user_app_id.CopyFrom(app)
    assert call(rpc, request_).status.code == 10000
    again = call(rpc, request_)
    assert again.status.code == code, again.status
    if item:
        assert [one.status.code for one in again.inputs] == [item]


def test_the_same_over_http(server: Server, app: Any) -> None:
    url = f"{server.http}/v2/users/{app.user_id}/apps/{app.app_id}/inputs"
    body: Any = {"inputs": [{"id": "h", "data": {"embeddings": [{"vector": [1, 2]}]}}]}
    assert requests.post(url, json=body, timeout=60).status_code == 200
    again = requests.post(url, json=body, timeout=60)
    assert (again.status_code, again.json()["inputs"][0]["status"]["code"]) == (400, 30100)
    assert len(requests.get(url, timeout=60).json()["inputs"]) == 1
