"""Measures ranks by heads that were just trained, beside ranks by vectors, in this process; part of `make bench`.

The concepts are of three kinds, eight of each: what lies around one point, what lies around five or twenty-five of
them, and what lies on one side of a random direction. The latter two are the hard ones: their weights point where no
vectors lie. Each head is fitted on 2,000 labelled vectors. Recall is against a scan of all scores in numpy. A head and
a vector are asked by turns, each as often as the other, so that caches serve both alike.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from postil.core import head_evidence, heads
from postil.core.call import Call
from postil.store.base import StoredHeads, Transaction
from postil.v1.annotation_pb2 import Annotation
from postil.v1.concept_pb2 import Concept
from postil.v1.data_pb2 import Data
from postil.v1.search_pb2 import Query, Rank, Search
from postil.v1.search_service_pb2 import MultiSearchResponse, PostAnnotationsSearchesRequest

if TYPE_CHECKING:
    from benchmarks.filters import Bench

EACH = 8  # concepts of a kind
TAUGHT = 2000
ROUNDS = 5
K = 10
Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]


def run(bench: Bench) -> dict[str, Any]:
    """Figures by kind of head: "apart", each for itself; "softmax", exclusive; both prepared as a training does it,
    and "unprepared", the first ranks by heads that nobody has asked for."""
    random = np.random.default_rng(11)
    found = {}
    for name, exclusive, ready in (("apart", False, True), ("softmax", True, True), ("unprepared", False, False)):
        vectors = np.asarray(bench.vectors[: bench.rows])
        made = _fitted(vectors, np.stack(list(_concepts(vectors, random)), axis=1), random, exclusive=exclusive)
        prepared = _learn(bench, made, name, ready=ready)
        every, rounds = (3, 1) if exclusive else (1, ROUNDS if ready else 1)  # a softmax takes its time
        found[name] = {**_measure(bench, made, name, rounds, every), "prepare_ms": prepared}
        print(f"heads, {name}: {found[name]}", flush=True)
    return found


def _concepts(vectors: Floats, random: np.random.Generator) -> Iterator[Mask]:
    """Which vectors show each concept."""

    def around(share: float) -> Mask:
        near = vectors @ vectors[random.integers(len(vectors))]
        return np.asarray(near > np.quantile(near, 1 - share))

    for at in range(EACH):
        yield around((0.1, 0.01, 0.001)[at % 3])
    for at in range(EACH):
        count, share = ((5, 0.02), (25, 0.004))[at % 2]
        yield np.logical_or.reduce([around(share) for _ in range(count)])
    for _ in range(EACH):
        side = vectors @ np.asarray(random.standard_normal(vectors.shape[1]), np.float32)
        yield np.asarray(side > np.quantile(side, 0.9))


def _fitted(vectors: Floats, truth: Mask, random: np.random.Generator, *, exclusive: bool) -> heads.Heads:
    """Heads from labels, some of every concept among them."""
    some = random.choice(len(vectors), min(TAUGHT, len(vectors)), replace=False)
    rare = [np.flatnonzero(column)[:50] for column in truth.T]
    taught = np.unique(np.concatenate([some, *rare]))
    labels = truth[taught].astype(np.float32)
    return heads.fit(vectors[taught], labels, exclusive=exclusive, seed=1)


def _learn(bench: Bench, made: heads.Heads, name: str, *, ready: bool) -> float:
    """Stores the heads as a training does; milliseconds that it takes a head to get ready."""
    app = bench.app.row
    space = bench.store.read().spaces(app)[0]
    stored = StoredHeads(space.row, made.weights, made.biases, made.exclusive)
    names = [f"{name}-{place}" for place in range(len(made.biases))]
    began = time.process_time()
    index = bench.index.space(space.row)
    if ready and index is not None:
        head_evidence.prepare(index, stored, space, lambda: False)
    took = time.process_time() - began

    def op(tx: Transaction) -> None:
        tx.ensure_concepts(app, dict.fromkeys(names, ""))
        version = tx.add_version(tx.add_model(app, name, b"").row, f"{name}-version", 21100, b"")
        tx.put_heads(version.row, names, stored)

    bench.store.write(op)
    return round(1e3 * took / len(names), 1)


def _measure(bench: Bench, made: heads.Heads, name: str, rounds: int, every: int) -> dict[str, Any]:
    call = Call("bench", "me", bench.app)
    places = range(0, len(made.biases), every)
    ranks = [Annotation(data=Data(concepts=[Concept(id=f"{name}-{at}", value=1)])) for at in places]
    plain = [Annotation() for _ in ranks]
    for one, query in zip(plain, bench.queries, strict=False):
        one.data.embeddings.add(vector=query)
    own, beside, hits = [], [], []
    plans: set[str] = set()
    bench.searches.annotations(call, _request(plain[0]))
    for turn in range(rounds):
        for at, rank, other in zip(places, ranks, plain, strict=True):
            beside.append(_timed(lambda one=other: bench.searches.annotations(call, _request(one)))[0])  # type: ignore[misc]
            took, answer = _timed(lambda one=rank: bench.searches.annotations(call, _request(one)))  # type: ignore[misc]
            own.append(took)
            parsed = MultiSearchResponse.FromString(answer)
            plans.update(parsed.debug[0].walks)
            if turn == 0:
                hits.append(len({int(hit.input.id[1:]) for hit in parsed.hits} & _best(bench, made, at)) / K)
    return {
        "per_s": round(len(own) / sum(own), 1),
        "plain_per_s": round(len(beside) / sum(beside), 1),
        "p50_ms": round(1e3 * float(np.median(own)), 3),
        "slowest_ms": round(1e3 * max(own), 1),
        "recall": round(float(np.mean(hits)), 4),
        "worst_recall": min(hits),
        "plans": sorted(plans),
    }


def _request(rank: Annotation) -> PostAnnotationsSearchesRequest:
    request = PostAnnotationsSearchesRequest(searches=[Search(query=Query(ranks=[Rank(annotation=rank)]), debug=True)])
    request.pagination.per_page = K
    return request


def _timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of this process's processor time, which other work on the machine stretches less than the clock's."""
    began = time.process_time()
    value = call()
    return time.process_time() - began, value


def _best(bench: Bench, made: heads.Heads, place: int) -> set[int]:
    """The inputs that score most, by a pass over all of them. Scores are float32, and the older of equal ones comes
    first."""
    vectors = np.asarray(bench.vectors[: bench.rows], np.float64)
    if made.exclusive:
        margins = vectors @ made.weights.T + made.biases
        values = np.exp(margins[:, place] - np.logaddexp.reduce(margins, axis=1)).astype(np.float32)
    else:
        margins = vectors @ made.weights[place] + made.biases[place]
        values = (1.0 / (1.0 + np.exp(-margins))).astype(np.float32)
    return set(np.argsort(-values, kind="stable")[:K].tolist())
