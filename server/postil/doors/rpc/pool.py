"""The threads that work on calls, and whether calls wait for one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Pool(ThreadPoolExecutor):
    """As the library's, which does not tell how much waits."""

    def __init__(self, threads: int, name: str) -> None:
        super().__init__(threads, name)
        self._waiting: deque[None] = deque()  # appends and pops need no lock, additions would

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        self._waiting.append(None)
        try:
            return super().submit(self._begin, fn, *args, **kwargs)
        except RuntimeError:  # it was shut down
            self._waiting.pop()
            raise

    @property
    def waiting(self) -> int:
        """Calls that no thread has begun with."""
        return len(self._waiting)

    def _begin(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        self._waiting.pop()
        return fn(*args, **kwargs)
