"""Which kind of gRPC server: thread pool, asyncio, or asyncio with uvloop, around the real dispatcher.

`python -m benchmarks.server_kind`; needs uvloop for its rows. Three handlers: one that gives stored bytes at once, one
that works 0.15 ms without the interpreter lock (as a graph search does), and one that waits 2 ms (as a write waits for
its group commit). docs/adr/0002-grpc-server-kind.md holds the figures that decided.
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


def measure(kind: str, handler: str, threads: int, seconds: float) -> dict[int, dict[str, float]]:
    """Clients (1 and 8) -> what the light client measured, best of two runs."""
    command = [sys.executable, __file__, "--serve", kind, handler, str(threads)]
    client = [sys.executable, str(Path(__file__).parent / "h2_client.py"), "127.0.0.1"]
    request = search_request(512)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            port = server.stdout.readline().strip() if server.stdout else ""
            found: dict[int, dict[str, float]] = {}
            for clients in (1, 8):
                arguments = [*client, port, PATH, str(clients), str(seconds)]
                runs = [subprocess.run(arguments, input=request, stdout=-1, check=True).stdout for _ in range(2)]
                found[clients] = max((json.loads(run) for run in runs), key=lambda run: run["calls"])
        finally:
            server.kill()
    return found


def main() -> None:
    """Measures every kind, or serves one (`--serve`, used by itself)."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--kind", nargs=2, action="append", metavar=("KIND", "THREADS"))
    parser.add_argument("--serve", nargs=3)
    given = parser.parse_args()
    if given.serve:
        _serve(given.serve[0], given.serve[1], int(given.serve[2]))
        return
    kinds = given.kind or [("threads", n) for n in (4, 8, 16, 32)] + [
        (kind, n) for kind in ("asyncio", "uvloop") for n in (0, 8)
    ]
    print("| server | threads | handler | 1 client: calls/s | p50 ms | p99 ms | 8 clients: calls/s | p50 ms | p99 ms |")
    print("|---|---|---|---|---|---|---|---|---|")
    for kind, threads in kinds:
        for handler in HANDLERS:
            found = measure(kind, handler, int(threads), given.seconds)
            cells = [
                f"{found[n]['calls'] / found[n]['seconds']:.0f} | {found[n]['p50_ms']:.2f} | {found[n]['p99_ms']:.2f}"
                for n in (1, 8)
            ]
            print(f"| {kind} | {threads} | {handler} | {cells[0]} | {cells[1]} |", flush=True)


if __name__ == "__main__":
    main()
