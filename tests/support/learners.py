"""Apps with labelled vectors, and models trained on them, through a real server."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from postil.v1.annotation_pb2 import Annotation
from postil.v1.common_pb2 import Pagination, UserAppIDSet
from postil.v1.concept_pb2 import Concept
from postil.v1.data_pb2 import Data, Embedding
from postil.v1.input_pb2 import Input
from postil.v1.input_service_pb2 import PostInputsRequest
from postil.v1.model_pb2 import Model, ModelVersion, OutputInfo
from postil.v1.model_service_pb2 import GetModelVersionRequest, PostModelsRequest, PostModelVersionsRequest
from postil.v1.search_pb2 import Query, Rank, Search
from postil.v1.search_service_pb2 import PostInputsSearchesRequest
from postil.v1.status_code_pb2 import StatusCode

Call = Callable[..., Any]
Vectors = NDArray[np.float32]

WAIT_S = 600.0
BUSY = (StatusCode.MODEL_QUEUED_FOR_TRAINING, StatusCode.MODEL_TRAINING)


def blobs(count: int, dim: int, classes: int, seed: int = 3, *, spread: float = 0.35) -> tuple[Vectors, NDArray[Any]]:
    """(unit vectors float32 [count, dim], class of each int64 [count]) in as many clouds as there are classes."""
    numbers = np.random.default_rng(seed)
    centres = numbers.normal(size=(classes, dim))
    classed = np.arange(count) % classes
    points = centres[classed] / np.linalg.norm(centres[classed], axis=1, keepdims=True)
    points = points + spread * numbers.normal(size=(count, dim)) / np.sqrt(dim)
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32), classed


def post(
    call: Call, app: UserAppIDSet, vectors: Vectors, labels: Sequence[Mapping[str, float]] = (), prefix: str = "i"
) -> None:
    """Inputs "i0", "i1"…, each a vector of the client's own, the first of them with labels."""
    items = []
    for number, vector in enumerate(vectors):
        data = Data(embeddings=[Embedding(vector=vector.tolist())])
        named = labels[number] if number < len(labels) else {}
        data.concepts.extend(Concept(id=concept, value=value) for concept, value in named.items())
        items.append(Input(id=f"{prefix}{number}", data=data))
    for start in range(0, len(items), 128):
        answer = call("PostInputs", PostInputsRequest(user_app_id=app, inputs=items[start : start + 128]), timeout=120)
        assert answer.status.code == StatusCode.SUCCESS, answer.status


def create(call: Call, app: UserAppIDSet, *concepts: str, **fields: Any) -> Any:
    """A model "m" of these concepts; the response."""
    info = OutputInfo(data=Data(concepts=[Concept(id=concept) for concept in concepts]))
    info.output_config.concepts_mutually_exclusive = fields.pop("exclusive", False)
    model = Model(id=fields.pop("id", "m"), output_info=info, **fields)
    return call("PostModels", PostModelsRequest(user_app_id=app, models=[model]))


def train(call: Call, app: UserAppIDSet, model: str = "m", version: ModelVersion | None = None) -> Any:
    """Asks for a training; the response."""
    versions = [version] if version is not None else []
    return call("PostModelVersions", PostModelVersionsRequest(user_app_id=app, model_id=model, model_versions=versions))


def version_of(call: Call, app: UserAppIDSet, version: str, model: str = "m") -> Any:
    """The response about a version."""
    return call("GetModelVersion", GetModelVersionRequest(user_app_id=app, model_id=model, version_id=version))


def trained(call: Call, app: UserAppIDSet, model: str = "m", version: ModelVersion | None = None) -> Any:
    """Trains a model and waits until it is done; the version."""
    started = train(call, app, model, version)
    assert started.status.code == StatusCode.SUCCESS, started.status
    return wait(call, app, started.model.model_version.id, model)


def wait(call: Call, app: UserAppIDSet, version: str, model: str = "m") -> Any:
    """The version, once nothing is to be done for it any more."""
    deadline = time.monotonic() + WAIT_S
    while True:
        answer = version_of(call, app, version, model)
        assert answer.status.code == StatusCode.SUCCESS, answer.status
        if answer.model_version.status.code not in BUSY:
            return answer.model_version
        assert time.monotonic() < deadline, answer
        time.sleep(0.02)


def rank(call: Call, app: UserAppIDSet, *concepts: Concept, version: str = "", **fields: Any) -> Any:
    """Inputs ranked by concepts; the response."""
    annotation = Annotation(data=Data(concepts=concepts), model_version_id=version)
    query = Query(ranks=[Rank(annotation=annotation)], filters=fields.pop("filters", []))
    page = Pagination(page=fields.pop("page", 1), per_page=fields.pop("per_page", 10))
    search = Search(query=query, **fields)
    return call("PostInputsSearches", PostInputsSearchesRequest(user_app_id=app, searches=[search], pagination=page))
