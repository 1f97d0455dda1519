"""The load: a clustered mixture on the sphere, the inputs that carry it, and the exact answers.

Four hundred clusters of Zipf sizes, a power-law spectrum in a random rotation; the spread is chosen so that a graph has
to work for its recall as it does on learned embeddings (hnswlib with M=16, efConstruction=200 reaches about 0.95 at
ef=32, 0.98 at ef=64 and 0.995 at ef=128 on 100,000 of them). Everything is a function of the seed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from postil.core.wire import framed, key
from postil.v1.annotation_pb2 import Annotation
from postil.v1.annotation_service_pb2 import PostAnnotationsRequest
from postil.v1.data_pb2 import Data, Embedding
from postil.v1.input_pb2 import Input
from postil.v1.input_service_pb2 import PostInputsRequest
from postil.v1.search_pb2 import Search
from postil.v1.search_service_pb2 import PostAnnotationsSearchesRequest

Matrix = NDArray[np.float32]

SEED = 7
CLUSTERS = 400
SPREAD = 1.2  # length of the noise, that of a cluster's centre being 1
HITS = 10
BATCH = 128

_VECTOR = key(Embedding.DESCRIPTOR, "vector")


class Load(NamedTuple):
    """Unit vectors to store and to ask with."""

    vectors: Matrix  # float32 [n, dim]
    queries: Matrix  # float32 [q, dim], not among them


def make(n: int, dim: int, queries: int) -> Load:
    """The mixture, the same for the same numbers."""
    rng = np.random.default_rng(SEED)
    spectrum = np.arange(1, dim + 1, dtype=np.float32)[:, None] ** -0.5
    rotation, _ = np.linalg.qr(rng.standard_normal((dim, dim)))
    basis = (spectrum * rotation).astype(np.float32)
    basis /= np.linalg.norm(spectrum)  # noise of mean squared length 1
    centres = _unit(rng.standard_normal((CLUSTERS, dim), dtype=np.float32) @ basis)
    weights = 1.0 / np.arange(1, CLUSTERS + 1)
    cluster = rng.choice(CLUSTERS, n + queries, p=weights / weights.sum())
    points = np.empty((n + queries, dim), dtype=np.float32)
    for start in range(0, len(points), 8192):
        part = cluster[start : start + 8192]
        noise = rng.standard_normal((len(part), dim), dtype=np.float32) @ basis
        points[start : start + 8192] = _unit(centres[part] + SPREAD * noise)
    return Load(points[:n], points[n:])


def _unit(points: Matrix) -> Matrix:
    unit: Matrix = points / np.linalg.norm(points, axis=1, keepdims=True)
    return unit


def truth(vectors: Matrix, queries: Matrix, k: int = HITS) -> NDArray[np.int64]:
    """int64 [q, k]: the exact nearest, by a full scan."""
    found = [np.argpartition(vectors @ -part.T, k, axis=0)[:k].T for part in np.array_split(queries, 20)]
    return np.concatenate(found)


def recall(found: NDArray[np.int64], exact: NDArray[np.int64]) -> float:
    """The share of the exact neighbours that were found."""
    hits = sum(len(np.intersect1d(a, b)) for a, b in zip(found, exact, strict=True))
    return hits / exact.size


def input_id(number: int) -> str:
    return f"photo-{number:07d}"


def number_of(id_: str) -> int:
    """The vector behind an input's id; -1 for what is not of this load."""
    return int(id_.removeprefix("photo-")) if id_.startswith("photo-") else -1


def item(number: int, vector: Matrix) -> Input:
    """One input with its vector and about 300 bytes of concepts and metadata."""
    message = Input(id=input_id(number))
    data = message.data
    data.concepts.add(id=f"subject-{number % 200:03d}", value=1)
    data.concepts.add(id=f"mood-{number % 7}", value=1)
    data.concepts.add(id=f"season-{number % 4}", value=number % 2)
    data.metadata.update(
        {
            "camera": f"model-{number % 31}",
            "photographer": f"person-{number % 997:03d}",
            "taken": f"2026-{number % 12 + 1:02d}-{number % 28 + 1:02d}T12:00:00Z",
            "iso": float(100 * (number % 32 + 1)),
            "note": "the light comes from the left; keep the margin",
        }
    )
    embed(data, vector)
    return message


def embed(data: Data, vector: Matrix) -> None:
    """Appends an embedding; a packed field is its floats, so nothing is iterated over."""
    data.embeddings.add().MergeFromString(framed(_VECTOR, np.asarray(vector, dtype="<f4").tobytes()))


def batches(vectors: Matrix, first: int = 0, size: int = BATCH) -> Iterator[PostInputsRequest]:
    """PostInputs requests for all vectors, in order, numbered from `first`."""
    for start in range(0, len(vectors), size):
        part = vectors[start : start + size]
        yield PostInputsRequest(inputs=[item(first + start + i, vector) for i, vector in enumerate(part)])


def labels(first: int, count: int, inputs: int) -> PostAnnotationsRequest:
    """A request that labels `count` inputs, from annotation number `first` on, going round the inputs there are."""
    return PostAnnotationsRequest(annotations=[_annotation(first + i, inputs) for i in range(count)])


def _annotation(number: int, inputs: int) -> Annotation:
    message = Annotation(input_id=input_id(number % inputs))
    message.data.concepts.add(id=f"judged-{number % 50}", value=1)
    message.data.metadata.update(
        {
            "reviewer": f"person-{number % 97}",
            "round": float(number % 5),
            "remark": "as good as it can be in this light",
        }
    )
    return message


def search(query: Matrix, hits: int = HITS) -> PostAnnotationsSearchesRequest:
    """A search for the nearest to a vector."""
    request = PostAnnotationsSearchesRequest(searches=[Search()])
    request.pagination.per_page = hits
    embed(request.searches[0].query.ranks.add().annotation.data, query)
    return request
