"""Clients in a process of their own: ordinary gRPC channels; prints what came back as JSON.

    python -m overload.load closed ADDRESS SECONDS CLIENTS [KIND]     each asks again when it was answered
    python -m overload.load open ADDRESS SECONDS RATE [KIND]          so many calls a second, whatever comes back

They ask for the mixture of `requests.py`, or for one kind of call alone.

An open load is what a crowd does: it does not wait for the server to keep up.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

import grpc

from overload.requests import Request, alone, mixture
from postil.v1.status_code_pb2 import StatusCode
from postil.v1.status_pb2 import BaseResponse

DEADLINE_S = 5.0
GOOD, SHED, LATE = "good", "shed", "late"
_CHANNELS = 8
_REFUSED_STREAM = "RST_STREAM with error code 7"
_OPTIONS = (("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1))
_METADATA = (("authorization", "Key any"),)


class Tally:
    """What came back. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.counts: Counter[str] = Counter()
        self.good: Counter[str] = Counter()  # by kind of call
        self.times: dict[str, list[float]] = {}
        self.sent = 0

    def note(self, kind: str, fate: str, seconds: float) -> None:
        """One call's end."""
        with self._lock:
            self.counts[fate] += 1
            self.good[kind] += fate == GOOD
            self.times.setdefault(fate, []).append(seconds)

    def report(self, seconds: float, in_time: Mapping[str, int]) -> dict[str, Any]:
        """Counts and percentiles in milliseconds.

        Args:
            seconds: How long calls were sent.
            in_time: Good answers until then, by kind; what still waits at the end of a short run would flatter it.
        """
        with self._lock:
            times = {fate: sorted(found) for fate, found in self.times.items()}
            return {
                "seconds": seconds,
                "good_a_second": {kind: count / seconds for kind, count in in_time.items()},
                "sent": self.sent,
                "counts": dict(self.counts),
                "p50_ms": {fate: found[len(found) // 2] * 1e3 for fate, found in times.items()},
                "p99_ms": {fate: found[len(found) * 99 // 100] * 1e3 for fate, found in times.items()},
            }


def fate_of(answer: bytes) -> str:
    """Of a call that was answered."""
    code = BaseResponse.FromString(answer).status.code
    if code == StatusCode.RPC_REQUEST_TIMEOUT:
        return LATE
    return GOOD if code == StatusCode.SUCCESS else f"status {code}"


def fate_of_error(error: Any, seconds: float) -> str:
    """Of a call that ended with a gRPC status. The server's clock may be the first to notice that a deadline passed; it
    resets the stream then, which clients call CANCELLED. Streams that come before the server has said how many it takes
    at once may be refused by HTTP/2; clients that retry, as all do by default, send them again."""
    if error.code() is grpc.StatusCode.CANCELLED and seconds > 0.9 * DEADLINE_S:
        return LATE
    if error.code() is grpc.StatusCode.UNAVAILABLE and _REFUSED_STREAM in str(error.details()):
        return SHED
    names = {grpc.StatusCode.RESOURCE_EXHAUSTED: SHED, grpc.StatusCode.DEADLINE_EXCEEDED: LATE}
    return names.get(error.code(), f"{error.code().name} {error.details()}")


class Clients:
    """Some channels to one server."""

    def __init__(self, address: str, kind: str = "") -> None:
        self._requests = alone(kind) if kind else mixture()
        self._channels = [grpc.insecure_channel(address, options=_OPTIONS) for _ in range(_CHANNELS)]
        paths = {request.path for request in self._requests}
        self._calls: list[dict[str, Any]] = [
            {path: channel.unary_unary(path) for path in paths} for channel in self._channels
        ]
        self.tally = Tally()

    def closed(self, seconds: float, clients: int) -> dict[str, Any]:
        """Each of the clients asks again when it was answered."""
        began = time.monotonic()

        def work(number: int) -> None:
            at = number * 7
            while time.monotonic() < began + seconds:
                self._ask(self._requests[at % len(self._requests)], number)
                at += 1

        threads = [threading.Thread(target=work, args=(number,)) for number in range(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return self.tally.report(time.monotonic() - began, self.tally.good)

    def _ask(self, request: Request, channel: int) -> None:
        began = time.monotonic()
        self.tally.sent += 1
        try:
            answer = self._calls[channel % _CHANNELS][request.path](
                request.body, timeout=DEADLINE_S, metadata=_METADATA
            )
            fate = fate_of(answer)
        except grpc.RpcError as error:
            fate = fate_of_error(error, time.monotonic() - began)
        self.tally.note(request.kind, fate, time.monotonic() - began)

    def open(self, seconds: float, rate: float) -> dict[str, Any]:
        """So many calls a second, whatever comes back."""
        began = time.monotonic()
        while (now := time.monotonic()) < began + seconds:
            due = int((now - began) * rate)
            while self.tally.sent < due:
                self._throw(self._requests[self.tally.sent % len(self._requests)])
            time.sleep(0.002)
        lasted, in_time = time.monotonic() - began, self.tally.good.copy()
        until = time.monotonic() + DEADLINE_S * 4
        while sum(self.tally.counts.values()) < self.tally.sent and time.monotonic() < until:
            time.sleep(0.01)
        return self.tally.report(lasted, in_time)

    def _throw(self, request: Request) -> None:
        number, began = self.tally.sent, time.monotonic()
        self.tally.sent += 1
        call = self._calls[number % _CHANNELS][request.path].future(
            request.body, timeout=DEADLINE_S, metadata=_METADATA
        )

        def done(ended: Any) -> None:
            error = ended.code() is not grpc.StatusCode.OK
            took = time.monotonic() - began
            self.tally.note(request.kind, fate_of_error(ended, took) if error else fate_of(ended.result()), took)

        call.add_done_callback(done)


def main() -> None:
    load, address, seconds, number, *kind = sys.argv[1:]
    clients = Clients(address, *kind)
    if load == "closed":
        found = clients.closed(float(seconds), int(number))
    else:
        found = clients.open(float(seconds), float(number))
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
