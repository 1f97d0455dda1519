"""Ranks by what models have learned, against a naive scan: labels, filters, cut-offs, deep pages, ties, all heads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from postil.index.manager import IndexManager
from postil.store.base import NewInput, StoredHeads, Transaction
from postil.v1.input_pb2 import Input
from postil.v1.search_pb2 import Filter, Query, Search
from support.exactness import Later
from support.search_world import World, showing

DIM = 10
NAMES = ("ant", "bee", "cow", "dog")
PER_PAGE = 25


class Labelled(NamedTuple):
    """An annotation as the naive scan knows it."""

    row: int
    input: str
    vector: NDArray[np.float32]
    labels: dict[str, float]


class Heads:
    """Inputs with vectors, some labelled, some with regions; heads are put in as a training would."""

    def __init__(self, folder: Path, *, unit: bool, size: int = 3000) -> None:
        later = Later()
        self.world = World(folder / "data", indexes=later)
        self.index = IndexManager(folder / "index", self.world.store)
        later.follow(self.index)
        self.index.start()
        self.numbers = np.random.default_rng(7)
        self.unit = unit
        self.rows: list[Labelled] = []
        self.world.store.write(lambda tx: self._add(tx, size))
        self.space = self.world.store.read().spaces(self.world.app.row)[0]
        assert self.space.unit is unit

    def _add(self, tx: Transaction, size: int) -> None:
        """Inputs, all in one op; some are labelled, and some have a region."""
        for number in range(size):
            name, app = f"i{number}", self.world.app.row
            row, anchor = tx.reserve_inputs(1)[0], tx.reserve_annotations(1)[0]
            tx.add_inputs(app, [NewInput(row, name, 30000, anchor, Input(id=name).SerializeToString(), 1, "", "", ())])
            labels = {"ant": 1.0} if number % 97 == 5 else {"ant": 0.0, "bee": 1.0} if number % 89 == 3 else {}
            self._say(tx, name, row, anchor, labels, level=True)
            if number % 50 == 7:
                region = tx.reserve_annotations(1)[0]
                self._say(tx, name, row, region, {"cow": 1.0} if number % 100 == 7 else {}, level=False)

    def _say(self, tx: Transaction, name: str, row: int, one: int, labels: dict[str, float], *, level: bool) -> None:
        vector = self._vector()
        self.world._annotate(tx, self.world.app, row, name, one, one, labels, level=level)
        self.world._put(tx, self.world.app, one, vector, "client", "client")
        self.rows.append(Labelled(one, name, vector, labels))

    def _vector(self) -> NDArray[np.float32]:
        vector = self.numbers.standard_normal(DIM).astype(np.float32)
        return vector / np.linalg.norm(vector) if self.unit else vector

    def learn(self, length: float, *, exclusive: bool, seed: int = 1) -> tuple[NDArray[Any], NDArray[Any]]:
        """Heads of some length; (weights, biases)."""
        numbers = np.random.default_rng(seed)
        weights = numbers.standard_normal((len(NAMES), DIM)).astype(np.float32) * np.float32(length / np.sqrt(DIM))
        biases = numbers.standard_normal(len(NAMES)).astype(np.float32)
        heads = StoredHeads(self.space.row, weights, biases, exclusive)

        def op(tx: Transaction) -> None:
            tx.ensure_concepts(self.world.app.row, dict.fromkeys(NAMES, ""))
            model = tx.model(self.world.app.row, "m") or tx.add_model(self.world.app.row, "m", b"")
            version = tx.add_version(model.row, f"v{tx.now_us}", 21100, b"")
            tx.put_heads(version.row, NAMES, heads)

        self.world.store.write(op)
        return weights, biases

    def naive(
        self, heads: tuple[NDArray[Any], NDArray[Any]], concept: str, *, exclusive: bool, flip: bool
    ) -> list[Any]:
        """(score, turn, row, input) of every annotation, in order."""
        weights, biases = heads
        place = NAMES.index(concept)
        margins = np.array([one.vector for one in self.rows], np.float64) @ weights.astype(np.float64).T + biases
        if exclusive:
            raised = np.exp(margins - margins.max(axis=1, keepdims=True))
            values = (raised / raised.sum(axis=1, keepdims=True))[:, place]
        else:
            values = 1.0 / (1.0 + np.exp(-np.clip(margins[:, place], -700.0, 700.0)))
        values = (1.0 - values if flip else values).astype(np.float32)
        scored = []
        for value, one in zip(values.tolist(), self.rows, strict=True):
            label = one.labels.get(concept)
            said = None if label is None else float((label == 1.0) != flip)
            turn = 1 if said is None else 0 if said else 2
            scored.append((-(value if said is None else said), turn, one.row, one.input))
        return [(-score, turn, row, name) for score, turn, row, name in sorted(scored)]


@pytest.fixture(scope="module", params=[True, False], ids=["unit", "free"])
def heads(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Heads]:
    made = Heads(tmp_path_factory.mktemp("heads"), unit=request.param)
    yield made
    made.index.close()
    made.world.store.close()


def pages(world: World, search: Search, count: int) -> list[tuple[str, float]]:
    """The first pages of annotations: (input, score)."""
    found = []
    for page in range(1, count + 1):
        hits = world.annotations(search, page, PER_PAGE).hits
        found += [(hit.input.id, hit.score) for hit in hits]
    return found


def agree(found: list[tuple[str, float]], expected: list[Any]) -> None:
    """Place by place the same score; and where scores are apart, the same input."""
    assert [score for _, score in found] == pytest.approx([one[0] for one in expected[: len(found)]], abs=2e-6)
    by_input: dict[str, list[float]] = {}
    for score, _, _, name in expected:
        by_input.setdefault(name, []).append(score)
    for name, score in found:
        assert min(abs(score - one) for one in by_input[name]) < 2e-6


@pytest.mark.parametrize("exclusive", [False, True], ids=["apart", "exclusive"])
@pytest.mark.parametrize("value", [1.0, 0.0], ids=["showing", "not showing"])
def test_pages_agree_with_a_scan(heads: Heads, value: float, exclusive: bool) -> None:
    learned = heads.learn(6.0, exclusive=exclusive)
    for concept in ("ant", "dog"):
        expected = heads.naive(learned, concept, exclusive=exclusive, flip=value == 0.0)
        agree(pages(heads.world, Search(query=Query(ranks=[showing(concept, value)])), 8), expected)
        exact = Search(query=Query(ranks=[showing(concept, value)]), algorithm="brute_force")
        agree(pages(heads.world, exact, 2), expected)


@pytest.mark.parametrize("exclusive", [False, True], ids=["apart", "exclusive"])
def test_filters_and_cut_offs(heads: Heads, exclusive: bool) -> None:
    learned = heads.learn(5.0, exclusive=exclusive, seed=2)
    one = Filter()
    one.annotation.data.concepts.add(id="bee", value=1.0)
    search = Search(query=Query(ranks=[showing("cow")], filters=[one]), min_value=0.3)
    wanted = {row.row for row in heads.rows if row.labels.get("bee") == 1.0}
    expected = [
        hit
        for hit in heads.naive(learned, "cow", exclusive=exclusive, flip=False)
        if hit[2] in wanted and hit[0] >= 0.3
    ]
    assert 0 < len(expected) < len(wanted)
    found = pages(heads.world, search, 3)
    assert len(found) == len(expected)
    agree(found, expected)


def test_ties_come_in_order_of_age(heads: Heads) -> None:
    learned = heads.learn(400.0, exclusive=False, seed=3)
    expected = heads.naive(learned, "dog", exclusive=False, flip=False)
    tied = [name for score, _, _, name in expected if score == 1.0]
    assert len(tied) > 8 * PER_PAGE
    assert [name for name, _ in pages(heads.world, Search(query=Query(ranks=[showing("dog")])), 8)] == tied[
        : 8 * PER_PAGE
    ]


def test_several_ranks_are_a_geometric_mean(heads: Heads) -> None:
    learned = heads.learn(4.0, exclusive=False, seed=4)
    two = [heads.naive(learned, name, exclusive=False, flip=False) for name in ("cow", "dog")]
    by_row = [{row: score for score, _, row, _ in one} for one in two]
    names = {row: name for _, _, row, name in two[0]}
    scored = sorted((-float(np.sqrt(by_row[0][row] * by_row[1][row])), row) for row in names)
    expected = [(-score, 1, row, names[row]) for score, row in scored]
    search = Search(query=Query(ranks=[showing("cow"), showing("dog")]))
    agree(pages(heads.world, search, 4), expected)


def test_inputs_come_by_their_best_annotation(heads: Heads) -> None:
    learned = heads.learn(6.0, exclusive=False, seed=5)
    expected, seen = [], set()
    for hit in heads.naive(learned, "cow", exclusive=False, flip=False):
        if hit[3] not in seen:
            seen.add(hit[3])
            expected.append(hit)
    hits = heads.world.inputs(Search(query=Query(ranks=[showing("cow")])), 1, 100).hits
    agree([(hit.input.id, hit.score) for hit in hits], expected)


def test_a_version_can_be_named(heads: Heads) -> None:
    old = heads.learn(6.0, exclusive=False, seed=6)
    version = heads.world.store.read().versions(1)[0].id
    new = heads.learn(6.0, exclusive=True, seed=7)
    rank = showing("dog")
    agree(pages(heads.world, Search(query=Query(ranks=[rank])), 1), heads.naive(new, "dog", exclusive=True, flip=False))
    rank.annotation.model_version_id = version
    agree(
        pages(heads.world, Search(query=Query(ranks=[rank])), 1), heads.naive(old, "dog", exclusive=False, flip=False)
    )
