"""Receiving the request of a gRPC call, once the dispatcher wants it: it may come compressed, slowly, or never.

A thread waits for it meanwhile. So that callers who never finish take neither all threads nor all memory, one thread
looks after all that are being received, and hangs up on the oldest where they are too many while others wait for a
thread, too large together, or too old.
"""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import grpc

from postil import errors, memory
from postil.doors.http import encodings
from postil.doors.rpc.dispatcher import Hold, Reason, Refused

_LOOK_S = 0.25
_SLOW_S = 1.0  # the others are not worth a thought: most requests are there before anybody waits for them
_LONGEST_S = 600.0  # for the largest request over a slow line
_MUCH = 64 << 20  # bytes
_GZIP = b"\x1f\x8b"  # no message of protobuf begins so: it would be a field of a type that there is not
_MISSING = "The call has no request message. Send one, be it empty."
_BROKEN = "The request never arrived whole."


class Context(Protocol):
    """Of a call."""

    def cancel(self) -> object:
        """Hangs up."""
        ...


class Receipts:
    """What is being received. Thread-safe.

    Args:
        largest: Bytes of one message.
        slow: How many may take longer than a second at once while somebody else wants a thread.
        growth: Bytes by which the process may grow while some take longer.
        wanted: Whether calls wait for a thread.
        resident: Bytes of memory that the process has.
    """

    def __init__(
        self,
        largest: int,
        slow: int,
        growth: int,
        wanted: Callable[[], bool],
        resident: Callable[[], int] | None = None,
    ) -> None:
        self._largest = largest
        self._slow = slow
        self._growth = growth
        self._wanted = wanted
        self._resident = resident or _resident
        self._numbers = itertools.count()
        self._waiting: dict[int, tuple[float, Context]] = {}  # oldest first
        self._some = threading.Event()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self.dropped = 0

    def receive(self, requests: Iterator[bytes], context: Context, hold: Hold) -> bytes:
        """The request message.

        Args:
            requests: gRPC's; of one message.
            context: Of the call.
            hold: Takes room for what has arrived.

        Raises:
            Failure: There is none, or what is compressed cannot be read.
            Refused: It did not arrive, or there is no room for it.
        """
        number = next(self._numbers)
        self._waiting[number] = (time.monotonic(), context)
        if not self._some.is_set():
            self._look_after()
        try:
            message = next(requests)
        except StopIteration:
            raise errors.invalid_request(_MISSING) from None
        except grpc.RpcError:
            raise Refused(Reason.TIMED_OUT, _BROKEN) from None
        finally:
            del self._waiting[number]
        hold(len(message))
        return encodings.inflate(message, "gzip", self._largest, hold) if message.startswith(_GZIP) else message

    def _look_after(self) -> None:
        self._some.set()
        if self._thread is None:
            with self._lock:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._watch, name="receipts", daemon=True)
                    self._thread.start()

    def _watch(self) -> None:
        while self._some.wait():
            self._some.clear()  # before looking: who comes now sets it again
            small = self._resident()
            time.sleep(_LOOK_S)
            while self._waiting:
                small = self._look(small)
                time.sleep(_LOOK_S)
            time.sleep(_SLOW_S)  # for what was received to be worked on, or refused
            if self._resident() - small > _MUCH:
                memory.give_back()  # pieces of messages lie scattered: by itself little of it would be returned

    def _look(self, small: int) -> int:
        """Drops what must go. Takes and gives the memory that the process had when last nothing was held up."""
        now, resident = time.monotonic(), self._resident()
        ages = [(now - since, context) for since, context in list(self._waiting.values())]
        held_up = [context for age, context in ages if age > _LOOK_S / 2]
        drop = sum(age > _LONGEST_S for age, _ in ages)
        if self._wanted():
            drop = max(drop, sum(age > _SLOW_S for age, _ in ages) - self._slow)
        if resident - small > self._growth:
            drop = max(drop, len(held_up) // 2)  # never the only one: it may need that much
        for context in held_up[:drop]:
            context.cancel()
        self.dropped += drop
        return small if held_up else resident


def _resident() -> int:
    """0 where the system does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
