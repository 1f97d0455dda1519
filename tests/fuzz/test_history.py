"""Random histories beside the model: some in every run, many with POSTIL_HISTORIES=2000 (`make fuzz`)."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from fuzz.history import History
from support.server import Server

HISTORIES = int(os.environ.get("POSTIL_HISTORIES", "6"))
STEPS = 40


@pytest.mark.slow
@pytest.mark.timeout(60 + 60 * HISTORIES)
def test_every_history_is_what_the_model_says(start_server: Callable[..., Server]) -> None:
    running = start_server()

    class Bound(History):
        server = running

    budget: Any = settings(
        max_examples=HISTORIES,
        stateful_step_count=STEPS,
        deadline=None,
        derandomize=HISTORIES < 100,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )
    run_state_machine_as_test(Bound, settings=budget)
