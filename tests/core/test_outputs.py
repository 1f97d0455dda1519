"""The log of outputs: found at once, written soon, forgotten in time, walled off by app."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from postil.core.outputs import DAYS, PUBLIC, OutputLog
from postil.store.base import OutputRecord, Store
from postil.v1.output_pb2 import Output
from support import nouns


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with nouns.opened(tmp_path / "data") as opened:
        yield opened


def output(output_id: str) -> tuple[str, bytes]:
    return output_id, Output(id=output_id).SerializeToString()


def test_an_output_is_found_before_and_after_it_is_written(store: Store) -> None:
    app = nouns.app(store).row
    log = OutputLog(store)
    log.record(app, [output("a"), output("b")])
    found = log.find(app, "a")
    assert found is not None
    assert found.id == "a"
    assert store.read().outputs(app, ["a"]) == {}
    log.start()
    log.close()
    assert set(store.read().outputs(app, ["a", "b"])) == {"a", "b"}
    assert log.find(app, "b") == Output(id="b")
    assert log.find(app, "c") is None
    assert log.find(app + 1, "a") is None


def test_outputs_of_public_calls_belong_to_no_app(store: Store) -> None:
    log = OutputLog(store)
    log.start()
    log.record(PUBLIC, [output("a")])
    log.close()
    assert log.find(PUBLIC, "a") == Output(id="a")
    assert log.find(nouns.app(store).row, "a") is None


def test_old_outputs_are_forgotten(store: Store) -> None:
    app = nouns.app(store).row
    now = time.time_ns() // 1000
    old = [OutputRecord(app, f"old{n}", now - (DAYS + 1) * 86_400_000_000, b"") for n in range(3)]
    store.write(lambda tx: tx.keep_outputs([*old, OutputRecord(app, "new", now, b"")]))
    log = OutputLog(store)
    log.start()
    log.record(app, [output("more")])
    deadline = time.monotonic() + 10
    while store.read().outputs(app, ["old0", "old1", "old2"]) and time.monotonic() < deadline:
        time.sleep(0.02)
    log.close()
    assert set(store.read().outputs(app, ["old0", "old2", "new", "more"])) == {"new", "more"}


def test_a_log_that_keeps_nothing(store: Store) -> None:
    app = nouns.app(store).row
    log = OutputLog(store, days=0)
    log.record(app, [output("a")])
    assert log.find(app, "a") is None
    log.close()
