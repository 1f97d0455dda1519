"""What every store must do with feedback."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from postil.store.base import (
    Evidence,
    FeedbackListing,
    FeedbackMark,
    FeedbackRecord,
    KeptSearch,
    Missing,
    NewFeedback,
    Store,
)
from support.stores import Filler

CLICK, ANNOTATION = 1, 2


def new(
    feedback_id: str, *, event: int = CLICK, subject: str = "s", end_user: str = "", learn: bool = False
) -> NewFeedback:
    query = np.array([0.6, -0.8, 2.0**-20], dtype=np.float32)
    evidence = Evidence(subject, 3, "concept:cat", query, 2**32 - 1, (9, 4)) if learn else None
    message = b"\x00" + feedback_id.encode()
    return NewFeedback(
        feedback_id, event, subject, "m", "v", "i", end_user, "session", learn, 2, (5, 7), message, evidence
    )


def add(store: Store, app: int, feedback: NewFeedback) -> FeedbackRecord:
    return store.write(lambda tx: tx.add_feedback(app, feedback))


def ids(store: Store, app: int, listing: FeedbackListing, offset: int = 0, limit: int = 10) -> list[str]:
    return [record.id for record in store.read().list_feedback(app, listing, offset, limit)]


def test_feedback_comes_back_as_it_was(open_store: Callable[[], Store]) -> None:
    store = open_store()
    app = Filler(store).app()
    given = add(store, app, new("a", learn=True, end_user="ann"))
    store = open_store()
    assert store.read().list_feedback(app, FeedbackListing(), 0, 10) == [given]
    assert (given.annotations, given.message, given.matched, given.position) == ((5, 7), b"\x00a", True, 2)
    (learned,) = store.read().evidence(app, "", 0, 10)
    assert (learned.row, learned.end_user, learned.position, learned.time_us) == (given.row, "ann", 2, given.time_us)
    assert learned.evidence.query.tobytes() == np.array([0.6, -0.8, 2.0**-20], dtype=np.float32).tobytes()
    assert (learned.evidence.search, learned.evidence.space, learned.evidence.key) == ("s", 3, "concept:cat")
    assert (learned.evidence.chosen, learned.evidence.passed) == (2**32 - 1, (9, 4))


def test_listing_holds_to_every_condition(store: Store, fill: Filler) -> None:
    app, other = fill.app(), fill.app("other")
    first = add(store, app, new("a", end_user="ann", learn=True))
    second = add(store, app, new("b", event=ANNOTATION, subject="o"))
    add(store, app, new("c", end_user="bob"))
    add(store, other, new("a"))
    assert ids(store, app, FeedbackListing()) == ["a", "b", "c"]
    assert ids(store, app, FeedbackListing(), 1, 1) == ["b"]
    assert ids(store, app, FeedbackListing(event=ANNOTATION)) == ["b"]
    assert ids(store, app, FeedbackListing(subject="s", end_user="bob")) == ["c"]
    assert ids(store, app, FeedbackListing(matched=True)) == ["a"]
    assert ids(store, app, FeedbackListing(matched=False)) == ["b", "c"]
    assert ids(store, app, FeedbackListing(start_us=second.time_us)) == ["b", "c"]
    assert ids(store, app, FeedbackListing(end_us=first.time_us)) == ["a"]
    assert ids(store, app, FeedbackListing(model_id="other")) == []
    assert ids(store, app, FeedbackListing(session="session", input_id="i")) == ["a", "b", "c"]
    assert [record.id for record in store.read().feedback(app, ["c", "x", "a"])] == ["a", "c"]
    with pytest.raises(Missing):
        add(store, 999, new("a"))


def test_evidence_is_read_in_order_by_person(store: Store, fill: Filler) -> None:
    app, other = fill.app(), fill.app("other")
    rows = [add(store, app, new(name, end_user=name[0], learn=True)).row for name in ("a1", "b1", "a2")]
    add(store, app, new("c", end_user="a"))
    add(store, other, new("d", end_user="a", learn=True))
    queries = store.read()
    assert [record.row for record in queries.evidence(app, "", 0, 10)] == rows
    assert [record.row for record in queries.evidence(app, "", rows[0], 1)] == [rows[1]]
    assert [record.row for record in queries.evidence(app, "a", 0, 10)] == [rows[0], rows[2]]


def test_the_mark_tells_of_every_change(store: Store, fill: Filler) -> None:
    app = fill.app()
    assert store.read().feedback_mark(app) == FeedbackMark(0, 0)
    first = add(store, app, new("a")).row
    last = add(store, app, new("b")).row
    assert store.read().feedback_mark(app) == FeedbackMark(last, 0)
    store.write(lambda tx: tx.delete_feedback(app, ["x"]))
    assert store.read().feedback_mark(app) == FeedbackMark(last, 0)
    store.write(lambda tx: tx.delete_feedback(app, ["b", "a"]))
    assert store.read().feedback_mark(app) == FeedbackMark(last, 1)
    assert add(store, app, new("b")).row > last > first


def test_counts_of_clicks_and_searches(store: Store, fill: Filler) -> None:
    app = fill.app()
    kept = [KeptSearch(app, f"s{n}", n, 0, "PostSearches", b"", 1, 1, "ann" if n else "", ()) for n in range(4)]
    store.write(lambda tx: tx.keep_searches(kept))
    assert store.read().searches_by_end_user(app, 0, 2) == {"": 1, "ann": 2}
    click = add(store, app, new("a", end_user="ann"))
    add(store, app, new("b", event=ANNOTATION))
    assert store.read().clicks(app, 0, click.time_us) == [("s", "ann", 2)]
    assert store.read().clicks(app, click.time_us + 1, click.time_us + 9) == []


def test_an_app_goes_with_its_feedback(store: Store, fill: Filler) -> None:
    app, other = fill.app(), fill.app("other")
    add(store, app, new("a", learn=True))
    kept = add(store, other, new("a", learn=True))
    store.write(lambda tx: tx.delete_app(app))
    assert ids(store, app, FeedbackListing()) == []
    assert store.read().feedback_mark(app) == FeedbackMark(0, 0)
    assert store.read().evidence(app, "", 0, 10) == []
    assert store.read().list_feedback(other, FeedbackListing(), 0, 10) == [kept]
