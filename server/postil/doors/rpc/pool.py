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
from typing import Any, NamedTuple, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_HELD_UP_S = 0.005  # without a call being taken while one waits


class _Job(NamedTuple):
    """A call that waits for a thread."""

    since: float  # monotonic seconds
    future: Future[Any]
    work: Callable[[], Any]


class Pool(ThreadPoolExecutor):
    """As the library's, which does not tell how much waits, and has every thread work.

    Args:
        threads: How many at most.
        name: What they are called.
        eager: How many of them take calls as they come; None for all.
    """

    def __init__(self, threads: int, name: str, eager: int | None = None) -> None:
        self._eager = min(threads, eager or threads)
        super().__init__(self._eager, name)
        self._spare = ThreadPoolExecutor(max(1, threads - self._eager), f"{name}-spare")
        self._jobs: deque[_Job] = deque()  # appends and pops need no lock, additions would
        self._open: deque[None] = deque()  # one for each call that has not ended
        self._taken = 0  # by eager threads; only whether it moves is looked at, so a lost addition does no harm
        self._some = threading.Event()
        self._closed = False
        if threads > self._eager:
            threading.Thread(target=self._watch, name=f"{name}-watch", daemon=True).start()

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        job = _Job(time.monotonic(), Future(), lambda: fn(*args, **kwargs))
        self._open.append(None)
        self._jobs.append(job)
        try:
            super().submit(self._come)
        except RuntimeError:  # it was shut down
            self._jobs.remove(job)
            self._open.pop()
            raise
        if len(self._open) > self._eager and not self._some.is_set():
            self._some.set()
        return job.future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        super().shutdown(wait, cancel_futures=cancel_futures)
        self._closed = True
        self._some.set()
        self._spare.shutdown(wait, cancel_futures=cancel_futures)

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

    def _come(self) -> None:
        """Of an eager thread, once for each call; a spare one may have taken it."""
        if job := self._take():
            self._taken += 1
            self._work(job)

    def _step_in(self) -> None:
        """Of a spare thread: works until an eager one is back."""
        taken = self._taken
        while taken == self._taken and (job := self._take()):
            self._work(job)

    def _take(self) -> _Job | None:
        try:
            return self._jobs.popleft()
        except IndexError:
            return None

    def _work(self, job: _Job) -> None:
        try:
            job.future.set_result(job.work())
        except BaseException as error:  # noqa: BLE001 - it belongs to whoever waits
            job.future.set_exception(error)
        finally:
            self._open.pop()

    def _watch(self) -> None:
        """Calls a spare thread when no eager one has taken a call for a moment while some wait."""
        while self._some.wait() and not self._closed:
            self._some.clear()  # before looking: who comes now sets it again
            while self._jobs and not self._closed:
                taken = self._taken
                time.sleep(_HELD_UP_S)
                if self._jobs and taken == self._taken and not self._closed:
                    self._spare.submit(self._step_in)
