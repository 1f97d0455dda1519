"""Builds and merges segments in the background, one thread for all spaces.

Two kinds of work run a step at a time: *urgent*, a tail that has grown past its bound, and *quiet*, merging segments
once writes have paused. Urgent steps always go first, so a long merge never lets a tail grow.

Merges run inside hnswlib on a second thread at low priority, which hnswlib's own threads inherit. This one stays at
normal priority: a thread that holds Python's lock while the scheduler lets it wait would hold up every search. Urgent
work is not put back either: searches beside a long tail cost more than the work that shortens it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import hnswlib
import numpy as np
import structlog
from numpy.typing import NDArray

from postil import memory, processors
from postil.index import build, planner
from postil.index.distance import Matrix
from postil.index.space import VectorSpace

log = structlog.get_logger(__name__)

# Writes have paused when none came for this long.
IDLE_S = 1.5
# After a failure (a full disk, say) building waits this long.
_RETRY_S = 5.0
# A space whose files are this many changes behind is saved, so that a restart replays little.
_LAG = 10_000


@dataclass(slots=True)
class _Job:
    space: VectorSpace
    build: build.Build


class Builder:
    """Owns the two threads.

    Args:
        spaces: All spaces now.
        applied: The newest change that all of them have taken.
        idle_s: Seconds without writes after which merging starts.
    """

    def __init__(
        self, spaces: Callable[[], Sequence[VectorSpace]], applied: Callable[[], int], idle_s: float = IDLE_S
    ) -> None:
        self._spaces = spaces
        self._applied = applied
        self._idle_s = idle_s
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._wrote = time.monotonic()
        self._urgent: _Job | None = None
        self._quiet: _Job | None = None
        self._grinder = ThreadPoolExecutor(1, "index-grinder", initializer=processors.step_back)
        self._thread = threading.Thread(target=self._run, name="index-builder", daemon=True)
        self._cores = processors.count()

    def start(self) -> None:
        """Starts building. `close` must be called before the interpreter ends."""
        self._wrote = time.monotonic()
        self._thread.start()

    def wrote(self, *, urgent: bool) -> None:
        """A change was applied: puts merges off; `urgent` when it filled a tail."""
        self._wrote = time.monotonic()
        if urgent:
            self._wake.set()

    @property
    def alive(self) -> bool:
        """The thread runs: nobody else may save."""
        return self._thread.is_alive()

    @property
    def busy(self) -> bool:
        """A segment is being built."""
        return self._urgent is not None or self._quiet is not None

    def close(self, timeout: float) -> None:
        """Stops after the current step and abandons what is not finished."""
        self._closing.set()
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join(timeout)
        self._grinder.shutdown(wait=False, cancel_futures=True)

    @property
    def idle(self) -> bool:
        """No writes came for a while."""
        return time.monotonic() - self._wrote >= self._idle_s

    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                if not self._round():
                    self._wake.clear()
                    self._wake.wait(0.25 if not self.idle else 1.0)
            except Exception:
                # Searches go on over the exact tail; a later round tries again.
                log.exception("index_build_failed", retry_s=_RETRY_S)
                self._abandon()
                self._closing.wait(_RETRY_S)
        self._abandon()

    def _round(self) -> bool:
        """Does one step of the most pressing job; False when there is nothing to do."""
        if self._urgent is None:
            self._urgent = self._begin_urgent()
        if self._urgent is not None:
            threads = self._cores if _overfull(self._urgent.space) else 1
            if self._step(self._urgent, threads):
                self._urgent = None
            return True
        if self._quiet is None:
            self._quiet = self._begin_quiet()
        if self._quiet is not None:
            if self._step(self._quiet, self._cores if self.idle else 1):
                self._quiet = None
                memory.give_back()
            return True
        return self._save_one()

    def _step(self, job: _Job, threads: int) -> bool:
        """True when the job has ended."""
        if job.space.gone:
            job.space.abandon(job.build)
            return True
        if job.build.step(threads):
            return False
        applied = self._applied()
        job.space.publish(job.build)
        job.space.save(applied)
        log.info("index_segment_built", rows=len(job.build.rows), **job.space.stats()._asdict())
        return True

    def _begin_urgent(self) -> _Job | None:
        for space in sorted(self._spaces(), key=lambda one: -one.exact_rows):
            if space.exact_rows < planner.seal_rows(space.dim):
                continue
            merge = space.next_merge(idle=False)
            if merge is not None and merge.exact:
                started = space.begin(merge, build.add)
                return _Job(space, started) if started else None
        return None

    def _begin_quiet(self) -> _Job | None:
        idle = self.idle
        for space in self._spaces():
            merge = space.next_merge(idle=idle)
            if merge is None:
                continue
            started = space.begin(merge, self._add_quietly)
            if started is not None:
                return _Job(space, started)
            space.save(self._applied())
        return None

    def _save_one(self) -> bool:
        """Saves a space whose files are far behind, copying its tail to disk as it is."""
        applied = self._applied()
        for space in self._spaces():
            if space.lag(applied) > _LAG:
                save_with_tail(space, applied)
                return True
        return False

    def _abandon(self) -> None:
        for job in (self._urgent, self._quiet):
            if job is not None:
                job.space.abandon(job.build)
        self._urgent = self._quiet = None

    def _add_quietly(self, graph: hnswlib.Index, matrix: Matrix, labels: NDArray[np.int64], threads: int) -> None:
        self._grinder.submit(graph.add_items, matrix, labels, num_threads=threads).result()


def save_with_tail(space: VectorSpace, applied: int) -> None:
    """Copies the tail into a segment without a graph, and saves: nothing up to `applied` needs a replay."""
    started = space.begin_copy()
    if started is not None:
        while started.step(1):
            pass
        space.publish(started)
    space.save(applied)


def _overfull(space: VectorSpace) -> bool:
    """The tail is growing faster than one thread builds."""
    return space.exact_rows > 2 * planner.seal_rows(space.dim)
