"""What every store must do with named things and with the searches that ran."""

from __future__ import annotations

import pytest

from postil.store.base import Duplicate, KeptHit, KeptSearch, Missing, Store
from support.stores import Filler


def add(store: Store, app: int, thing_id: str, kind: str = "search", detail: str = "") -> int:
    return store.write(lambda tx: tx.add_named(app, kind, thing_id, detail, thing_id.encode())).row


def test_named_things_come_back_by_kind_in_order_of_creation(store: Store, fill: Filler) -> None:
    app = fill.app()
    for name in ("b", "a", "c"):
        add(store, app, name, detail=name * 2)
    add(store, app, "a", kind="graph")
    queries = store.read()
    assert [thing.id for thing in queries.list_named(app, "search", 0, 10)] == ["b", "a", "c"]
    assert [thing.id for thing in queries.list_named(app, "search", 1, 1)] == ["a"]
    found = queries.named(app, "search", "a")
    assert found is not None
    assert (found.kind, found.detail, found.message) == ("search", "aa", b"a")
    assert queries.named(app, "filter", "a") is None
    assert queries.named(app + 1, "search", "a") is None
    assert set(queries.named_many(app, "search", ["a", "c", "x"])) == {"a", "c"}


def test_an_id_is_unique_within_app_and_kind(store: Store, fill: Filler) -> None:
    app, other = fill.app(), fill.app("other")
    add(store, app, "a")
    with pytest.raises(Duplicate):
        add(store, app, "a")
    add(store, other, "a")
    with pytest.raises(Missing):
        add(store, 999, "a")
    assert len(store.read().list_named(app, "search", 0, 10)) == 1


def test_named_things_are_changed_and_deleted(store: Store, fill: Filler) -> None:
    app = fill.app()
    first, last = add(store, app, "a"), add(store, app, "b")
    store.write(lambda tx: tx.update_named(first, b"new"))
    found = store.read().named(app, "search", "a")
    assert found is not None
    assert found.message == b"new"
    assert store.write(lambda tx: tx.delete_named(app, "search", ["b", "x"])) == ["b"]
    assert store.write(lambda tx: tx.delete_named(app, "graph", ["a"])) == []
    with pytest.raises(Missing):
        store.write(lambda tx: tx.update_named(last, b"new"))
    assert add(store, app, "b") > last


def search(app: int, search_id: str, time_us: int = 1) -> KeptSearch:
    hits = (KeptHit(7, 4, 0.75), KeptHit(2**32 - 1, 1, 0.5))
    return KeptSearch(app, search_id, time_us, 9, "PostSearches", b"\x00query", 2, 20, "someone", hits)


def test_searches_come_back_as_they_were_kept(store: Store, fill: Filler) -> None:
    app = fill.app()
    many = [search(app, f"s{number}", number) for number in range(100)]
    store.write(lambda tx: tx.keep_searches(many))
    assert store.read().kept_search(app, "s42") == many[42]
    assert store.read().kept_search(app + 1, "s42") is None
    assert store.read().count_kept_searches(app) == 100


def test_keeping_again_changes_nothing_and_an_app_that_is_gone_keeps_nothing(store: Store, fill: Filler) -> None:
    app, other = fill.app(), fill.app("other")
    store.write(lambda tx: tx.keep_searches([search(app, "s", 1), search(other, "s", 1)]))
    store.write(lambda tx: tx.delete_app(other))
    store.write(lambda tx: tx.keep_searches([search(app, "s", 2), search(other, "t", 2), search(app, "t", 3)]))
    queries = store.read()
    assert queries.kept_search(app, "s") == search(app, "s", 1)
    assert queries.kept_search(app, "t") == search(app, "t", 3)
    assert queries.count_kept_searches(other) == 0
    store.write(lambda tx: tx.keep_searches([]))


def test_the_oldest_are_forgotten_a_step_at_a_time(store: Store, fill: Filler) -> None:
    app = fill.app()
    times = [30, 10, 20, 40]
    store.write(lambda tx: tx.keep_searches([search(app, f"s{time}", time) for time in times]))
    assert store.write(lambda tx: tx.forget_searches(35, 2)) == 2
    assert [time for time in times if store.read().kept_search(app, f"s{time}")] == [30, 40]
    assert store.write(lambda tx: tx.forget_searches(35, 2)) == 1
    assert store.write(lambda tx: tx.forget_searches(35, 2)) == 0
    assert store.read().count_kept_searches(app) == 1
