"""What every store must do: apps, inputs, jobs, blobs, and ops as wholes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import NoReturn

import pytest

from postil.store.base import Duplicate, Missing, Store, StoreClosed, Transaction
from support.stores import FAILED, IN_PROGRESS, PENDING, SUCCESS, Filler, add_inputs, app_named


def test_apps_are_found_by_user_and_id_and_listed_in_order_of_creation(store: Store, fill: Filler) -> None:
    rows = [fill.app(name) for name in ("zebra", "ant", "cow")]
    fill.app("ant", user_id="other")
    assert [app.id for app in store.read().apps("me", 0, 10)] == ["zebra", "ant", "cow"]
    assert [app.id for app in store.read().apps("me", 1, 1)] == ["ant"]
    found = store.read().app("me", "ant")
    assert found is not None
    assert (found.row, found.message) == (rows[1], b"ant")
    assert store.read().app("me", "dog") is None
    assert store.read().apps("nobody", 0, 10) == []


def test_an_app_id_is_unique_for_its_user(store: Store, fill: Filler) -> None:
    fill.app("one")
    with pytest.raises(Duplicate) as caught:
        fill.app("one")
    assert caught.value.args[0] == "one"
    assert len(store.read().apps("me", 0, 10)) == 1


def test_an_app_is_updated(store: Store, fill: Filler) -> None:
    row = fill.app()
    store.write(lambda tx: tx.update_app(row, b"new"))
    assert app_named(store).message == b"new"
    with pytest.raises(Missing):
        store.write(lambda tx: tx.update_app(row + 1, b"new"))


def test_an_input_comes_back_as_it_was_put(store: Store, fill: Filler) -> None:
    app = fill.app()
    record = fill.input(app, "é/ü", status=PENDING, message=b"\x00\xff")
    assert (record.id, record.status, record.message) == ("é/ü", PENDING, b"\x00\xff")
    assert record.created_us == record.modified_us > 0
    assert store.read().input(app, "é/ü") == record
    assert store.read().inputs_by_row([record.row, 999]) == {record.row: record}
    level = store.read().annotations_by_row([record.anchor])[record.anchor]
    assert (level.input, level.input_level, level.anchor) == (record.row, True, record.anchor)


def test_absent_inputs_are_absent(store: Store, fill: Filler) -> None:
    app = fill.app()
    assert store.read().input(app, "x") is None
    assert store.read().inputs(app, []) == {}
    assert store.read().inputs(app, ["x", "y"]) == {}
    assert store.read().inputs_by_row([]) == {}
    assert store.read().inputs_by_url(app, []) == {}


def test_many_ids_at_once(store: Store, fill: Filler) -> None:
    app = fill.app()
    ids = [f"input-{number}" for number in range(3000)]
    fill.inputs(app, *ids)
    assert len(store.read().inputs(app, [*ids, "absent"])) == 3000


def test_an_input_id_is_unique_in_its_app(store: Store, fill: Filler) -> None:
    app, other = fill.app(), fill.app("other")
    fill.input(app, "a")
    for ids in (["b", "a"], ["b", "c", "b"]):
        with pytest.raises(Duplicate) as caught:
            fill.inputs(app, *ids)
        assert caught.value.args[0] == ids[-1]
    assert store.read().input(app, "b") is None  # nothing of the failed op is kept
    fill.input(other, "a")


def test_a_duplicate_caught_within_an_op_leaves_the_rest_of_it(store: Store, fill: Filler) -> None:
    app = fill.app()
    fill.input(app, "a")

    def op(tx: Transaction) -> None:
        with pytest.raises(Duplicate):
            add_inputs(tx, app, ["b", "a"])
        add_inputs(tx, app, ["c"])

    store.write(op)
    assert set(store.read().inputs(app, ["a", "b", "c"])) == {"a", "c"}


def test_rows_that_were_not_reserved_in_the_op_are_refused(store: Store, fill: Filler) -> None:
    app = fill.app()
    kept = store.write(lambda tx: (tx.reserve_inputs(1), tx.reserve_annotations(1)))

    def op(tx: Transaction) -> None:
        add_inputs(_Reserving(tx, *kept), app, ["a"])  # type: ignore[arg-type]

    with pytest.raises(ValueError, match="not reserved"):
        store.write(op)


class _Reserving:
    """A transaction that gives out rows of an earlier op."""

    def __init__(self, tx: Transaction, inputs: range, annotations: range) -> None:
        self._tx, self._inputs, self._annotations = tx, inputs, annotations

    def reserve_inputs(self, n: int) -> range:
        return self._inputs[:n]

    def reserve_annotations(self, n: int) -> range:
        return self._annotations[:n]

    def __getattr__(self, name: str) -> object:
        return getattr(self._tx, name)


def test_rows_are_never_given_out_twice(open_store: Callable[[], Store]) -> None:
    store = open_store()
    fill = Filler(store)
    app = fill.app()
    first = fill.input(app, "a")
    space, concept = fill.space(app), fill.concept(app, "cat").row
    store.write(lambda tx: tx.delete_app(app))
    fill = Filler(open_store())
    again = fill.app()
    second = fill.input(again, "a")
    assert again > app
    assert second.row > first.row
    assert second.anchor > first.anchor
    assert fill.space(again) > space
    assert fill.concept(again, "cat").row > concept


def test_urls_lead_to_the_first_input_posted_with_them(store: Store, fill: Filler) -> None:
    app, other = fill.app(), fill.app("other")
    fill.input(app, "z", url="http://x/1")
    fill.input(app, "a", url="http://x/1")
    fill.input(app, "bytes")
    fill.input(other, "foreign", url="http://x/2")
    assert store.read().inputs_by_url(app, ["http://x/1", "http://x/2", "", "http://x/1"]) == {"http://x/1": "z"}
    first, second = (store.read().input(app, name) for name in ("z", "a"))
    assert first is not None
    assert second is not None
    assert store.read().anchors_by_url(app, "http://x/1") == [first.anchor, second.anchor]
    assert store.read().anchors_by_url(app, "http://x/2") == []
    assert store.read().anchors_by_url(app, "") == []


def test_inputs_are_listed_newest_first_and_by_id_within_an_op(store: Store, fill: Filler) -> None:
    app = fill.app()
    fill.inputs(app, "b", "a")
    fill.inputs(app, "d", "c", status=FAILED)

    def listed(ids: list[str], statuses: list[int], offset: int = 0, limit: int = 10) -> list[str]:
        return [record.id for record in store.read().list_inputs(app, ids, statuses, offset, limit)]

    assert listed([], []) == ["c", "d", "a", "b"]
    assert listed([], [], offset=1, limit=2) == ["d", "a"]
    assert listed(["a", "d", "x"], []) == ["d", "a"]
    assert listed([], [FAILED]) == ["c", "d"]
    assert listed([], [FAILED, PENDING]) == ["c", "d"]
    assert listed(["a", "c"], [FAILED]) == ["c"]
    assert listed([], [], offset=9) == []


@pytest.mark.parametrize("by_id", [False, True])
@pytest.mark.parametrize("descending", [False, True])
def test_a_stream_pages_through_every_input_once(store: Store, fill: Filler, by_id: bool, descending: bool) -> None:
    app = fill.app()
    for batch in (["m", "k", "z"], ["a"], ["q", "b"]):
        fill.inputs(app, *batch)
    expected = ["a", "b", "k", "m", "q", "z"] if by_id else ["k", "m", "z", "a", "b", "q"]
    seen: list[str] = []
    while page := store.read().stream_inputs(
        app, seen[-1] if seen else "", by_id=by_id, descending=descending, limit=2
    ):
        seen += [record.id for record in page]
    assert seen == (expected[::-1] if descending else expected)


@pytest.mark.parametrize("by_id", [False, True])
def test_a_stream_after_an_unknown_id_is_empty(store: Store, fill: Filler, by_id: bool) -> None:
    app = fill.app()
    fill.input(app, "b")
    assert store.read().stream_inputs(app, "a", by_id=by_id, descending=False, limit=5) == []


def test_inputs_are_counted_by_status_and_pending_ones_found_oldest_first(store: Store, fill: Filler) -> None:
    app, other = fill.app(), fill.app("other")
    fill.inputs(app, "a", "b")
    fill.input(app, "c", status=PENDING)
    fill.input(other, "d", status=IN_PROGRESS)
    fill.input(app, "e", status=FAILED)
    assert store.read().count_inputs(app) == {SUCCESS: 2, PENDING: 1, FAILED: 1}
    queries = store.read()
    c, d = (record.row for record in (*queries.inputs(app, ["c"]).values(), *queries.inputs(other, ["d"]).values()))
    assert queries.pending_inputs(0, 10, 10) == {app: [c], other: [d]}
    assert queries.pending_inputs(0, 1, 10) == {app: [c]}
    assert list(queries.pending_inputs(app, 2, 10)) == [other, app]  # the turn goes round
    first = fill.input(app, "b2", status=IN_PROGRESS)
    assert queries.pending_inputs(other, 1, 1) == {app: [c]}
    assert queries.pending_inputs(other, 1, 2) == {app: [c, first.row]}


def test_updating_an_input(store: Store, fill: Filler) -> None:
    app = fill.app()
    record = fill.input(app, "a", status=PENDING)
    store.write(lambda tx: tx.update_input(record.row, b"done", status=SUCCESS, blobs=["d" * 64]))
    updated = store.read().input(app, "a")
    assert updated is not None
    assert (updated.message, updated.status, updated.created_us) == (b"done", SUCCESS, record.created_us)
    assert updated.modified_us > record.modified_us
    assert store.read().blob_used("d" * 64)
    store.write(lambda tx: tx.update_input(record.row, b"again"))
    assert store.read().inputs_by_row([record.row])[record.row].status == SUCCESS
    with pytest.raises(Missing):
        store.write(lambda tx: tx.update_input(record.row + 1, b"x", blobs=["e" * 64]))
    assert not store.read().blob_used("e" * 64)


def test_a_job_follows_its_inputs(store: Store, fill: Filler) -> None:
    app = fill.app()
    store.write(lambda tx: tx.put_job(app, "job"))
    store.write(lambda tx: tx.put_job(app, "job"))
    store.write(lambda tx: tx.put_job(app, "later"))
    a, b, c = fill.inputs(app, "a", "b", "c", status=PENDING, job="job")
    store.write(lambda tx: tx.count_job(app, "job", pending=3))
    assert [record.id for record in store.read().pending_of_job(app, "job")] == ["a", "b", "c"]

    def counts() -> tuple[int, int, int, int]:
        job = store.read().job(app, "job")
        assert job is not None
        return job.pending, job.in_progress, job.success, job.failed

    store.write(lambda tx: tx.update_input(a.row, b"", status=IN_PROGRESS))
    assert counts() == (2, 1, 0, 0)
    store.write(lambda tx: tx.update_input(a.row, b"", status=SUCCESS))
    store.write(lambda tx: tx.update_input(b.row, b"", status=FAILED))
    assert counts() == (1, 0, 1, 1)
    store.write(lambda tx: tx.delete_inputs(app, [a.row, c.row]))
    assert counts() == (0, 0, 1, 1)  # what is done stays counted, what nobody will finish does not
    store.write(lambda tx: tx.cancel_job(app, "job"))
    cancelled = store.read().job(app, "job")
    assert cancelled is not None
    assert cancelled.cancelled is True
    assert [job.id for job in store.read().jobs(app, 0, 10)] == ["job", "later"]
    assert store.read().job(app, "nope") is None


def test_blobs_are_used_while_an_input_keeps_them(store: Store, fill: Filler) -> None:
    app, other = fill.app(), fill.app("other")
    digest = store.blobs.put(b"picture")
    assert store.blobs.get(digest) == b"picture"
    a = fill.input(app, "a", blobs=(digest,))
    b = fill.input(app, "b")
    store.write(lambda tx: tx.add_blobs(b.row, [digest, "e" * 64]))
    assert store.read().blob_used(digest, app)
    assert not store.read().blob_used(digest, other)
    assert [record.id for record in store.read().hosted_inputs(0, 10)] == ["a", "b"]
    assert [record.id for record in store.read().hosted_inputs(a.row, 1)] == ["b"]
    store.write(lambda tx: tx.delete_inputs(app, [a.row]))
    assert store.read().blob_used(digest)
    store.write(lambda tx: tx.delete_inputs(app, [b.row]))
    assert not store.read().blob_used(digest)
    assert store.blobs.sweep(store.read().blob_used, older_than_s=-1) == 1
    assert store.blobs.get(digest) is None


def test_settings_are_kept(open_store: Callable[[], Store]) -> None:
    store = open_store()
    assert store.read().setting("base") is None
    store.write(lambda tx: tx.put_setting("base", "http://a"))
    store.write(lambda tx: tx.put_setting("base", "http://b"))
    identity = store.identity
    store = open_store()
    assert store.read().setting("base") == "http://b"
    assert store.identity == identity


def test_an_op_returns_its_value_and_raises_its_error(store: Store, fill: Filler) -> None:
    assert store.write(lambda tx: tx.now_us) > 1_600_000_000_000_000

    def op(tx: Transaction) -> NoReturn:
        tx.put_app("me", "half", b"")
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        store.write(op)
    assert store.read().app("me", "half") is None


def test_an_op_sees_what_it_has_written_and_readers_do_not_yet(store: Store, fill: Filler) -> None:
    app = fill.app()

    def op(tx: Transaction) -> tuple[object, object]:
        add_inputs(tx, app, ["a"])
        return tx.input(app, "a"), store.read().input(app, "a")

    within, outside = store.write(op)
    assert within is not None
    assert outside is None
    assert store.read().input(app, "a") is not None


def test_time_moves_forward_with_every_op_even_when_the_clock_is_set_back(
    open_store: Callable[[], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store()
    times = [store.write(lambda tx: tx.now_us) for _ in range(3)]
    monkeypatch.setattr(time, "time_ns", lambda: 1_000_000_000)
    times += [store.write(lambda tx: tx.now_us) for _ in range(3)]
    store = open_store()
    times.append(store.write(lambda tx: tx.now_us))
    assert times == sorted(set(times))


def test_ops_of_many_threads_stand_or_fall_alone(store: Store, fill: Filler) -> None:
    app = fill.app()
    failed: list[str] = []
    wrong: list[str] = []

    def work(number: int) -> None:
        for turn in range(20):
            own = f"{number}-{turn}"
            try:
                fill.inputs(app, own, f"shared-{turn}")
            except Duplicate:
                failed.append(own)
            # Acknowledged is visible at once, refused left nothing.
            if (store.read().input(app, own) is None) != (own in failed):
                wrong.append(own)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(failed) == 7 * 20
    assert store.read().count_inputs(app) == {SUCCESS: 2 * 20}


def test_a_closed_store_refuses(store: Store) -> None:
    store.close()
    with pytest.raises(StoreClosed):
        store.write(lambda tx: tx.now_us)
    with pytest.raises(StoreClosed):
        store.read()
    store.close()


def test_a_write_within_a_write_is_refused_rather_than_waited_for(store: Store) -> None:
    with pytest.raises(RuntimeError, match="wait for itself"):
        store.write(lambda _: store.write(lambda tx: tx.now_us))
