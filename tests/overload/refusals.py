"""What it costs to refuse a call: most of what a server cannot do while it is asked for ten times as much."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import grpc

from overload import bare
from overload.load import SHED
from overload.requests import mixture
from overload.run import keep_apart, processes_of, senders
from support.processor import processor_s
from support.server import Server

_RATE = 1000.0  # calls a second


def refusal_ms(folder: Path, seconds: float) -> float:
    """Processor time in which a server refuses one call of the mixture, its threads and the system's part included.

    The server takes one call at once, and that one never ends. Gives NaN where the system does not tell.
    """
    folder.mkdir()
    server = Server(folder, "--max-calls", "1")
    try:
        return _cost_ms(server.grpc, partial(processes_of, server), seconds)
    finally:
        server.stop()


def bare_refusal_ms(seconds: float) -> float:
    """The same of a gRPC server with nothing of ours in it."""
    with bare.serving() as (address, process):
        return _cost_ms(address, lambda: [process], seconds)


def _cost_ms(address: str, processes: Callable[[], list[int]], seconds: float) -> float:
    keep_apart(processes())
    with _taken(address):
        before = _spent_s(processes())
        (report,) = senders(address, "open", seconds, [_RATE])
        spent = _spent_s(processes()) - before
    return spent / report["counts"].get(SHED, 0) * 1e3 if report["counts"].keys() == {SHED} else float("nan")


@contextmanager
def _taken(address: str) -> Iterator[None]:
    """The server's only place is taken, by a call whose request is yet to come."""
    over, asked = threading.Event(), threading.Event()

    def never() -> Iterator[bytes]:
        asked.set()
        over.wait()
        yield from ()

    with closing(grpc.insecure_channel(address)) as channel:
        path = mixture(1)[0].path
        grpc.channel_ready_future(channel).result(60)
        begin: Any = channel.stream_unary(path)
        call = begin.future(never(), metadata=(("authorization", "Key any"),))
        asked.wait(60)
        try:
            yield
        finally:
            over.set()
            call.cancel()


def _spent_s(processes: list[int]) -> float:
    """Of the server and its decoders."""
    try:
        return sum(map(processor_s, processes))
    except OSError:
        return float("nan")
