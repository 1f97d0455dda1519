"""A gRPC server with nothing of ours in it: it refuses every call while one is worked on. What that costs, no server
that is built on the same library can get below.

    python -m overload.bare      prints its address, and serves until it is killed
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc

from support.server import clean_environment

_TESTS = Path(__file__).resolve().parent.parent


class _Never(grpc.GenericRpcHandler):
    """Every method waits for its first request before it answers."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        return grpc.stream_unary_rpc_method_handler(lambda requests, _context: next(requests, b""))


@contextmanager
def serving() -> Iterator[tuple[str, int]]:
    """Address and process id of one that runs meanwhile."""
    environment = {**clean_environment(), "PYTHONPATH": str(_TESTS)}
    command = [sys.executable, "-m", "overload.bare"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip(), process.pid
    finally:
        process.kill()
        process.communicate()


def main() -> None:
    server = grpc.server(ThreadPoolExecutor(1), handlers=[_Never()], maximum_concurrent_rpcs=1)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    sys.stdout.write(f"127.0.0.1:{port}\n")
    sys.stdout.flush()
    threading.Event().wait()


if __name__ == "__main__":
    main()
