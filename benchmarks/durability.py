"""What durability costs: the same writes with synchronous=FULL and with synchronous=NORMAL, side by side.

    python -m benchmarks.durability [--inputs 12800] [--turns 20] [--json FILE]

The load is that of `make bench`: inputs with a vector of 512 numbers and 300 bytes of concepts and metadata, through
PostInputs in batches of 128 by two clients, labels through PostAnnotations in the same way, and one by one from sixteen
clients, whose commits group. A server of either kind takes each stretch of it in turn, so that whatever else the
machine does meets both. There is no setting that weakens durability: the server with NORMAL is the product in a wrapper
that only this file has.

Also told: how long the disk takes to flush, and how many commits a second that would allow without group commit.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import grpc

from benchmarks import load
from benchmarks.processes import Process
from benchmarks.store import flush_ms
from postil.v1.annotation_service_pb2_grpc import AnnotationsStub
from postil.v1.input_service_pb2_grpc import InputsStub
from postil.v1.status_code_pb2 import StatusCode

DIM = 512
LABELS = 128
TARGET = 0.85
KINDS = ("FULL", "NORMAL")
_OPTIONS = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))


def serve(synchronous: str, arguments: Sequence[str]) -> None:
    """The product, its writer's connection with another `synchronous`."""
    from postil import cli
    from postil.store import writer

    real = vars(writer)["connect"]

    def connect(path: Path, *, writer: bool) -> Any:
        connection = real(path, writer=writer)
        if writer:
            connection.execute(f"PRAGMA synchronous={synchronous}")
        return connection

    vars(writer)["connect"] = connect
    sys.argv[1:] = arguments
    cli.main()


class Server(Process):
    """A server of one kind."""

    def __init__(self, kind: str, data_dir: Path) -> None:
        wrapper = [sys.executable, "-m", "benchmarks.durability", "--serve", kind]
        options = ["serve", "--data-dir", str(data_dir), "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0"]
        super().__init__([*wrapper, *options], "postil ready ", data_dir.with_suffix(".log"))
        self.address = self.line.split("grpc=")[1].split()[0]


def _send(method: Any, requests: Sequence[Any]) -> None:
    for request in requests:
        answer = method(request, timeout=300)
        if answer.status.code != StatusCode.SUCCESS:
            raise SystemExit(f"a write was refused: {answer.status}")


class Phase(NamedTuple):
    """One kind of write."""

    what: str
    stub: Any
    rpc: str
    requests: Sequence[Any]
    items: int  # in all of them
    clients: int


def timed(address: str, phase: Phase, requests: Sequence[Any]) -> float:
    """Seconds that the clients take for these requests together."""
    channels = [
        grpc.insecure_channel(address, options=(*_OPTIONS, ("client", number))) for number in range(phase.clients)
    ]
    for channel in channels:
        grpc.channel_ready_future(channel).result(60)
    threads = [
        threading.Thread(
            target=_send, args=(getattr(phase.stub(channel), phase.rpc), requests[number :: phase.clients])
        )
        for number, channel in enumerate(channels)
    ]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - started
    for channel in channels:
        channel.close()
    return seconds


def phases(count: int) -> list[Phase]:
    """The writes, the same for both."""
    made = load.make(count, DIM, 1)
    labels = [load.labels(at * LABELS, LABELS, count) for at in range(count // LABELS)]
    singles = [load.labels(count + at, 1, count) for at in range(count // 16)]
    return [
        Phase("inputs with vectors, 128 a call", InputsStub, "PostInputs", list(load.batches(made.vectors)), count, 2),
        Phase(f"labels, {LABELS} a call", AnnotationsStub, "PostAnnotations", labels, len(labels) * LABELS, 2),
        Phase("labels, one a call, 16 clients", AnnotationsStub, "PostAnnotations", singles, len(singles), 16),
    ]


def run(folder: Path, wanted: Sequence[Phase], turns: int) -> dict[str, list[list[float]]]:
    """kind -> for each phase, the seconds of each turn."""
    servers = {kind: Server(kind, folder / kind) for kind in KINDS}
    seconds: dict[str, list[list[float]]] = {kind: [] for kind in KINDS}
    try:
        for phase in wanted:
            for kind in KINDS:
                seconds[kind].append([])
            size = -(-len(phase.requests) // turns)
            for number, start in enumerate(range(0, len(phase.requests), size)):
                part = phase.requests[start : start + size]
                for kind in KINDS if number % 2 == 0 else KINDS[::-1]:
                    seconds[kind][-1].append(timed(servers[kind].address, phase, part))
    finally:
        for server in servers.values():
            server.kill()
    return seconds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--inputs", type=int, default=12_800)
    parser.add_argument("--turns", type=int, default=20, help="stretches that the load is cut into")
    parser.add_argument("--json", type=Path, default=None, help="also write the figures there")
    parser.add_argument("--strict", action="store_true", help="fail when the load is below the target")
    parser.add_argument("--serve", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        serve(args.serve[0], args.serve[1:])
        return 0
    wanted = phases(args.inputs)
    with tempfile.TemporaryDirectory(prefix="postil-durability-", ignore_cleanup_errors=True) as name:
        flush = flush_ms(Path(name))
        seconds = run(Path(name), wanted, args.turns)
    print(f"The disk flushes 4 KiB in {flush:.2f} ms: {1000 / flush:,.0f} commits a second, one by one.")
    print(f"{'':34}{'FULL':>12}{'NORMAL':>12}{'ratio':>8}")
    ratios = []
    for at, phase in enumerate(wanted):
        full, normal = (phase.items / sum(seconds[kind][at]) for kind in KINDS)
        ratios.append(full / normal)
        print(f"{phase.what:34}{full:10,.0f}/s{normal:10,.0f}/s{full / normal:8.2f}")
    full, normal = (sum(sum(one) for one in seconds[kind]) for kind in KINDS)
    ratios.append(normal / full)
    print(f"{'all of it, by time':34}{full:10,.1f} s{normal:10,.1f} s{normal / full:8.2f}")
    print(f"Target for all of it: at least {TARGET}.")
    if args.json:
        args.json.write_text(json.dumps({"flush_ms": flush, "seconds": seconds, "ratios": ratios}, indent=1))
    return 1 if args.strict and ratios[-1] < TARGET else 0


if __name__ == "__main__":
    sys.exit(main())
