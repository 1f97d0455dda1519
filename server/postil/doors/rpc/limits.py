"""What is under way at once: calls and bytes, both bounded, so that overload is refused instead of queued."""

from __future__ import annotations

import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

_BURST_S = 2.0  # how long a caller may save up
_REMEMBERED = 10_000  # callers
_PATIENCE_S = 0.5  # of calls that wait for a thread


class Rates:
    """How many calls a second each caller may make: a bucket of tokens for each, which fills as time goes by and holds
    what two seconds bring. Thread-safe.

    Args:
        per_second: Of one caller; 0 for no limit.
        clock: Seconds.
    """

    def __init__(self, per_second: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_second = per_second
        self._clock = clock
        self._lock = threading.Lock()
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens, when counted; in order of use

    def take(self, caller: str) -> bool:
        """One call more of this caller; False when it is one too many."""
        full, now = self.per_second * _BURST_S, self._clock()
        with self._lock:
            tokens, then = self._buckets.pop(caller, (full, now))
            tokens = min(full, tokens + (now - then) * self.per_second)
            allowed = tokens >= 1.0
            self._buckets[caller] = (tokens - allowed, now)
            if len(self._buckets) > _REMEMBERED:  # whoever has not called for longest is full again anyway
                self._buckets.popitem(last=False)
        return allowed


class Room:
    """How many calls the gRPC listener accepts; gRPC asks by comparing this with how many it has.

    Fewer than `most` while they wait long: a queue that takes seconds to work off is full of calls that nobody waits
    for any more by the time they are begun, and what is done for them is lost (docs/adr/0028-calls-before-pictures.md).

    Args:
        most: Calls that have not ended.
        always: So many are accepted however long they wait.
        waited: Seconds that the next call has been waiting for a thread.
    """

    def __init__(self, most: int, always: int, waited: Callable[[], float]) -> None:
        self._most = most
        self._always = always
        self._waited = waited

    def __le__(self, calls: int) -> bool:
        """Whether there is no room beside so many calls."""
        return calls >= self._most or (calls >= self._always and self._waited() > _PATIENCE_S)


class Limits:
    """Admits calls while there is room. Thread-safe.

    Args:
        calls: Most calls at once.
        size: Most request bytes at once. A single request is admitted whatever its size when no other holds any:
            the listener bounds that.
        answer: Most bytes of one answer.
    """

    def __init__(self, calls: int, size: int, answer: int = sys.maxsize) -> None:
        self.answer = answer
        self._calls = calls
        self._size = size
        self._lock = threading.Lock()
        self.running = 0
        self.bytes = 0

    def enter(self, size: int) -> bool:
        """Takes room for a call and `size` bytes of its request; False when there is none."""
        with self._lock:
            if self.running >= self._calls or (self.bytes and self.bytes + size > self._size):
                return False
            self.running += 1
            self.bytes += size
            return True

    def more(self, held: int, size: int) -> bool:
        """Takes room for `size` more bytes of a request that holds `held` already; False when there is none."""
        with self._lock:
            if self.bytes > held and self.bytes + size > self._size:
                return False
            self.bytes += size
            return True

    def leave(self, size: int) -> None:
        """Gives back the room of a call and of all its bytes."""
        with self._lock:
            self.running -= 1
            self.bytes -= size
