"""The log of searches: kept without waiting, found at once, shown again, bounded and forgotten."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from postil.core import search_log
from postil.core.pages import Page
from postil.core.search import Searches
from postil.core.search_log import SearchLog
from postil.errors import Failure
from postil.store.base import KeptSearch, Transaction
from postil.v1.search_pb2 import Search
from postil.v1.search_service_pb2 import MultiSearchResponse, PostAnnotationsSearchesRequest, PostInputsSearchesRequest
from support.search_world import World, ids, near, ranked, scores
from support.waiting import until

EAST = (1.0, 0.0)
DAY_US = 86_400_000_000


class Logged(World):
    """A world whose searches are kept for 30 days."""

    def __init__(self, folder: Path, days: int = 30) -> None:
        super().__init__(folder)
        self.dropped: list[int] = []
        self.log = SearchLog(self.store, days, self.dropped.append)
        self.searches = Searches(self.store, self.indexes, self.catalogs, self.searches._query_vectors, log=self.log)
        for name, vector in {"west": (-1.0, 0.0), "east": EAST, "north": (0.0, 1.0)}.items():
            self.add(name, vector)

    def stored(self, search_id: str) -> KeptSearch | None:
        return self.store.read().kept_search(self.app.row, search_id)

    def wait(self, search_id: str) -> KeptSearch:
        """What is in the store, as soon as it is there."""
        deadline = time.monotonic() + 10
        while (found := self.stored(search_id)) is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return found


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Logged]:
    made = Logged(tmp_path / "data")
    yield made
    made.log.close()
    made.store.close()


def shown(world: Logged, answer: MultiSearchResponse) -> list[tuple[str, float]]:
    replayed = world.log.replay(world.app, answer.id)
    assert replayed is not None
    rows = world.store.read().annotations_by_row([hit.annotation for _, hit in replayed])
    return [(rows[hit.annotation].id, score) for score, hit in replayed]


def test_what_was_asked_and_shown_is_found_before_and_after_it_is_written(world: Logged) -> None:
    search = ranked(near(EAST), end_user_id="ann")
    answer = world.inputs(search, page=1, per_page=2)
    before = world.log.find(world.app.row, answer.id)
    assert before is not None
    assert world.stored(answer.id) is None
    world.log.start()
    after = world.wait(answer.id)
    assert after == before
    assert (after.endpoint, after.page, after.per_page, after.end_user) == ("PostInputsSearches", 1, 2, "ann")
    assert after.sequence == world.store.committed
    assert abs(after.time_us - time.time_ns() // 1000) < 60_000_000
    assert PostInputsSearchesRequest.FromString(after.request).searches[0] == search
    assert [hit.score for hit in after.hits] == scores(answer)
    inputs = world.store.read().inputs_by_row([hit.input for hit in after.hits])
    assert [inputs[hit.input].id for hit in after.hits] == ids(answer) == ["east", "north"]
    assert world.log.find(world.app.row, answer.id) == after


def test_apps_are_walls(world: Logged) -> None:
    answer = world.annotations(ranked(near(EAST)))
    other = world.new_app("other")
    assert world.log.find(other.row, answer.id) is None
    assert world.log.replay(other, answer.id) is None
    assert world.log.find(world.app.row, "0" * 32) is None


def test_a_replay_shows_the_same_though_the_world_has_moved_on(world: Logged) -> None:
    answer = world.annotations(ranked(near(EAST)))
    expected = [(hit.annotation.id, hit.score) for hit in answer.hits]
    world.add("closer", EAST)
    assert shown(world, answer) == expected
    assert len(world.annotations(ranked(near(EAST))).hits) == 4
    gone = world.store.read().input(world.app.row, "north")
    assert gone is not None
    world.store.write(lambda tx: tx.delete_inputs(world.app.row, [gone.row]))
    assert shown(world, answer) == [expected[0], expected[2]]


def test_a_replay_repeats_what_several_searches_showed_twice(world: Logged) -> None:
    searches = [ranked(near(EAST)), ranked(near(EAST, negate=True))]
    request = PostAnnotationsSearchesRequest(searches=searches)
    answer = MultiSearchResponse.FromString(world.searches.annotations(world.call(), request))
    assert len(answer.hits) == 6
    assert shown(world, answer) == [(hit.annotation.id, hit.score) for hit in answer.hits]


def test_a_search_that_fails_is_not_kept(world: Logged) -> None:
    with pytest.raises(Failure):
        world.annotations(ranked(near(EAST), algorithm="guess"))
    assert world.log.waiting == 0


def test_closing_writes_what_waits(world: Logged) -> None:
    world.log.start()
    answers = [world.annotations(ranked(near(EAST))) for _ in range(3)]
    world.log.close()
    assert all(world.stored(answer.id) for answer in answers)
    assert world.log.waiting == 0
    world.log.close()


def test_many_are_written_in_batches(world: Logged, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_log, "BATCH", 16)
    sizes: list[int] = []
    write = world.log._try

    def counted(op: Callable[[Transaction], int | None], lost: int = 0) -> int:
        sizes.append(lost)
        return write(op, lost)

    monkeypatch.setattr(world.log, "_try", counted)
    answers = [world.annotations(ranked(near(EAST))) for _ in range(100)]
    world.log.start()
    world.wait(answers[-1].id)
    assert [size for size in sizes if size] == [16, 16, 16, 16, 16, 16, 4]
    assert all(world.stored(answer.id) for answer in answers)


def test_more_than_fits_is_dropped_and_counted(world: Logged, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_log, "MAX_WAITING_BYTES", 5_000)
    answers = [world.annotations(ranked(near(EAST))) for _ in range(10)]
    kept = [answer for answer in answers if world.log.find(world.app.row, answer.id)]
    assert kept == answers[: len(kept)]
    assert len(kept) == 10 - len(world.dropped) == world.log.waiting > 0
    world.log.start()
    world.wait(kept[-1].id)
    world.log.close()
    assert world.log._bytes == 0


def test_what_the_store_refuses_is_counted_and_the_log_goes_on(
    world: Logged, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(_: object) -> None:
        raise OSError("no space left")

    lost = world.annotations(ranked(near(EAST)))
    with monkeypatch.context() as patched:
        patched.setattr(world.store, "write", full)
        assert world.log._write() == 0
    assert world.dropped == [1]
    assert "could not be written" in caplog.text
    kept = world.annotations(ranked(near(EAST)))
    world.log.start()
    world.wait(kept.id)
    assert world.stored(lost.id) is None


def test_pictures_are_not_kept_and_large_requests_are_cut(world: Logged, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_log, "MAX_REQUEST", 2_000)
    large = ranked(near(EAST))
    large.query.ranks[0].annotation.data.image.base64 = b"x" * 5_000
    request = PostAnnotationsSearchesRequest(searches=[large])
    world.log.record(world.app.row, "a", 1, request, Page(1, 10), [])
    kept = world.log.find(world.app.row, "a")
    assert kept is not None
    (search,) = PostAnnotationsSearchesRequest.FromString(kept.request).searches
    assert search.query.ranks[0].annotation.data.embeddings[0].vector == list(EAST)
    assert not search.query.ranks[0].annotation.data.image.base64
    assert request.searches[0].query.ranks[0].annotation.data.image.base64
    vectors = PostAnnotationsSearchesRequest(searches=[ranked(near(tuple(np.ones(1000))))])
    world.log.record(world.app.row, "b", 1, vectors, Page(1, 10), [])
    kept = world.log.find(world.app.row, "b")
    assert kept is not None
    assert len(kept.request) < 100


def test_old_searches_are_forgotten(world: Logged) -> None:
    now = time.time_ns() // 1000
    times = {"old": now - 31 * DAY_US, "young": now - 29 * DAY_US}
    kept = [KeptSearch(world.app.row, name, at, 1, "PostSearches", b"", 1, 1, "", ()) for name, at in times.items()]
    world.store.write(lambda tx: tx.keep_searches(kept))
    world.log.start()
    world.wait(world.annotations(ranked(near(EAST))).id)
    until(lambda: world.stored("old") is None)  # what is new is written first
    world.log.close()
    assert world.stored("old") is None
    assert world.stored("young") is not None


def test_none_are_kept_when_the_setting_says_so(tmp_path: Path) -> None:
    world = Logged(tmp_path / "data", days=0)
    old = KeptSearch(world.app.row, "old", 1, 1, "PostSearches", b"", 1, 1, "", ())
    world.store.write(lambda tx: tx.keep_searches([old]))
    answer = world.annotations(ranked(near(EAST)))
    assert world.log.find(world.app.row, answer.id) is None
    world.log._forget()
    assert world.stored("old") is None
    world.log.close()
    world.store.close()


def test_a_person_is_named_briefly(world: Logged) -> None:
    with pytest.raises(Failure, match="end_user_id has 257 characters"):
        world.annotations(Search(end_user_id="x" * 257))
