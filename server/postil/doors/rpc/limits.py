"""What is under way at once: calls and bytes, both bounded, so that overload is refused instead of queued."""

from __future__ import annotations

import threading


class Limits:
    """Admits calls while there is room. Thread-safe.

    Args:
        calls: Most calls at once.
        size: Most request bytes at once. A single request is admitted whatever its size when nothing else runs:
            the listener bounds that.
    """

    def __init__(self, calls: int, size: int) -> None:
        self._calls = calls
        self._size = size
        self._lock = threading.Lock()
        self.running = 0
        self.bytes = 0

    def enter(self, size: int) -> bool:
        """Takes room for a request of `size` bytes; False when there is none."""
        with self._lock:
            if self.running >= self._calls or (self.running and self.bytes + size > self._size):
                return False
            self.running += 1
            self.bytes += size
            return True

    def leave(self, size: int) -> None:
        """Gives the room back."""
        with self._lock:
            self.running -= 1
            self.bytes -= size
