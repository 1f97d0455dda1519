"""The threads that work on calls: how many calls they have, and how few of them work while that is enough.

More threads than processors take the interpreter from each other: each call meets a colder one, and what let go of it,
to have a picture opened or a model run, waits long to get it back, as does the thread that accepts calls. So a few take
calls as they come, and the others step in while those are held up (docs/adr/0028-calls-before-pictures.md).
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_HELD_UP_S = 0.005  # without an eager thread coming back while a call waits


class _Job(NamedTuple):
    """A call that waits for a thread."""

    since: float  # monotonic seconds
    future: Future[Any]
    work: Callable[[], Any]


class Pool(ThreadPoolExecutor):
    """As the library's, whose threads are the spare ones here. It does not tell how much waits, and has all work.

    Args:
        threads: How many at most.
        name: What they are called.
        eager: How many of them take calls as they come; None for all.
    """

    def __init__(self, threads: int, name: str, eager: int | None = None) -> None:
        self._eager = min(threads, eager or threads)
        self._spare = threads - self._eager
        super().__init__(max(1, self._spare), f"{name}-spare")
        self._name = name
        self._jobs: deque[_Job] = deque()  # appends and pops need no lock, additions would
        self._ready: SimpleQueue[None] = SimpleQueue()  # one for each job, for who may take it
        self._open: deque[None] = deque()  # one for each call that has not ended
        self._called: deque[None] = deque()  # one for each spare thread that is called and has not gone back
        self._ended = 0  # by eager threads; only whether it moves is looked at, so a lost addition does no harm
        self._started = 0
        self._lock = threading.Lock()
        self._some = threading.Event()
        self._closed = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        if self._closed:
            raise RuntimeError("the pool was shut down")
        job = _Job(time.monotonic(), Future(), lambda: fn(*args, **kwargs))
        self._open.append(None)
        self._jobs.append(job)
        self._ready.put(None)
        many = len(self._open)
        if self._started < min(many, self._eager):
            self._start()
        if many > self._eager and not self._some.is_set():
            self._some.set()
        return job.future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        with self._lock:
            self._closed = True
        self._some.set()
        for _ in range(self._started):
            self._ready.put(None)  # behind those of the jobs
        super().shutdown(wait, cancel_futures=cancel_futures)

    @property
    def waiting(self) -> int:
        """Calls that no thread has begun with."""
        return len(self._jobs)

    @property
    def waited(self) -> float:
        """Seconds that the next of them has been waiting."""
        try:
            return time.monotonic() - self._jobs[0].since
        except IndexError:
            return 0.0

    def _start(self) -> None:
        """One eager thread more, and with the first one the watch over them."""
        with self._lock:
            if self._closed or self._started == self._eager:
                return
            self._started += 1
            threading.Thread(target=self._come, name=f"{self._name}-{self._started}", daemon=True).start()
            if self._started == 1 and self._spare:
                threading.Thread(target=self._watch, name=f"{self._name}-watch", daemon=True).start()

    def _come(self) -> None:
        """Of an eager thread."""
        while self._one():
            self._ended += 1

    def _step_in(self) -> None:
        """Of a spare thread: works until an eager one is back."""
        ended = self._ended
        while ended == self._ended and self._one(wait=False):
            pass
        self._called.pop()

    def _one(self, *, wait: bool = True) -> bool:
        """Works on one call; False when there is none left. A call of its own, so that a thread which waits for the
        next one keeps nothing of the last alive."""
        try:
            self._ready.get(wait)
            job = self._jobs.popleft()
        except (Empty, IndexError):  # or the pool was shut down
            return False
        try:
            job.future.set_result(job.work())
        except BaseException as error:  # noqa: BLE001 - it belongs to whoever waits
            job.future.set_exception(error)
        finally:
            self._open.pop()
        return True

    def _watch(self) -> None:
        """Calls a spare thread when no eager one has come back for a call for a moment while some wait."""
        while self._some.wait() and not self._closed:
            self._some.clear()  # before looking: who comes now sets it again
            while self._jobs and not self._closed:
                ended = self._ended
                time.sleep(_HELD_UP_S)
                if self._jobs and ended == self._ended and len(self._called) < self._spare and not self._closed:
                    self._called.append(None)
                    with suppress(RuntimeError):  # it was shut down just now
                        super().submit(self._step_in)
