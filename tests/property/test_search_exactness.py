"""Every search is what an exhaustive scan gives, and every plan is taken: `make exactness` runs a hundred thousand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from postil.index.base import Plan
from postil.index.manager import IndexManager
from postil.store.base import AnnotationRecord, Matrix, NewInput, Transaction, Vectors
from postil.v1.annotation_pb2 import Annotation
from postil.v1.input_pb2 import Input
from postil.v1.search_pb2 import Filter, Query, Search
from support.exactness import Later, run
from support.index_world import clustered, merge, space_of
from support.search_world import World, near, showing

ROWS, DIM, QUERIES = 6000, 24, 40


@pytest.mark.parametrize("seed", [1, 1001, 2001])
def test_random_searches_of_random_apps_equal_a_naive_scan(seed: int) -> None:
    plans: Counter[str] = Counter()
    assert run(120, seed, plans) == ""
    assert plans[Plan.SCAN.value]
    assert plans[Plan.GATHER.value]


@pytest.mark.parametrize("seed", [9, 11660])  # the second once cut a page of the farthest short
def test_random_searches_by_graphs_equal_a_naive_scan(seed: int) -> None:
    plans: Counter[str] = Counter()
    assert run(60, seed, plans, graphs=True) == ""
    assert plans[Plan.GRAPH.value]


class Large:
    """An app large enough for a graph, labelled at several selectivities, and by cluster."""

    shares: ClassVar = {"half": 0.5, "tenth": 0.1, "hundredth": 0.01, "few": 0.002}

    def __init__(self, folder: Path, both: Matrix) -> None:
        later = Later()
        self.world = World(folder / "data", indexes=later)
        later.follow(IndexManager(folder / "index", self.world.store))
        self.index = later.index
        self.index.start()
        self.vectors, self.queries = both[:ROWS], both[ROWS:]
        random = np.random.default_rng(3)
        self.labels = {name: random.random(ROWS) < share for name, share in self.shares.items()}
        self.labels["cluster"] = (self.vectors @ self.vectors[0]) > np.quantile(self.vectors @ self.vectors[0], 0.95)
        for start in range(0, ROWS, 1000):
            self.world.store.write(partial(self._load, start=start))
        merge(space_of(self.index, 1))

    def _load(self, tx: Transaction, *, start: int) -> None:
        app, count = self.world.app.row, 1000
        rows, anchors = tx.reserve_inputs(count), tx.reserve_annotations(count)
        concepts = tx.ensure_concepts(app, dict.fromkeys(self.labels, ""))
        names = [f"i{start + at}" for at in range(count)]
        now = tx.now_us
        tx.add_inputs(
            app,
            [
                NewInput(row, name, 30000, anchor, Input(id=name).SerializeToString(), now, "", "", ())
                for row, name, anchor in zip(rows, names, anchors, strict=True)
            ],
        )
        records = [
            AnnotationRecord(
                anchor, name, row, anchor, Annotation(id=name, input_id=name).SerializeToString(),
                24150, True, True, False, "me", "", "", "", now, now,
            )
            for row, name, anchor in zip(rows, names, anchors, strict=True)
        ]  # fmt: skip
        labels = [
            (anchor, concepts[name].row, 1.0)
            for name, holds in self.labels.items()
            for at, anchor in enumerate(anchors)
            if holds[start + at]
        ]
        tx.add_annotations(app, records, labels)
        space = tx.ensure_space(app, "client", "client", "client", self.vectors.shape[1])
        tx.put_vectors(app, Vectors(space.row, np.array(anchors, np.int64), self.vectors[start : start + count]))

    def recall(
        self, filters: list[Filter], mask: np.ndarray, ranks: list[str] | None = None
    ) -> tuple[float, set[Plan]]:
        """recall@10 over all queries, and the plans taken."""
        self.world.plans.clear()
        hit = total = 0
        for query in self.queries:
            search = Search(query=Query(filters=filters, ranks=[near(query), *map(showing, ranks or [])]))
            answer = self.world.annotations(search, per_page=10)
            scores = (1.0 + self.vectors @ query) / 2.0
            for name in ranks or []:
                centre = self.vectors[self.labels[name]].mean(axis=0)
                likeness = (1.0 + self.vectors @ (centre / np.linalg.norm(centre))) / 2.0
                scores = scores * np.where(self.labels[name], 1.0, likeness)
            scores = np.where(mask, scores, -1.0)
            best = np.argsort(-scores, kind="stable")[: min(10, int(mask.sum()))]
            found = {int(hit.input.id[1:]) for hit in answer.hits}
            hit += len(found.intersection(best.tolist()))
            total += len(best)
        return hit / total, set(self.world.plans)

    def close(self) -> None:
        self.index.close()
        self.world.store.close()


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Large]:
    made = Large(tmp_path_factory.mktemp("large"), clustered(ROWS + QUERIES, DIM))
    yield made
    made.close()


@pytest.fixture(scope="module")
def scattered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Large]:
    """Many dimensions and hardly any clusters: whoever looks where nothing lies, looks far."""
    random = np.random.default_rng(5)
    centres = random.standard_normal((500, 192))
    both = centres[random.integers(500, size=ROWS + QUERIES)] + 0.9 * random.standard_normal((ROWS + QUERIES, 192))
    made = Large(
        tmp_path_factory.mktemp("scattered"),
        (both / np.linalg.norm(both, axis=1, keepdims=True)).astype(np.float32),
    )
    yield made
    made.close()


def labelled(*names: str, negate: bool = False) -> Filter:
    one = Filter(negate=negate)
    for name in names:
        one.annotation.data.concepts.add(id=name, value=1)
    return one


@pytest.mark.parametrize("name", ["half", "tenth", "hundredth", "few", "cluster"])
@pytest.mark.parametrize("negate", [False, True])
def test_recall_under_one_filter(large: Large, name: str, negate: bool) -> None:
    recall, _ = large.recall([labelled(name, negate=negate)], large.labels[name] != negate)
    assert recall >= 0.99


@pytest.mark.parametrize("first", ["half", "tenth", "cluster"])
@pytest.mark.parametrize("second", ["half", "hundredth", "cluster"])
def test_recall_under_two_filters(large: Large, first: str, second: str) -> None:
    mask = large.labels[first] & ~large.labels[second]
    if not mask.any():
        pytest.skip("nothing is left")
    recall, _ = large.recall([labelled(first), labelled(second, negate=True)], mask)
    assert recall >= 0.99


@pytest.mark.parametrize("name", ["half", "tenth", "hundredth", "cluster"])
def test_recall_of_two_ranks(large: Large, name: str) -> None:
    recall, _ = large.recall([], np.ones(ROWS, np.bool_), [name])
    assert recall >= 0.99


def test_recall_of_a_negated_rank(scattered: Large) -> None:
    """The opposite of a picture lies where no pictures are; a walk towards it must look widely."""
    everything = np.ones(ROWS, np.bool_)
    for name, mask in (("", everything), ("half", scattered.labels["half"])):
        hits = total = 0
        for query in scattered.queries:
            rank = near(query)
            rank.negate = True
            search = Search(query=Query(filters=[labelled(name)] if name else [], ranks=[rank]))
            answer = scattered.world.annotations(search, per_page=10)
            best = np.argsort(np.where(mask, scattered.vectors @ query, np.inf), kind="stable")[:10]
            hits += len({int(hit.input.id[1:]) for hit in answer.hits}.intersection(best.tolist()))
            total += len(best)
        assert hits / total >= 0.99


def test_recall_around_the_middle_of_scattered_examples(scattered: Large) -> None:
    """The few that are labelled come first; what follows is near to their mean, where no vectors need lie."""
    examples = scattered.labels["few"]
    centre = scattered.vectors[examples].mean(axis=0)
    expected = np.argsort(np.where(examples, -np.inf, -(scattered.vectors @ centre)), kind="stable")
    count = int(examples.sum())
    answer = scattered.world.annotations(Search(query=Query(ranks=[showing("few")])), per_page=count + 50)
    found = [int(hit.input.id[1:]) for hit in answer.hits]
    assert set(found[:count]) == set(np.flatnonzero(examples).tolist())
    assert len(set(found[count:]).intersection(expected[count : count + 50].tolist())) >= 49


def test_each_plan_is_taken(large: Large) -> None:
    everything = np.ones(ROWS, np.bool_)
    assert large.recall([], everything)[1] == {Plan.GRAPH}
    assert large.recall([labelled("few")], large.labels["few"])[1] == {Plan.GATHER}
    assert Plan.GRAPH in large.recall([labelled("few", negate=True)], ~large.labels["few"])[1]
    search = Search(query=Query(filters=[labelled("half")], ranks=[near(large.queries[0])]), algorithm="brute_force")
    large.world.plans.clear()
    large.world.annotations(search)
    assert large.world.plans in ([Plan.SCAN], [Plan.GATHER])
    large.world.plans.clear()
    assert not large.world.annotations(
        Search(query=Query(filters=[labelled("never")], ranks=[near(large.queries[0])]))
    ).hits
    assert large.world.plans == []
