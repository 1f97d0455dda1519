"""The short form of `make crash`: every promise, at a handful of moments. The long form draws from all of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from crash.armed import MOMENTS
from crash.model import Ledger
from crash.supervisor import Broken, Supervisor
from crash.victim import Plan

_LOAD_S = 30.0  # the moment comes long before


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    running = Supervisor(tmp_path, seed=6, verify_every=4)
    yield running
    running.close()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_killed_at_random_and_inside_nothing_acknowledged_is_lost(supervisor: Supervisor) -> None:
    supervisor.run(Plan("migration.in-step", 9))
    supervisor.run(Plan(load_s=1.0))
    for moment in (
        "commit.after",
        "checkpoint.middle",
        "blob.before-rename",
        "segment.half-graph",
        "manifest.before-rename",
    ):
        supervisor.run(Plan(moment, 2, _LOAD_S))
    supervisor.run(Plan(load_s=0.5, term_first_s=0.1))
    tally = supervisor.tally
    assert tally.all_kills == 8
    assert tally.moments.total() == 6, tally.moments
    assert tally.calls > 20
    assert tally.searches > 20


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_lost_write_would_be_noticed(supervisor: Supervisor) -> None:
    ledger, key = _acknowledged_input(supervisor)
    kept = ledger.values[key]
    ledger.values[key] = kept._replace(mark=kept.mark + 1)
    ledger.recent.add(key)
    with pytest.raises(Broken, match=rf"(?s){key} is .*make crash ARGS="):
        supervisor.run(Plan(load_s=0.1))
    ledger.values[key] = kept


def _acknowledged_input(supervisor: Supervisor) -> tuple[Ledger, str]:
    """Of any writer, one that the call which was cut off does not touch. The first twenty commits may hold none."""
    for _ in range(5):
        supervisor.run(Plan("commit.after", 20, _LOAD_S))
        for ledger in supervisor._ledgers:
            unsure = ledger.pending.after if ledger.pending else {}
            for key in ledger.values:
                if key.startswith("input:") and key not in unsure:
                    return ledger, key
    raise AssertionError("five lives, and not one input")


def test_every_moment_says_how_often_it_is_worth_waiting_for() -> None:
    assert min(MOMENTS.values()) >= 1
