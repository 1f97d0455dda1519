"""Threads that work for an event loop. A thread pool of the standard library costs twice as much per call, and half of
what a small call costs here is the way to the thread and back (benchmarks/json_door.py).

Few threads do the everyday work: more of them take the interpreter from each other, and each call meets a colder one.
When all of these are held up by long calls, spare ones step in (adr/0022).
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

T = TypeVar("T")

_HELD_UP_S = 0.005  # without a job being taken while one waits: a spare thread steps in


class Closed(Exception):
    """The threads have gone home."""


class Workers(Generic[T]):
    """A number of threads, started when they are first needed.

    Args:
        count: How many at most.
        name: What they are called.
        eager: How many take jobs as they come; None for all. The others take those that would wait for long ones.
    """

    def __init__(self, count: int, name: str, eager: int | None = None) -> None:
        self._jobs: SimpleQueue[tuple[asyncio.Future[T], Callable[[], T]] | None] = SimpleQueue()
        self._alarms: SimpleQueue[bool] = SimpleQueue()  # True calls a spare thread, False sends it home
        self._eager = min(count, eager or count)
        self._most = count - self._eager
        self._name = name
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._spare: list[threading.Thread] = []
        self._closed = False
        # Of the event loop:
        self._given = 0  # jobs, ever
        self._open = 0  # jobs, now
        self._watch: asyncio.TimerHandle | None = None

    async def run(self, job: Callable[[], T]) -> T:
        """The result of a job, worked on by a thread.

        Raises:
            Closed: `close` was called.
        """
        if len(self._threads) < self._eager:
            self._start()
        if self._closed:
            raise Closed
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._given += 1
        self._open += 1
        self._jobs.put((future, job))
        if self._open > self._eager and self._watch is None and self._most:
            self._watch = loop.call_later(_HELD_UP_S, self._look, self._taken())
        try:
            return await future
        finally:
            self._open -= 1
            if not self._open and self._watch is not None:
                self._watch.cancel()
                self._watch = None

    def close(self) -> None:
        """Waits for the jobs that were given."""
        with self._lock:
            self._closed = True
        for _ in self._threads:
            self._jobs.put(None)
        for _ in self._spare:
            self._alarms.put(False)
        for thread in [*self._threads, *self._spare]:
            thread.join()

    def _taken(self) -> int:
        return self._given - self._jobs.qsize()

    def _look(self, before: int) -> None:
        """Calls a spare thread when none has taken a job since the last look; looks again while jobs wait."""
        self._watch = None
        if self._closed or not self._jobs.qsize():
            return
        taken = self._taken()
        if taken == before:
            self._call_spare()
        self._watch = asyncio.get_running_loop().call_later(_HELD_UP_S, self._look, taken)

    def _call_spare(self) -> None:
        with self._lock:
            if not self._closed and len(self._spare) < self._most:
                self._spare.append(self._thread(f"{self._name}-spare-{len(self._spare)}", self._stand_by))
        if not self._alarms.qsize():
            self._alarms.put(True)

    def _start(self) -> None:
        with self._lock:
            while not self._closed and len(self._threads) < self._eager:
                self._threads.append(self._thread(f"{self._name}-{len(self._threads)}", self._work))

    def _thread(self, name: str, target: Callable[[], None]) -> threading.Thread:
        thread = threading.Thread(target=target, name=name, daemon=True)
        thread.start()
        return thread

    def _work(self) -> None:
        while self._one():
            pass

    def _stand_by(self) -> None:
        """Of a spare thread: works while jobs wait, each time it is called."""
        while self._alarms.get():
            while self._one(wait=False):
                pass

    def _one(self, *, wait: bool = True) -> bool:
        """Works on one job; False when there is none left. A call of its own, so that while a thread waits for the
        next job nothing of the last one, which may hold a body of 100 MB, is kept alive by its variables."""
        try:
            item = self._jobs.get(wait)
        except Empty:
            return False
        if item is None:
            if not wait:
                self._jobs.put(None)  # meant for one that waits
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
