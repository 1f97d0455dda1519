"""Random apps and random searches of every form, compared page by page with a naive scan.

    PYTHONPATH=tests python -m support.exactness 100000

prints its progress and a summary, and fails when a plan was never taken; the tests run a few hundred.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import structlog

from postil.core import ranking
from postil.core.call import Call
from postil.errors import Failure
from postil.index import planner
from postil.index.base import Plan
from postil.index.manager import IndexManager
from postil.v1.search_pb2 import Filter, Rank, Search
from postil.v1.search_service_pb2 import (
    MultiSearchResponse,
    PostAnnotationsSearchesRequest,
    PostInputsSearchesRequest,
)
from support.index_world import merge, space_of
from support.naive import Naive, problem
from support.random_app import CONCEPTS, DATASETS, MEDIA, SHAPES, SPACES, USERS, RandomWrites
from support.search_world import World

METADATA_WANTED: tuple[Any, ...] = (
    {"a": 1}, {"b": "x"}, {"list": [2]}, {"list": [{"k": 1}]}, {"list": [{"k": 1}, {"j": 2}]}, {"n": {"m": [5, 4]}},
    {"n": {}}, {"a": 2, "n": {"m": []}}, {"list": [3]}, {"absent": None},
)  # fmt: skip
QUERIES_PER_APP = 60
CHANGES = 8  # of an app while it is searched
GRAPH_OF = 3  # of so many apps, one is searched by graphs


class RandomApp(RandomWrites):
    """An app that is searched while it changes.

    Args:
        folder: Empty.
        seed: Of everything random.
        size: Inputs at first.
        graphs: Build graphs, and ask them whatever that costs. They are asked for every point they hold, so that
            answers stay exact; the tail, what is dead and filters are then sorted out as among millions.
    """

    def __init__(self, folder: Path, seed: int, size: int, *, graphs: bool = False) -> None:
        later = Later()
        super().__init__(World(folder / "data", indexes=later), seed)
        self.index = IndexManager(folder / "index", self.world.store)
        later.follow(self.index)
        self.index.start()
        self._saved = (planner.READS_PER_WIDTH, ranking._SCAN_ALWAYS, ranking._SCAN_SHARE)
        if graphs:
            planner.READS_PER_WIDTH, ranking._SCAN_ALWAYS, ranking._SCAN_SHARE = 0, 4, 0
        planner.choose.cache_clear()
        for _ in range(size):
            self.add()
        if graphs:
            for record in self.world.store.read().spaces(self.world.app.row):
                merge(space_of(self.index, record.row))

    def close(self) -> None:
        planner.READS_PER_WIDTH, ranking._SCAN_ALWAYS, ranking._SCAN_SHARE = self._saved
        planner.choose.cache_clear()
        self.index.close()
        self.world.store.close()

    # searching

    def query(self) -> Search:
        """A random search."""
        pick = self.random
        search = Search(metric=pick.choice((0, 1, 2)), algorithm=pick.choice(("", "", "brute_force")))  # type: ignore[arg-type]
        search.query.filters.extend(self._filter() for _ in range(pick.choice((0, 1, 1, 2, 3))))
        search.query.ranks.extend(self._rank() for _ in range(pick.choice((0, 1, 1, 2, 3))))
        if pick.random() < 0.2:
            search.min_value = pick.choice((0.3013, 0.5007, 0.6011, 0.9991))  # no score lies on these within rounding
        if pick.random() < 0.1:
            record = self.world.store.read().input(self.world.app.row, pick.choice(self.inputs))
            assert record is not None
            search.as_of.FromMicroseconds(record.created_us)
        return search

    def _rank(self) -> Rank:
        pick = self.random
        rank = Rank(negate=pick.random() < 0.2)
        for kind in pick.sample(("concept", "concept", "vector", "input"), pick.choice((1, 1, 1, 2))):
            if kind == "concept":
                rank.annotation.data.concepts.add(id=pick.choice(CONCEPTS[:4]), value=float(pick.random() < 0.8))
            elif kind == "vector":
                space = pick.choice(list(SPACES))
                rank.annotation.data.embeddings.add(vector=self.numbers.standard_normal(SPACES[space]), space=space)
            else:
                rank.annotation.input_id = self._indexed()
        return rank

    def _indexed(self) -> str:
        """An input with a vector."""
        queries = self.world.store.read()
        while True:
            name = self.random.choice(self.inputs)
            found = queries.input(self.world.app.row, name)
            assert found is not None
            if any(len(queries.vectors_of_input(s.row, found.row).rows) for s in queries.spaces(self.world.app.row)):
                return name

    def _filter(self) -> Filter:
        pick = self.random
        one = Filter(negate=pick.random() < 0.25)
        makers = pick.sample(FILTERS, pick.choice((1, 1, 1, 2)))
        for make in makers:
            getattr(self, f"_by_{make}")(one)
        return one

    def _by_concepts(self, one: Filter) -> None:
        for name in self.random.sample((*CONCEPTS, "never"), self.random.choice((1, 1, 2))):
            one.annotation.data.concepts.add(id=name, value=float(self.random.random() < 0.7))

    def _by_author(self, one: Filter) -> None:
        name = self.random.choice(USERS)
        if self.random.random() < 0.5:
            one.annotation.user_id = name
        else:
            one.annotation.worker.user.id = name

    def _by_flags(self, one: Filter) -> None:
        setattr(one.annotation, self.random.choice(("trusted", "input_level")), True)

    def _by_model(self, one: Filter) -> None:
        one.annotation.model_version_id = "model-1"

    def _by_status(self, one: Filter) -> None:
        one.annotation.status.code = self.random.choice((24150, 24151))  # type: ignore[assignment]

    def _by_ids(self, one: Filter) -> None:
        if self.random.random() < 0.5:
            one.annotation.input_id = self.random.choice((*self.inputs, "nobody"))
        else:
            one.annotation.id = f"a{self.random.randrange(200)}"

    def _by_metadata(self, one: Filter) -> None:
        one.annotation.data.metadata.update(self.random.choice(METADATA_WANTED))

    def _by_info(self, one: Filter) -> None:
        one.annotation.annotation_info.update(self.random.choice(METADATA_WANTED))

    def _by_place(self, one: Filter) -> None:
        pick, geo = self.random, one.annotation.data.geo
        if pick.random() < 0.5:
            for _ in range(2):
                point = geo.geo_box.add().geo_point
                point.latitude, point.longitude = pick.uniform(-90, 90), pick.uniform(-180, 180)
            return
        geo.geo_point.latitude, geo.geo_point.longitude = pick.uniform(-90, 90), pick.uniform(-180, 180)
        geo.geo_limit.type, geo.geo_limit.value = pick.choice(
            (("withinKilometers", 5000), ("withinMiles", 2000), ("withinDegrees", 40), ("withinRadians", 1))
        )

    def _by_shape(self, one: Filter) -> None:
        data = one.annotation.data
        match self.random.randrange(5):
            case 0:
                data.SetInParent()
            case 1:
                data.frames.add().frame_info.SetInParent()
            case 2:
                data.time_segments.add().time_info.SetInParent()
            case 3:
                data.regions.add().region_info.SetInParent()
            case _:
                getattr(data.regions.add().region_info, self.random.choice(SHAPES)).SetInParent()

    def _by_input(self, one: Filter) -> None:
        for medium in self.random.sample(MEDIA, self.random.choice((0, 1, 2))):
            getattr(one.input.data, medium).SetInParent()
        if self.random.random() < 0.5 or not one.input.ByteSize():
            one.input.status.code = self.random.choice((30000, 30001, 30100))  # type: ignore[assignment]
        if self.groups is not None and self.groups.random() < 0.5:
            one.input.dataset_ids.extend(self.groups.sample(DATASETS, self.groups.choice((1, 2))))

    def _by_time(self, one: Filter) -> None:
        record = self.world.store.read().input(self.world.app.row, self.random.choice(self.inputs))
        assert record is not None
        span = one.last_updated_time_range
        edge = span.start_time if self.random.random() < 0.5 else span.end_time
        edge.FromMicroseconds(record.modified_us)

    def check(self, search: Search, naive: Naive) -> str:
        """What is wrong with the answer, or ""."""
        by_input = self.random.random() < 0.5
        per_page = self.random.choice((1, 3, 10, 64))
        unlabelled = naive.unlabelled(search)
        if unlabelled:
            with pytest.raises(Failure, match=r"nothing is labelled|has no concept with the id"):
                self._ask(search, 1, per_page, by_input=by_input)
            return ""
        expected = naive.search(search, by_input=by_input)
        found: list[tuple[int, float]] = []
        rows = {(known.of.id, known.message.id): known.row for known in naive.all}
        whole = False
        for page in range(1, 5):
            answer = self._ask(search, page, per_page, by_input=by_input)
            found += [(rows[hit.input.id, hit.annotation.id], hit.score) for hit in answer.hits]
            whole = len(answer.hits) < per_page
            if whole:
                break
        wrong = problem(found, expected, naive.scored, whole=whole)
        if not wrong and by_input:
            request = PostInputsSearchesRequest(searches=[search], only_count=True)
            answer = MultiSearchResponse.FromString(self.world.searches.inputs(self._call(), request))
            total = answer.hit_counts[0].estimated_total
            near = sum(abs(hit.score - search.min_value) < 2e-5 for hit in expected)
            if abs(total - len(expected)) > near:
                wrong = f"{total} are counted, expected {len(expected)}"
        return f"{wrong}\nby_input={by_input} per_page={per_page}\n{search}" if wrong else ""

    def _call(self) -> Call:
        return self.world.call()

    def _ask(self, search: Search, page: int, per_page: int, *, by_input: bool) -> MultiSearchResponse:
        kind: Any = PostInputsSearchesRequest if by_input else PostAnnotationsSearchesRequest
        request = kind(searches=[search])
        request.pagination.page, request.pagination.per_page = page, per_page
        call = self.world.searches.inputs if by_input else self.world.searches.annotations
        return MultiSearchResponse.FromString(call(self._call(), request))


class Later:
    """Stands in for an index that needs the store first."""

    def follow(self, index: IndexManager) -> None:
        self.index = index

    def apply(self, change: Any) -> None:
        """The index has subscribed by itself."""

    def space(self, space: int) -> Any:
        return self.index.space(space)

    def lost(self, app: int | None = None) -> int:
        return self.index.lost(app)

    @property
    def applied(self) -> int:
        return self.index.applied


FILTERS = tuple(name.removeprefix("_by_") for name in vars(RandomApp) if name.startswith("_by_"))


def run(
    queries: int, seed: int, plans: Counter[str] | None = None, *, tell: bool = False, graphs: bool | None = None
) -> str:
    """Compares so many searches; what is wrong with the first that is, or "". Counts the plans of walks.

    `graphs`: whether graphs are built and asked; by default for some apps.
    """
    done, began = 0, time.monotonic()
    while done < queries:
        with tempfile.TemporaryDirectory(prefix="postil-exactness-") as folder:
            pick = random.Random(seed + done)
            size, some = pick.choice((12, 40, 90)), pick.randrange(GRAPH_OF) == 0
            app = RandomApp(Path(folder), seed + done, size, graphs=some if graphs is None else graphs)
            try:
                naive = Naive(app.world.store.read(), app.world.app.row)
                for number in range(min(QUERIES_PER_APP, queries - done)):
                    if number and number % (QUERIES_PER_APP // CHANGES) == 0:
                        app.change()
                        naive = Naive(app.world.store.read(), app.world.app.row)
                    wrong = app.check(app.query(), naive)
                    if wrong:
                        return f"search {number} of seed {seed + done}: {wrong}"
            finally:
                if plans is not None:
                    plans.update(plan.value for plan in app.world.plans)
                app.close()
        done += QUERIES_PER_APP
        if tell:
            sys.stdout.write(f"\r{min(done, queries):,} of {queries:,} searches agree")
            sys.stdout.flush()
    if tell:
        sys.stdout.write(f", in {time.monotonic() - began:.0f} s; walks: {dict(plans or {})}\n")
    return ""


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    taken: Counter[str] = Counter()
    found = run(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1, taken, tell=True)
    missing = [plan.value for plan in (Plan.GRAPH, Plan.SCAN, Plan.GATHER) if not taken[plan.value]]
    sys.exit(found or (f"never taken: {missing}" if missing else 0))
