"""The short form of the campaign: random calls to all RPCs on both doors, and all that earlier campaigns found."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fuzz import campaign
from fuzz.campaign import Attacker, Victim
from support.doors import METHODS

CALLS, SEED = 1500, 2026
FLAT_MIB = 250  # decoded pictures, caches and vectors of this many calls fit in it


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    """A server that is attacked, and must end in good order all the same."""
    running = Victim(tmp_path_factory.mktemp("victim"), *campaign.OPTIONS)
    yield running
    code = running.stop()
    assert code == 0, running.tail()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_random_calls_find_no_crash_no_hang_and_nothing_internal(victim: Victim) -> None:
    before = campaign.memory(victim)
    found = campaign.run(victim, CALLS, SEED)
    assert not found.faults, "\n".join([*found.faults, *campaign.explained(victim)])
    assert sum(found.calls.values()) == CALLS
    assert found.doors.keys() == {"own", "vendor", "json"}
    assert len(found.calls) > 0.9 * len(METHODS)
    assert found.good.total() > 0.2 * CALLS  # the calls get beyond the first check
    assert len(+found.good) > 0.5 * len(METHODS)
    assert len(found.codes) > 10
    assert campaign.memory(victim) < before + FLAT_MIB


@pytest.mark.parametrize(("door", "rpc", "body"), [pytest.param(*rest, id=name) for name, *rest in campaign.corpus()])
def test_what_was_found_once_stays_mended(victim: Victim, door: str, rpc: str, body: bytes) -> None:
    attacker = Attacker(victim, SEED)
    try:
        assert attacker.send(door, rpc, body) == ""
    finally:
        attacker.close()


def test_a_fault_is_noticed(victim: Victim, monkeypatch: pytest.MonkeyPatch) -> None:
    """The campaign would see an internal failure, were there one."""
    attacker = Attacker(victim, SEED)
    monkeypatch.setattr(campaign, "INTERNAL", 10_000)  # now success is one, too
    try:
        assert "status 10000" in attacker.send("own", "ListStatusCodes", b"")
        assert "status 10000" in attacker.send("vendor", "ListStatusCodes", b"")
        assert "HTTP 200" in attacker.send("json", "ListStatusCodes", b"")
    finally:
        attacker.close()
