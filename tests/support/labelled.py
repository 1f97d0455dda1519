"""An app with vectors of a client's own and labels on some of them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from postil.v1.annotation_pb2 import Annotation
from postil.v1.annotation_service_pb2 import PostAnnotationsRequest
from postil.v1.common_pb2 import UserAppIDSet
from postil.v1.concept_pb2 import Concept
from postil.v1.concept_service_pb2 import PostConceptsRequest
from postil.v1.data_pb2 import Data, Embedding
from postil.v1.input_pb2 import Input
from postil.v1.input_service_pb2 import PostInputsRequest
from postil.v1.status_code_pb2 import StatusCode

Call = Callable[..., Any]
BATCH = 128


def add_vectors(call: Call, app: UserAppIDSet, vectors: Sequence[Any]) -> None:
    """Inputs `i0`, `i1`… of bare vectors."""
    items = [Input(id=f"i{n}", data=Data(embeddings=[Embedding(vector=row)])) for n, row in enumerate(vectors)]
    for batch in batched(items):
        answer = call("PostInputs", PostInputsRequest(user_app_id=app, inputs=batch))
        assert answer.status.code == StatusCode.SUCCESS, answer.status


def add_concepts(call: Call, app: UserAppIDSet, *names: str) -> None:
    concepts = [Concept(id=name, name=name) for name in names]
    answer = call("PostConcepts", PostConceptsRequest(user_app_id=app, concepts=concepts))
    assert answer.status.code == StatusCode.SUCCESS, answer.status


def label(call: Call, app: UserAppIDSet, labels: dict[int, str]) -> None:
    """Says that input `i<n>` shows a concept."""
    items = [
        Annotation(id=f"a{n}", input_id=f"i{n}", data=Data(concepts=[Concept(id=name, value=1.0)]))
        for n, name in labels.items()
    ]
    for batch in batched(items):
        answer = call("PostAnnotations", PostAnnotationsRequest(user_app_id=app, annotations=batch))
        assert answer.status.code == StatusCode.SUCCESS, answer.status


def batched(items: Sequence[Any]) -> list[list[Any]]:
    queue = iter(items)
    return list(iter(lambda: list(itertools.islice(queue, BATCH)), []))


def clusters(names: Sequence[str], each: int, *, dim: int = 12, spread: float = 0.35) -> tuple[Any, list[str]]:
    """Vectors around one centre per name, and the names they belong to; the same ones each time."""
    numbers = np.random.default_rng(5)
    centres = numbers.standard_normal((len(names), dim))
    belongs = [names[n % len(names)] for n in range(each * len(names))]
    noise = spread * numbers.standard_normal((len(belongs), dim))
    return (np.array([centres[names.index(one)] for one in belongs]) + noise).astype(np.float32), belongs
