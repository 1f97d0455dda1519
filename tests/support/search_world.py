"""A small world to search in: the real store, an exact index that follows its feed, and embedders one can foresee."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from postil.core.call import Call
from postil.core.downloads import Downloads
from postil.core.hosting import Hosting
from postil.core.opening import Opening
from postil.core.query_vectors import QueryVectors
from postil.core.search import Searches
from postil.embed.base import EmbedQueue, Outputs, Spec
from postil.errors import Failure
from postil.index.base import Metric, Neighbours, Plan
from postil.index.catalogs import Catalogs
from postil.media.pictures import PictureReader
from postil.store.base import AnnotationRecord, AppRecord, Change, NewInput, Transaction, Vectors
from postil.store.sqlite import SqliteStore
from postil.v1.annotation_pb2 import Annotation
from postil.v1.input_pb2 import Input
from postil.v1.search_pb2 import Query, Rank, Search
from postil.v1.search_service_pb2 import (
    MultiSearchResponse,
    PostAnnotationsSearchesRequest,
    PostInputsSearchesRequest,
)
from postil.v1.status_code_pb2 import StatusCode

Vector = Sequence[float] | NDArray[Any]
Labels = dict[str, float]


class ExactSpace:
    """All vectors of a space in a dictionary."""

    def __init__(self) -> None:
        self.held: dict[int, NDArray[np.float32]] = {}

    def __len__(self) -> int:
        return len(self.held)

    def search(
        self,
        query: NDArray[np.float32],
        k: int,
        *,
        metric: Metric = Metric.EUCLIDEAN,
        exact: bool = False,
        allow: BitMap | None = None,
        standing: bool = False,
    ) -> Neighbours:
        rows = np.array(sorted(row for row in self.held if allow is None or row in allow), dtype=np.int64)
        if not len(rows):
            return Neighbours(rows, np.empty(0, np.float32), Plan.EMPTY)
        distances = self._distances(query, rows, metric)
        order = np.lexsort((rows, distances))[:k]
        return Neighbours(rows[order], distances[order], Plan.SCAN if exact else Plan.GRAPH)

    def _distances(self, query: NDArray[np.float32], rows: NDArray[np.int64], metric: Metric) -> NDArray[np.float32]:
        matrix = np.array([self.held[int(row)] for row in rows], dtype=np.float32)
        if metric is Metric.COSINE:
            cosines = matrix @ query / (np.linalg.norm(matrix, axis=1) * np.linalg.norm(query))
            return np.asarray(1.0 - cosines, np.float32)
        return np.asarray(((matrix - query) ** 2).sum(axis=1), np.float32)

    def measure(
        self, query: NDArray[np.float32], rows: NDArray[np.int64], *, metric: Metric = Metric.EUCLIDEAN
    ) -> NDArray[np.float32]:
        found = np.full(len(rows), np.nan, np.float32)
        here = np.array([row in self.held for row in rows.tolist()], np.bool_)
        if here.any():
            found[here] = self._distances(query, rows[here], metric)
        return found

    def vectors(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        here = np.array([row for row in rows.tolist() if row in self.held], np.int64)
        return here, np.array([self.held[int(row)] for row in here], np.float32)

    def live_rows(self) -> BitMap:
        return BitMap(self.held)


class ExactIndexes:
    """`Indexes` that compares with every vector."""

    def __init__(self) -> None:
        self.spaces: dict[int, ExactSpace] = {}
        self.applied = 0

    def apply(self, change: Change) -> None:
        for put in change.put:
            found = self.spaces.setdefault(put.space, ExactSpace())
            found.held.update(zip(put.rows.tolist(), put.matrix, strict=True))
        for space in self.spaces.values():
            for row in change.gone.tolist():
                space.held.pop(row, None)
        self.applied = change.seq

    def space(self, space: int) -> ExactSpace | None:
        return self.spaces.get(space)

    def lost(self, app: int | None = None) -> int:
        return 0


class HashQueue:
    """An embedder whose vectors follow from the content's bytes."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec

    def submit(self, contents: Sequence[Any]) -> Future[NDArray[np.float32]]:
        future: Future[NDArray[np.float32]] = Future()
        future.set_result(np.stack([self.vector(one) for one in contents]))
        return future

    def infer(self, contents: Sequence[Any]) -> Future[Outputs]:
        future: Future[Outputs] = Future()
        future.set_result(Outputs(self.submit(contents).result(), None))
        return future

    def vector(self, content: Any) -> NDArray[np.float32]:
        raw = content.encode() if isinstance(content, str) else content.tobytes()
        seed = int.from_bytes(hashlib.sha256(raw).digest()[:8], "little")
        vector = np.random.default_rng(seed).standard_normal(self.spec.dim, dtype=np.float32)
        unit: NDArray[np.float32] = vector / np.linalg.norm(vector)
        return unit


class FakeEmbedders:
    """One embedder of each kind in `kinds`."""

    def __init__(self, *kinds: str) -> None:
        self.queues = {kind: HashQueue(Spec(f"the-{kind}", f"{kind}-version", kind, 8, "")) for kind in kinds}

    def specs(self) -> list[Spec]:
        return [queue.spec for queue in self.queues.values()]

    def default(self, kind: str) -> EmbedQueue | None:
        return self.queues.get(kind)

    def by_version(self, version_id: str) -> EmbedQueue | None:
        found = [q for q in self.queues.values() if version_id in {q.spec.version_id, q.spec.model_id}]
        return found[0] if found else None

    def close(self) -> None:
        pass


class World:
    """An app with inputs to search for."""

    def __init__(self, folder: Path, *, indexes: Any = None, kinds: Sequence[str] = ("picture", "text")) -> None:
        self.store = SqliteStore(folder)
        self.indexes = indexes or ExactIndexes()
        self.store.subscribe(self.indexes.apply)
        self.catalogs = Catalogs(self.store)
        self.catalogs.start()
        self.app = self.new_app("photos")
        self.embedders = FakeEmbedders(*kinds)
        self.web: dict[str, bytes] = {}
        self.plans: list[Plan] = []
        vectors = QueryVectors(
            self.embedders,
            Downloads(self._fetch, self.store.blobs, Hosting("http://postil.test")),
            Opening(PictureReader()),
        )
        self.searches = Searches(self.store, self.indexes, self.catalogs, vectors, self.plans.append)

    def new_app(self, app_id: str) -> AppRecord:
        return self.store.write(lambda tx: tx.put_app("me", app_id, b""))

    def _fetch(self, url: str, _wanted: Callable[[], bool]) -> bytes:
        if url not in self.web:
            raise Failure(StatusCode.INPUT_CONNECTION_FAILED, "the host does not answer")
        return self.web[url]

    def add(
        self,
        input_id: str,
        vector: Vector | None = None,
        labels: Labels | None = None,
        *,
        space: str = "client",
        kind: str = "client",
        app: AppRecord | None = None,
    ) -> int:
        """An input with its input-level annotation; gives the annotation's row."""
        record = app or self.app

        def op(tx: Transaction) -> int:
            row, anchor = tx.reserve_inputs(1)[0], tx.reserve_annotations(1)[0]
            message = Input(id=input_id).SerializeToString()
            new = NewInput(row, input_id, 30000, anchor, message, tx.now_us, "", "", ())
            tx.add_inputs(record.row, [new])
            self._annotate(tx, record, row, input_id, anchor, anchor, labels or {}, level=True)
            self._put(tx, record, anchor, vector, space, kind)
            return anchor

        return self.store.write(op)

    def region(
        self, input_id: str, vector: Vector | None = None, labels: Labels | None = None, *, space: str = "client"
    ) -> int:
        """An annotation of an input, with a vector of its own or its input's; gives its row."""

        def op(tx: Transaction) -> int:
            found = tx.input(self.app.row, input_id)
            assert found is not None
            row = tx.reserve_annotations(1)[0]
            anchor = row if vector is not None else found.anchor
            self._annotate(tx, self.app, found.row, input_id, row, anchor, labels or {}, level=False)
            self._put(tx, self.app, row, vector, space, "client")
            return row

        return self.store.write(op)

    def _annotate(
        self,
        tx: Transaction,
        app: AppRecord,
        input_row: int,
        input_id: str,
        row: int,
        anchor: int,
        labels: Labels,
        *,
        level: bool,
    ) -> None:
        message = Annotation(id=f"annotation-{row}", input_id=input_id)
        for concept, value in labels.items():
            message.data.concepts.add(id=concept, value=value)
        record = AnnotationRecord(
            row=row,
            id=message.id,
            input=input_row,
            anchor=anchor,
            message=message.SerializeToString(),
            status=24150,
            trusted=True,
            input_level=level,
            blank=level and not labels,
            user_id="me",
            model_version_id="",
            workflow_version_id="",
            task_id="",
            created_us=tx.now_us,
            modified_us=tx.now_us,
        )
        concepts = tx.ensure_concepts(app.row, {name: f"The {name}" for name in labels})
        tx.add_annotations(app.row, [record], [(row, concepts[name].row, value) for name, value in labels.items()])

    @staticmethod
    def _put(tx: Transaction, app: AppRecord, row: int, vector: Vector | None, space: str, kind: str) -> None:
        if vector is None:
            return
        array = np.ascontiguousarray(vector, dtype=np.float32)
        found = tx.ensure_space(app.row, space, space, kind, len(array))
        tx.put_vectors(app.row, Vectors(found.row, np.array([row], dtype=np.int64), array[None]))

    def call(self, app: AppRecord | None = None) -> Call:
        return Call("request-1", "me", app or self.app)

    def annotations(
        self, search: Search, page: int = 0, per_page: int = 0, app: AppRecord | None = None
    ) -> MultiSearchResponse:
        """The parsed answer of PostAnnotationsSearches."""
        request = PostAnnotationsSearchesRequest(searches=[search])
        request.pagination.page, request.pagination.per_page = page, per_page
        return MultiSearchResponse.FromString(self.searches.annotations(self.call(app), request))

    def inputs(self, search: Search, page: int = 0, per_page: int = 0) -> MultiSearchResponse:
        """The parsed answer of PostInputsSearches."""
        request = PostInputsSearchesRequest(searches=[search])
        request.pagination.page, request.pagination.per_page = page, per_page
        return MultiSearchResponse.FromString(self.searches.inputs(self.call(), request))


def ranked(rank: Rank, **search: Any) -> Search:
    """A search by one rank."""
    return Search(query=Query(ranks=[rank]), **search)


def near(vector: Vector, *, space: str = "", negate: bool = False) -> Rank:
    """Rank by a vector."""
    rank = Rank(negate=negate)
    rank.annotation.data.embeddings.add(vector=vector, space=space)
    return rank


def showing(concept: str, value: float = 1.0, *, negate: bool = False) -> Rank:
    """Rank by a concept's id."""
    rank = Rank(negate=negate)
    rank.annotation.data.concepts.add(id=concept, value=value)
    return rank


def like(input_id: str) -> Rank:
    """Rank by an input."""
    rank = Rank()
    rank.annotation.input_id = input_id
    return rank


def ids(response: MultiSearchResponse) -> list[str]:
    """The inputs found, in order."""
    return [hit.input.id for hit in response.hits]


def scores(response: MultiSearchResponse) -> list[float]:
    """The scores, in order."""
    return [hit.score for hit in response.hits]
