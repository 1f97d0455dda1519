"""Answers over gRPC that nobody reads. gRPC keeps an answer until its client takes it, and frees the thread at once; so
a client that asks and does not read would fill the memory. Where too much lies unread, who has waited for longest is
hung up on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Protocol

SMALL = 32 * 1024  # bytes; less than this is not worth counting


class Context(Protocol):
    """Of a call."""

    def cancel(self) -> object:
        """Hangs up."""
        ...

    def add_callback(self, callback: Callable[[], None]) -> bool:
        """Has it called when the answer has left, or nobody wants it any more; False when that is so already."""
        ...


class Answers:
    """What has not left yet. Thread-safe.

    Args:
        room: Bytes that may lie unread together. A single answer may be larger.
    """

    def __init__(self, room: int) -> None:
        self._room = room
        self._lock = threading.Lock()
        self._lying: dict[Context, int] = {}  # bytes, oldest first
        self.bytes = 0

    def send(self, context: Context, answer: bytes) -> bytes:
        """The answer, counted until it has left."""
        size = 2 * len(answer)  # gRPC makes a copy, and keeps both
        if size > SMALL:
            with self._lock:
                self._lying[context] = size
                self.bytes += size
            if not context.add_callback(partial(self._left, context)):
                self._left(context)
            if self.bytes > self._room:
                self._make_room(context)
        return answer

    def _left(self, context: Context) -> None:
        with self._lock:
            self.bytes -= self._lying.pop(context, 0)

    def _make_room(self, newest: Context) -> None:
        with self._lock:
            old, over = [], self.bytes - self._room
            for context, size in self._lying.items():
                if over <= 0 or context is newest:
                    break
                old.append(context)
                over -= size
        for context in old:
            context.cancel()
            self._left(context)  # gRPC's own word of it comes later
