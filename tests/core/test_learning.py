"""Learning is a function of rows: what is taken back leaves no trace, and the rest ranks as if it had been alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from postil.core.feedback import Feedbacks
from postil.core.hit_reader import Scored
from postil.core.learning import Learned, Learning
from postil.core.learning_math import Examples, learn, moved, unit
from postil.core.outputs import OutputLog
from postil.core.search_log import SearchLog
from postil.core.targets import Point
from postil.errors import Failure
from postil.index.base import Metric
from postil.store.records import SpaceRecord
from postil.v1.common_pb2 import Learning as Mode
from postil.v1.feedback_service_pb2 import DeleteFeedbackRequest, ListFeedbackRequest, PostSearchFeedbackRequest
from postil.v1.input_pb2 import EventType, FeedbackInfo, Input
from postil.v1.status_code_pb2 import StatusCode
from postil.v1.status_pb2 import BaseResponse
from support.doors import dispatcher
from support.search_world import World, near, ranked, showing

DIM = 6
ITEMS = 40
QUERIES = 4
VECTORS = np.random.default_rng(3).standard_normal((ITEMS, DIM)).astype(np.float32)

Ranking = list[tuple[str, float]]


class ClickWorld(World):
    """A world whose searches are logged and can be clicked on."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.log = SearchLog(self.store, days=1)
        self.learning = Learning(self.store)
        self.searches._log, self.searches._learning = self.log, self.learning
        self.feedbacks = self.restarted()
        for number, vector in enumerate(VECTORS):
            self.add(f"i{number}", vector, {"round": 1.0} if number % 10 == 0 else None)

    def restarted(self) -> Feedbacks:
        """Forgets all that is in memory."""
        self.learning = self.searches._learning = Learning(self.store)
        models: Any = None  # no feedback on predictions here
        self.feedbacks = Feedbacks(
            self.store, self.log, OutputLog(self.store), self.searches.trail, self.learning, models
        )
        return self.feedbacks

    def ranking(self, query: int, **search: Any) -> Ranking:
        return [(hit.input.id, hit.score) for hit in self.ask(query, **search).hits]

    def ask(self, query: int, **search: Any) -> Any:
        return self.inputs(ranked(near(VECTORS[query]), **search), per_page=ITEMS)

    def click(self, query: int, position: int, user: str = "") -> None:
        found = self.ask(query)
        self.click_on(found.id, found.hits[position].input.id, user)

    def click_on(self, search_id: str, input_id: str, user: str = "") -> None:
        info = FeedbackInfo(event_type=EventType.search_click, search_id=search_id, end_user_id=user)
        self.feedbacks.click(self.call(), PostSearchFeedbackRequest(input=Input(id=input_id, feedback_info=info)))

    def events(self) -> list[str]:
        return [event.id for event in self.feedbacks.list(self.call(), ListFeedbackRequest()).feedback]

    def take_back(self, **which: Any) -> None:
        self.feedbacks.delete(self.call(), DeleteFeedbackRequest(**which))

    def all_rankings(self) -> list[Ranking]:
        return [self.ranking(query) for query in range(QUERIES)]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[ClickWorld]:
    made = ClickWorld(tmp_path)
    yield made
    made.store.close()


Clicks = list[tuple[int, int, str]]
clicks = st.lists(st.tuples(st.integers(0, QUERIES - 1), st.integers(0, 12), st.sampled_from(["", "ann"])), max_size=6)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=clicks, extra=clicks)
def test_taking_back_restores_every_bit(world: ClickWorld, before: Clicks, extra: Clicks) -> None:
    world.take_back(ids=world.events() or ["none"])
    for query, position, user in before:
        world.click(query, position, user)
    kept, earlier = world.events(), world.all_rankings()
    for query, position, user in extra:
        world.click(query, position, user)
    later = [event for event in world.events() if event not in kept]
    world.take_back(ids=later or ["none"])
    assert world.all_rankings() == earlier
    world.restarted()
    assert world.all_rankings() == earlier


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=clicks, second=clicks)
def test_a_person_taken_out_was_never_there(world: ClickWorld, first: Clicks, second: Clicks) -> None:
    """The same clicks on the same searches, with and without somebody else's among them."""
    world.take_back(ids=world.events() or ["none"])
    plain = [world.ask(query) for query in range(QUERIES)]

    def repeat(done: Clicks, user: str) -> None:
        for query, position, _ in done:
            world.click_on(plain[query].id, plain[query].hits[position].input.id, user)

    repeat(first, "ann")
    alone = world.all_rankings()
    world.take_back(end_user_id="ann")
    repeat(second, "bob")
    repeat(first, "ann")
    world.take_back(end_user_id="bob")
    assert world.all_rankings() == alone


def test_the_next_search_differs_and_others_do_not(world: ClickWorld) -> None:
    before = world.all_rankings()
    world.click(0, 7)
    after = world.all_rankings()
    assert after[0] != before[0]
    assert after[1:] == before[1:]
    assert world.ranking(0, learning=Mode.LEARNING_OFF) == before[0]
    assert all(0.0 <= score <= 1.0 for _, score in after[0])


def test_a_vector_that_goes_is_unlearned(world: ClickWorld) -> None:
    plain = world.ask(0)
    world.click_on(plain.id, plain.hits[7].input.id)
    world.click_on(plain.id, plain.hits[9].input.id)
    world.ranking(0)
    gone = plain.hits[7].input.id

    def op(tx: Any) -> None:
        tx.delete_inputs(world.app.row, [tx.input(world.app.row, gone).row])

    world.store.write(op)
    now = world.ranking(0)
    world.restarted()
    assert world.ranking(0) == now
    assert gone not in dict(now)


def test_a_rank_turned_round_learns_too(world: ClickWorld) -> None:
    def turned() -> Any:
        return world.inputs(ranked(near(VECTORS[0], negate=True), metric=2), per_page=ITEMS)

    plain = turned()
    chosen = plain.hits[8].input.id
    world.click_on(plain.id, chosen)
    learned = turned()
    assert [hit.input.id for hit in learned.hits].index(chosen) < 8
    assert all(0.0 <= hit.score <= 1.0 for hit in learned.hits)
    assert world.ranking(0) == [(hit.input.id, hit.score) for hit in world.ask(0, learning=Mode.LEARNING_OFF).hits]


def test_a_concept_rank_learns_by_its_name(world: ClickWorld) -> None:
    def asked() -> Any:
        return world.inputs(ranked(showing("round")), per_page=ITEMS)

    plain = asked()
    chosen = plain.hits[15].input.id
    world.click_on(plain.id, chosen)
    learned = asked()
    assert [hit.input.id for hit in learned.hits].index(chosen) < 15
    assert [hit.score for hit in learned.hits[:4]] == [1.0] * 4


def test_an_unknown_mode_is_refused(world: ClickWorld) -> None:
    with pytest.raises(Failure, match="learning 9 is unknown"):
        world.ask(0, learning=9)


def test_a_click_on_an_app_that_is_deleted_meanwhile_is_told_so(world: ClickWorld) -> None:
    found = world.ask(0)
    info = FeedbackInfo(event_type=EventType.search_click, search_id=found.id)
    request = PostSearchFeedbackRequest(input=Input(id=found.hits[3].input.id, feedback_info=info))
    call = world.call()

    def clicked(_: Any, asked: PostSearchFeedbackRequest) -> BaseResponse:
        world.store.write(lambda tx: tx.delete_app(world.app.row))
        return world.feedbacks.click(call, asked)

    door = dispatcher({"PostSearchFeedback": clicked})
    answer = BaseResponse.FromString(door.call("PostSearchFeedback", request.SerializeToString()))
    assert answer.status.code == StatusCode.CONN_DOES_NOT_EXIST


def test_a_fit_repeats_to_the_bit() -> None:
    random = np.random.default_rng(0)

    def rows(count: int) -> Any:
        return unit(random.standard_normal((count, 1280)).astype(np.float32))

    examples = Examples(rows(1)[0], rows(64), np.ones(64), rows(64), np.ones(64), rows(100))
    lesson = learn(examples)
    assert learn(examples).head.tobytes() == lesson.head.tobytes()
    query = rows(1)[0] * 3
    assert np.linalg.norm(moved(query, lesson)) == pytest.approx(3.0, rel=1e-4)
    assert np.mean(examples.chosen @ moved(query, lesson)) > np.mean(examples.chosen @ query)


def test_hits_whose_vectors_are_gone_meanwhile_stay_as_they_were(world: ClickWorld) -> None:
    queries = world.store.read()
    space = SpaceRecord(1, 1, "", "plane", "client", DIM, unit=True)
    hits = [Scored(0.5, cast("Any", SimpleNamespace(anchor=10**6)))]
    learned = Learned(
        world.learning, app=1, end_user="", key="key", metric=Metric.EUCLIDEAN, queries=queries, flip=False
    )
    learned.before, learned.after = Point(space, VECTORS[0]), Point(space, VECTORS[1])
    assert learned.noted(hits) == hits
