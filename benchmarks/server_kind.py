"""Which kind of gRPC server: thread pool, asyncio, or asyncio with uvloop, around the real dispatcher.

`python -m benchmarks.server_kind`; needs `pip install uvloop` for its rows. Three handlers: one that gives stored bytes
at once, one that works 0.15 ms without the interpreter lock (as a graph search does), and one that waits 2 ms (as a
write waits for its group commit). docs/adr/0003-grpc-server-kind.md holds the figures that decided.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.dispatcher import dispatcher, search_request

PATH = "/postil.v1.Searches/PostAnnotationsSearches"
NAME = "PostAnnotationsSearches"
ANSWER = b"\x0a\x03\x08\x90\x4e" + b"\x12\x80\x20" + b"\x00" * 4096  # status 10000, then as many bytes as ten hits have
WORK_S = 0.00015
WAIT_S = 0.002


def _work() -> Callable[[], bytes]:
    """A hash over as many bytes as take about `WORK_S`; hashlib gives the interpreter lock away meanwhile."""
    piece = bytes(1 << 20)
    began = time.perf_counter()
    for _ in range(20):
        hashlib.sha256(piece)
    part = piece[: int(len(piece) * WORK_S / ((time.perf_counter() - began) / 20))]

    def work() -> bytes:
        hashlib.sha256(part)
        return ANSWER

    return work


def _wait() -> bytes:
    time.sleep(WAIT_S)
    return ANSWER


KINDS = (("threads", 4), ("threads", 32), ("asyncio", 0), ("asyncio", 32), ("uvloop", 0), ("uvloop", 32))
REQUEST = search_request(512)
HANDLERS: dict[str, Callable[[], Any]] = {"trivial": lambda: ANSWER, "work": _work, "wait": _wait}


def _door(handler: str) -> Callable[..., bytes]:
    answer = _work() if handler == "work" else HANDLERS[handler]
    return dispatcher(answer).call


def _deadline(remaining: float | None) -> float | None:
    return None if remaining is None or remaining > 1e9 else time.monotonic() + remaining


class _One(grpc.GenericRpcHandler):
    def __init__(self, handler: Any) -> None:
        self._handler = handler

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        return self._handler if handler_call_details.method == PATH else None


def serve_threads(handler: str, threads: int) -> None:
    """A pool of threads."""
    call = _door(handler)

    def behaviour(request: bytes, context: grpc.ServicerContext) -> bytes:
        deadline = _deadline(context.time_remaining())
        return call(NAME, request, context.invocation_metadata(), deadline, context.is_active)

    rpc: Any = grpc.unary_unary_rpc_method_handler(behaviour)
    server = grpc.server(ThreadPoolExecutor(threads), handlers=[_One(rpc)], options=[("grpc.so_reuseport", 0)])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    server.wait_for_termination()


async def serve_asyncio(handler: str, threads: int) -> None:
    """A loop that calls the handler itself (`threads` 0), or hands it to a pool of threads."""
    call = _door(handler)
    pool = ThreadPoolExecutor(threads) if threads else None

    async def behaviour(request: bytes, context: Any) -> bytes:
        deadline = _deadline(context.time_remaining())
        arguments = (NAME, request, context.invocation_metadata(), deadline)
        if pool is None:
            return call(*arguments)
        return await asyncio.get_running_loop().run_in_executor(pool, call, *arguments)

    rpc: Any = grpc.unary_unary_rpc_method_handler(behaviour)
    server = grpc.aio.server(handlers=[_One(rpc)], options=[("grpc.so_reuseport", 0)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await server.wait_for_termination()


def _serve(kind: str, handler: str, threads: int) -> None:
    if kind == "threads":
        serve_threads(handler, threads)
    elif kind == "uvloop":
        import uvloop

        uvloop.run(serve_asyncio(handler, threads))
    else:
        asyncio.run(serve_asyncio(handler, threads))


class Server:
    """One kind with one handler in a process of its own, measured again and again."""

    def __init__(self, kind: str, threads: int, handler: str) -> None:
        self.kind, self.threads, self.handler = kind, threads, handler
        self.best: dict[int, dict[str, float]] = {}
        command = [sys.executable, __file__, "--serve", kind, handler, str(threads)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self._port = self._process.stdout.readline().strip() if self._process.stdout else ""

    def measure(self, clients: int, seconds: float) -> None:
        """One run; the best is kept, because what else the machine does only ever makes it slower."""
        light = str(Path(__file__).parent / "h2_client.py")
        command = [sys.executable, light, "127.0.0.1", self._port, PATH, str(clients), str(seconds)]
        run = json.loads(subprocess.run(command, input=REQUEST, stdout=subprocess.PIPE, check=True).stdout)
        if clients not in self.best or run["calls"] > self.best[clients]["calls"]:
            self.best[clients] = run

    def row(self) -> str:
        """Its line of the table."""
        cells = [
            f"{run['calls'] / run['seconds']:,.0f} | {run['p50_ms']:.2f} | {run['p99_ms']:.2f}"
            for run in (self.best[1], self.best[8])
        ]
        return f"| {self.handler} | {self.kind} | {self.threads or 'loop'} | {cells[0]} | {cells[1]} |"

    def stop(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.communicate()


def main() -> None:
    """Measures every kind, or serves one (`--serve`, used by itself)."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1.0, help="of one run")
    parser.add_argument("--rounds", type=int, default=5, help="in turns over all kinds; the best of each counts")
    parser.add_argument("--serve", nargs=3)
    given = parser.parse_args()
    if given.serve:
        _serve(given.serve[0], given.serve[1], int(given.serve[2]))
        return
    print("| handler | server | threads | 1 client: calls/s | p50 ms | p99 ms | 8 clients: calls/s | p50 ms | p99 ms |")
    print("|---|---|---|---|---|---|---|---|---|")
    for handler in HANDLERS:
        servers = [Server(kind, threads, handler) for kind, threads in KINDS]
        try:
            for _ in range(given.rounds):
                for server in servers:
                    server.measure(1, given.seconds)
                    server.measure(8, given.seconds)
        finally:
            for server in servers:
                server.stop()
        for server in servers:
            print(server.row(), flush=True)


if __name__ == "__main__":
    main()
