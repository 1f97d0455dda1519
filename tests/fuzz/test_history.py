"""Random histories beside the model: the same few in every run, others and many in `make fuzz`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest

from fuzz import history
from support.server import Server

HISTORIES = 6


@pytest.mark.slow
@pytest.mark.timeout(420)
def test_every_history_is_what_the_model_says(start_server: Callable[..., Server]) -> None:
    seen, wrong = history.live(start_server(), HISTORIES, same=True)
    assert not wrong, wrong
    assert seen["histories"] >= HISTORIES
    assert seen["calls"] > 100


def test_an_answer_that_differs_is_noticed(start_server: Callable[..., Server]) -> None:
    seen, wrong = history.live(cast("Server", Miscounting(start_server())), HISTORIES, same=True)
    assert "counts_agree" in wrong
    assert seen["histories"]


class Miscounting:
    """A server that says of each app that it has one input more."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def __getattr__(self, name: str) -> Any:
        return getattr(self._server, name)

    def call(self, name: str, rpc: str, request: Any, **options: Any) -> Any:
        answer = self._server.call(name, rpc, request, **options)
        if rpc == "GetInputCount":
            answer.counts.processed += 1
        return answer
