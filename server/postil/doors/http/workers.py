"""Threads that work for an event loop. A thread pool of the standard library costs twice as much per call, and half of
what a small call costs here is the way to the thread and back (benchmarks/json_door.py)."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Closed(Exception):
    """The threads have gone home."""


class Workers(Generic[T]):
    """A fixed number of threads, started when they are first needed.

    Args:
        count: How many.
        name: What they are called.
    """

    def __init__(self, count: int, name: str) -> None:
        self._jobs: SimpleQueue[tuple[asyncio.Future[T], Callable[[], T]] | None] = SimpleQueue()
        self._count = count
        self._name = name
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._closed = False

    async def run(self, job: Callable[[], T]) -> T:
        """The result of a job, worked on by a thread.

        Raises:
            Closed: `close` was called.
        """
        if len(self._threads) < self._count:
            self._start()
        if self._closed:
            raise Closed
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._jobs.put((future, job))
        return await future

    def close(self) -> None:
        """Waits for the jobs that were given."""
        with self._lock:
            self._closed = True
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()

    def _start(self) -> None:
        with self._lock:
            while not self._closed and len(self._threads) < self._count:
                thread = threading.Thread(target=self._work, name=f"{self._name}-{len(self._threads)}", daemon=True)
                thread.start()
                self._threads.append(thread)

    def _work(self) -> None:
        while self._one():
            pass

    def _one(self) -> bool:
        """Works on one job; False when there is none left. A call of its own, so that while a thread waits for the
        next job nothing of the last one, which may hold a body of 100 MB, is kept alive by its variables."""
        item = self._jobs.get()
        if item is None:
            return False
        future, job = item
        try:
            result = job()
        except BaseException as error:  # noqa: BLE001 - it belongs to whoever waits
            _hand_over(future, _fail, error)
        else:
            _hand_over(future, _succeed, result)
        return True


def _hand_over(future: asyncio.Future[T], settle: Callable[[asyncio.Future[T], Any], None], what: Any) -> None:
    try:
        future.get_loop().call_soon_threadsafe(settle, future, what)
    except RuntimeError:
        return  # the loop is closed: nobody waits any more


def _succeed(future: asyncio.Future[T], result: T) -> None:
    if not future.done():  # whoever waited may have been cancelled
        future.set_result(result)


def _fail(future: asyncio.Future[Any], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
