"""The short form of `make overload`: nothing but good answers and refusals, memory bounded, and an end to it."""

from __future__ import annotations

from pathlib import Path

import pytest

from overload.load import GOOD, SHED
from overload.run import run
from support.server import Server


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_overload_is_shed_and_passes(tmp_path: Path) -> None:
    server = Server(tmp_path, "--max-calls", "128")
    try:
        outcome = run(server, steady_s=4, overload_s=6)
    finally:
        server.stop()
    assert outcome.wrong() == {}
    assert outcome.counts.get(GOOD, 0) > 0
    assert outcome.counts.get(SHED, 0) > 0
    assert outcome.most_mib <= 1.5 * outcome.steady_mib
    assert outcome.back_s < 60
