"""The writer: how ops share a commit, how the feed is kept short, how readers come and go."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from postil.store import writer
from postil.store.base import StoreClosed, TooOld, Transaction
from postil.store.sqlite import SqliteStore
from support.stores import Filler, add_inputs


def _commits(store: SqliteStore) -> list[str]:
    """Statements of the writer from now on."""
    statements: list[str] = []
    store.write(lambda tx: tx._connection.set_trace_callback(statements.append))  # type: ignore[attr-defined]
    return statements


def test_ops_that_wait_share_one_commit(store: SqliteStore, fill: Filler, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "GROUP_S", 5.0)
    app = fill.app()
    statements = _commits(store)
    busy, waiting = threading.Event(), threading.Event()

    def first(tx: Transaction) -> None:
        busy.set()
        waiting.wait(5)

    def failing(tx: Transaction) -> None:
        add_inputs(tx, app, ["lost"])
        raise LookupError

    answers: list[str] = []

    def write(op: Callable[[Transaction], object]) -> None:
        try:
            store.write(op)
        except LookupError:
            answers.append("failed")
        else:
            answers.append("done")

    ops: list[Callable[[Transaction], object]] = [first]
    ops += [lambda tx, name=name: add_inputs(tx, app, [name]) for name in "abcd"]  # type: ignore[misc]
    ops.append(failing)
    threads = [threading.Thread(target=write, args=(op,)) for op in ops]
    threads[0].start()
    assert busy.wait(5)
    for thread in threads[1:]:
        thread.start()
    while store._writer._queue.qsize() < len(ops) - 1:
        time.sleep(0.001)
    waiting.set()
    for thread in threads:
        thread.join()
    assert statements.count("COMMIT") == 2  # the one that began the tracing, and this one
    assert sorted(answers) == ["done"] * 5 + ["failed"]
    assert {record.id for record in store.read().list_inputs(app, [], [], 0, 9)} == set("abcd")
    assert [change.seq for change in store.changes(0)] == [1, 2, 3, 4]


def test_a_group_takes_no_more_ops_once_its_time_is_up(store: SqliteStore, fill: Filler) -> None:
    statements = _commits(store)
    threads = [threading.Thread(target=store.write, args=(lambda _: time.sleep(writer.GROUP_S * 2),)) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statements.count("COMMIT") == 1 + 5


def test_ops_submitted_before_closing_are_done(data_dir: Path) -> None:
    store = SqliteStore(data_dir)
    app = Filler(store).app()
    started = threading.Event()

    def slow(tx: Transaction) -> None:
        started.set()
        time.sleep(0.05)
        add_inputs(tx, app, ["slow"])

    threads = [threading.Thread(target=store.write, args=(slow,))]
    threads[0].start()
    assert started.wait(5)
    threads.append(threading.Thread(target=Filler(store).input, args=(app, "queued")))
    store._writer._queue.put(writer._Op(lambda tx: add_inputs(tx, app, ["queued"])))
    store.close()
    threads[0].join()
    with SqliteStore(data_dir) as again:
        assert set(again.read().inputs(app, ["slow", "queued"])) == {"slow", "queued"}


def test_the_feed_is_kept_at_its_length(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "TRIM_EVERY", 10)
    with SqliteStore(data_dir, keep_changes=20) as store:
        fill = Filler(store)
        app = fill.app()
        for number in range(100):
            fill.input(app, str(number))
        kept = [change.seq for change in store.changes(80)]
        assert kept == list(range(81, 101))
        with pytest.raises(TooOld):
            next(store.changes(50))


def test_a_long_feed_is_trimmed_step_by_step(store: SqliteStore, fill: Filler, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("postil.store.sqlite._TRIM_STEP", 3)
    app = fill.app()
    for number in range(20):
        fill.input(app, str(number))
    store.trim_changes(17)
    assert [change.seq for change in store.changes(17)] == [18, 19, 20]
    with pytest.raises(TooOld):
        next(store.changes(16))


def test_a_transaction_is_no_use_outside_its_op(store: SqliteStore) -> None:
    kept = store.write(lambda tx: tx)
    with pytest.raises(Exception, match="thread"):
        kept.put_app("me", "late", b"")


def test_readers_are_one_per_thread_and_go_with_it(store: SqliteStore) -> None:
    store.read()
    assert store.read() is store.read()
    before = len(store._readers)

    def read() -> None:
        store.read().setting("x")

    for _ in range(20):
        thread = threading.Thread(target=read)
        thread.start()
        thread.join()
    assert len(store._readers) <= before + 1


def test_a_reader_cannot_write(store: SqliteStore) -> None:
    connection = store._readers.get()._connection
    with pytest.raises(Exception, match="readonly"):
        connection.execute("DELETE FROM apps")


def test_closing_lets_a_reader_finish_its_query(data_dir: Path) -> None:
    store = SqliteStore(data_dir)
    app = Filler(store).app()
    Filler(store).inputs(app, *(str(number) for number in range(500)))
    problems: list[BaseException] = []

    def read() -> None:
        try:
            while True:
                assert len(store.read().list_inputs(app, [], [], 0, 1000)) == 500
        except StoreClosed:
            pass
        except BaseException as error:  # noqa: BLE001 - whatever it is, the test must see it
            problems.append(error)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(0.1)
    store.close()
    for thread in threads:
        thread.join()
    assert problems == []
