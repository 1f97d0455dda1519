"""One overload run: what a server does at its best, at ten times that, and afterwards.

Server and clients are kept on different processors where there are two, or the crowd of clients would take the
server's time and the run would measure them.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import grpc

from overload import requests
from overload.load import DEADLINE_S, GOOD, LATE, SHED
from postil.v1.input_service_pb2 import ListInputsRequest
from support.server import OWN, Server, clean_environment

CLIENTS = 16
TIMES = 10  # the capacity
LESS = (1.5, 2, 4)  # times the capacity, for a moment each: how goodput falls on the way to ten times
SENDERS = 2  # processes that share an open load
TESTS = Path(__file__).resolve().parent.parent


def processes_of(server: Server) -> list[int]:
    """The server, and the decoders that it started."""
    pid = server.process.pid
    children = Path(f"/proc/{pid}/task").glob("*/children")
    return [pid, *(int(one) for path in children for one in path.read_text().split())]


def resident_mib(server: Server) -> float:
    """Of the server and its decoders; one that is being replaced is left out."""
    return _mib(server, 1)


def mapped_mib(server: Server) -> float:
    """Of that, pages of files, which the system takes back when it needs them."""
    return _mib(server, 2)


def _mib(server: Server, column: int) -> float:
    """A column of what the system says of each process's memory (proc(5), statm)."""
    pages = 0
    for process in processes_of(server):
        with contextlib.suppress(OSError):
            pages += int(Path(f"/proc/{process}/statm").read_text().split()[column])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


class Watch:
    """The largest resident memory from its start to its end."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self.most = 0.0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.2):
            self.most = max(self.most, resident_mib(self._server))


@dataclass
class Outcome:
    """What was measured."""

    peak: float = 0.0  # good calls a second at the server's best, before
    peak_by_kind: dict[str, float] = field(default_factory=dict)
    peak_after: float = 0.0  # and on the store as the overload left it
    idle_ms: float = 0.0  # median of a small call without load
    steady_mib: float = 0.0
    offered: float = 0.0  # calls a second under overload
    goodput: float = 0.0
    goodput_by_kind: dict[str, float] = field(default_factory=dict)
    alone_best: dict[str, float] = field(default_factory=dict)  # of each kind when nothing else is asked for
    alone: dict[str, float] = field(default_factory=dict)  # and at ten times that
    on_the_way: dict[float, float] = field(default_factory=dict)  # goodput at smaller loads, by how many times the best
    most_mib: float = 0.0
    back_s: float = 0.0  # from the end of the load until small calls are quick again
    counts: dict[str, int] = field(default_factory=dict)
    p99_ms: dict[str, float] = field(default_factory=dict)
    p50_ms: dict[str, float] = field(default_factory=dict)

    def wrong(self) -> dict[str, int]:
        """Calls that were neither answered, nor shed, nor too late."""
        return {fate: count for fate, count in self.counts.items() if fate not in {GOOD, SHED, LATE}}

    def misses(self) -> list[str]:
        """The targets that do not hold."""
        checks = {
            "goodput at least 90 % of peak": self.goodput >= 0.9 * self.peak,
            "memory at most 1.5 times steady": self.most_mib <= 1.5 * self.steady_mib,
            "back to normal within 5 s": self.back_s <= 5,
            "nothing but answers, shed and late calls": not self.wrong(),
        }
        return [name for name, holds in checks.items() if not holds]

    def lines(self) -> list[str]:
        """For people."""
        total = sum(self.counts.values()) or 1
        shares = ", ".join(f"{fate} {count:,} ({count / total:.1%})" for fate, count in sorted(self.counts.items()))
        quick, slow = self.p50_ms, self.p99_ms
        peaks = f"{self.peak:,.0f} good calls a second before, and {self.peak_after:,.0f} afterwards"
        offered = f"Offered {self.offered:,.0f} calls a second, {self.offered / self.peak:.1f} times as many"
        way = ", ".join(f"{rate / self.peak:.0%} at {times:g} times" for times, rate in self.on_the_way.items())
        good = f"Good answers: {self.goodput:,.0f} a second, {self.goodput / self.peak:.0%} of the best before"
        return [
            f"At its best, {CLIENTS} clients in a closed loop: {peaks}.",
            f"A small call takes {self.idle_ms:.1f} ms when nothing else goes on.",
            f"{offered}: {shares}.",
            f"On the way there, a moment each, good answers were {way}.",
            f"{good}; median {quick.get(GOOD, 0):,.0f} ms, p99 {slow.get(GOOD, 0):,.0f} ms.",
            f"Of each kind, of the best: {_by_kind(self.goodput_by_kind, self.peak_by_kind)}.",
            f"Of nothing but one kind, at ten times the best of it: {_by_kind(self.alone, self.alone_best)}.",
            f"Shed calls, as clients saw it: median {quick.get(SHED, 0):,.1f} ms, p99 {slow.get(SHED, 0):,.0f} ms.",
            f"Memory: {self.steady_mib:,.0f} MiB steady, {self.most_mib:,.0f} MiB at most under overload.",
            f"Small calls are quick again {self.back_s:.1f} s after the last answer.",
            "Targets that do not hold: " + ("; ".join(self.misses()) or "none") + ".",
        ]


def _by_kind(good: Mapping[str, float], best: Mapping[str, float]) -> str:
    return ", ".join(f"{kind} {good.get(kind, 0) / rate:.0%} ({good.get(kind, 0):,.0f})" for kind, rate in best.items())


def senders(address: str, load: str, seconds: float, numbers: Sequence[float], kind: str = "") -> list[dict[str, Any]]:
    """Runs a process of clients for each number (clients, or calls a second); gives their reports.

    Args:
        address: Of the server.
        load: "closed" or "open".
        seconds: How long.
        numbers: One for each process.
        kind: Of call, alone; all of the mixture by default.
    """
    environment = {**clean_environment(), "PYTHONPATH": str(TESTS)}
    command = [sys.executable, "-m", "overload.load", load, address, str(seconds)]
    running = [
        subprocess.Popen([*command, str(number), kind], stdout=subprocess.PIPE, text=True, env=environment)
        for number in numbers
    ]
    for process in running:
        _keep_to(process.pid, first=False)
    return [json.loads(process.communicate()[0]) for process in running]


def _keep_to(pid: int, *, first: bool) -> None:
    """The server to the first processor, clients to the others."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if len(cores) > 1:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):
                os.sched_setaffinity(int(thread.name), cores[:1] if first else cores[1:])


def keep_apart(processes: Sequence[int]) -> None:
    """Keeps a server's processes where `senders` keep away from."""
    for process in processes:
        _keep_to(process, first=True)


def run(server: Server, steady_s: float, overload_s: float, patience_s: float = 60.0) -> Outcome:
    """The whole of it on a fresh server."""
    keep_apart(processes_of(server))
    for request in requests.stock():
        assert server.call(OWN, "PostInputs", request, timeout=120).status.code == 10000
    outcome = Outcome()
    _closed(server, steady_s / 2)  # warms up
    outcome.idle_ms = sorted(probe(server) for _ in range(50))[25] * 1e3
    with Watch(server) as watch:
        outcome.peak_by_kind = _closed(server, steady_s)
    outcome.peak = sum(outcome.peak_by_kind.values())
    outcome.steady_mib = watch.most
    with Watch(server) as watch:
        for times in LESS:
            outcome.on_the_way[times] = sum(_goodput(_open(server, steady_s, outcome.peak * times)).values())
        reports = _open(server, overload_s, outcome.peak * TIMES)
    _sum_up(outcome, reports)
    outcome.most_mib = watch.most
    outcome.back_s = recovery(server, outcome.idle_ms, patience_s)
    outcome.peak_after = sum(_closed(server, steady_s).values())
    for kind in requests.ALONE:
        outcome.alone_best |= _closed(server, steady_s / 2, kind)
        outcome.alone |= _goodput(_open(server, steady_s, outcome.alone_best[kind] * TIMES, kind))
    return outcome


def _closed(server: Server, seconds: float, kind: str = "") -> dict[str, float]:
    """Good calls a second, by kind, when nobody asks before the last answer."""
    return _goodput(senders(server.grpc, "closed", seconds, [CLIENTS], kind))


def _open(server: Server, seconds: float, rate: float, kind: str = "") -> list[dict[str, Any]]:
    """Reports of so many calls a second, whatever comes back."""
    return senders(server.grpc, "open", seconds, [rate / SENDERS] * SENDERS, kind)


def _goodput(reports: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Good calls a second, by kind."""
    rates: Counter[str] = Counter()
    for report in reports:
        rates.update(report["good_a_second"])
    return dict(rates)


def _sum_up(outcome: Outcome, reports: Sequence[dict[str, Any]]) -> None:
    seconds = max(report["seconds"] for report in reports)
    for report in reports:
        for fate, count in report["counts"].items():
            outcome.counts[fate] = outcome.counts.get(fate, 0) + count
            for name in ("p50_ms", "p99_ms"):
                kept: dict[str, float] = getattr(outcome, name)
                kept[fate] = max(kept.get(fate, 0.0), report[name][fate])
    outcome.offered = sum(report["sent"] for report in reports) / seconds
    outcome.goodput_by_kind = _goodput(reports)
    outcome.goodput = sum(outcome.goodput_by_kind.values())


def probe(server: Server) -> float:
    """Seconds of one small call. Raises grpc.RpcError when it is refused."""
    began = time.monotonic()
    server.call(OWN, "ListInputs", ListInputsRequest(per_page=1), timeout=DEADLINE_S)
    return time.monotonic() - began


def recovery(server: Server, idle_ms: float, patience_s: float) -> float:
    """Seconds until ten small calls in turn are as quick as without load, or four times that on a busy machine."""
    began = time.monotonic()
    quick, since = 0, began
    while quick < 10 and time.monotonic() - began < patience_s:
        try:
            fine = probe(server) * 1e3 <= max(4 * idle_ms, 20)
        except grpc.RpcError:
            fine = False
        quick, since = (quick + 1, since) if fine else (0, time.monotonic())
    return since - began
