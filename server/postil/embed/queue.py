"""Gathers requests for vectors into batches and runs them on a few threads of their own.

A worker takes what is waiting, one item from each request in turn, up to one batch; it never waits for a batch to
fill. So a lone request starts at once, a crowd is served in batches, and a request of 128 items does not hold up the
one item that came after it. Each worker prepares its own batch (Pillow and onnxruntime let go of the interpreter),
so that preparing and embedding overlap as soon as there are two workers.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple

import numpy as np

from postil import processors
from postil.embed.base import Classifier, Embedder, Matrix, Outputs, Spec


class _Job:
    """One submitted request. Its fields are guarded by the queue's lock."""

    def __init__(self, contents: Sequence[Any], spec: Spec, *, logits: bool) -> None:
        self.contents = list(contents)
        self.future: Future[Any] = Future()
        self.wants_logits = logits
        self.rows = np.empty((len(contents), spec.dim), np.float32)
        self.logits = np.empty((len(contents), spec.classes), np.float32) if logits and spec.classes else None
        self.taken = 0
        self.missing = len(contents)
        self.settled = False

    @property
    def waiting(self) -> bool:
        """Whether items are left to take, and still wanted."""
        return self.taken < len(self.contents) and not self.settled and not self.future.cancelled()

    @property
    def result(self) -> Matrix | Outputs:
        """What the future gives."""
        return Outputs(self.rows, self.logits) if self.wants_logits else self.rows

    def take(self) -> _Item:
        """The next item. The job lets go of its content, so that large pictures are freed as they are prepared."""
        item = _Item(self, self.taken, self.contents[self.taken])
        self.contents[self.taken] = None
        self.taken += 1
        return item


class _Item(NamedTuple):
    """One content of a job."""

    job: _Job
    place: int
    content: Any


class BatchingQueue:
    """Implements `embed.base.EmbedQueue`. Thread-safe.

    Args:
        spec: Of the model that `load` gives; known before it is loaded.
        load: Gives the embedder. Called on a worker, once unless it raises; an error goes to the requests at hand,
            and the next ones try again.
        workers: Threads to prepare and embed on.
    """

    def __init__(self, spec: Spec, load: Callable[[], Embedder], workers: int) -> None:
        self.spec = spec
        self._load = load
        self._embedder: Embedder | None = None
        self._load_lock = threading.Lock()
        self._jobs: deque[_Job] = deque()
        self._lock = threading.Condition()
        self._closed = False
        self._workers = workers
        self._threads: list[threading.Thread] = []

    def submit(self, contents: Sequence[Any]) -> Future[Matrix]:
        """See `EmbedQueue.submit`.

        Raises:
            RuntimeError: The queue is closed.
        """
        return self._submit(_Job(contents, self.spec, logits=False))

    def infer(self, contents: Sequence[Any]) -> Future[Outputs]:
        """See `EmbedQueue.infer`.

        Raises:
            RuntimeError: The queue is closed.
        """
        return self._submit(_Job(contents, self.spec, logits=True))

    def _submit(self, job: _Job) -> Future[Any]:
        if not job.missing:
            job.future.set_result(job.result)
            return job.future
        with self._lock:
            if self._closed:
                raise RuntimeError(f"the queue of {self.spec.model_id} is closed")
            self._jobs.append(job)
            self._start()
            self._lock.notify(job.missing)
        return job.future

    def embedder(self) -> Embedder:
        """The model itself, loaded on first use."""
        with self._load_lock:
            if self._embedder is None:
                self._embedder = self._load()
            return self._embedder

    def close(self) -> None:
        """Finishes what was submitted, then stops the threads. May be called twice."""
        with self._lock:
            self._closed = True
            self._lock.notify_all()
        for thread in self._threads:
            thread.join()

    def _start(self) -> None:
        if not self._threads:
            names = [f"embed-{self.spec.kind}-{n}" for n in range(self._workers)]
            self._threads = [threading.Thread(target=self._work, name=name, daemon=True) for name in names]
            for thread in self._threads:
                thread.start()

    def _work(self) -> None:
        processors.step_back()
        while batch := self._take():
            try:
                self._run(self.embedder(), batch)
            except Exception as error:  # noqa: BLE001 whatever the model raises belongs to those who asked
                self._fail(batch, error)

    def _take(self) -> list[_Item]:
        """The next batch, fairly from the waiting jobs. Empty once the queue is closed and drained."""
        limit = self._embedder.batch if self._embedder else 1
        batch: list[_Item] = []
        with self._lock:
            while not batch:
                self._lock.wait_for(lambda: self._jobs or self._closed)
                if not self._jobs:
                    break
                while self._jobs and len(batch) < limit:
                    job = self._jobs.popleft()
                    if job.waiting:
                        batch.append(job.take())
                        self._jobs.append(job)
        return batch

    def _run(self, embedder: Embedder, batch: Sequence[_Item]) -> None:
        ready: list[_Item] = []
        prepared: list[Any] = []
        for item in batch:
            try:
                prepared.append(embedder.prepare(item.content))
                ready.append(item)
            except Exception as error:  # noqa: BLE001 one bad item is its own caller's
                self._fail([item], error)
        if ready:
            self._embed(embedder, ready, prepared)

    def _embed(self, embedder: Embedder, batch: Sequence[_Item], prepared: Sequence[Any]) -> None:
        try:
            outputs = _infer(embedder, prepared)
        except Exception as error:  # noqa: BLE001 see _work
            if len(batch) == 1:
                self._fail(batch, error)
                return
            # One item may have spoilt the batch: each gets a run of its own, so that only its caller hears of it.
            for item, content in zip(batch, prepared, strict=True):
                self._embed(embedder, [item], [content])
            return
        self._deliver(batch, outputs)

    def _deliver(self, batch: Sequence[_Item], outputs: Outputs) -> None:
        complete: list[_Job] = []
        with self._lock:
            for number, (item, row) in enumerate(zip(batch, outputs.embeddings, strict=True)):
                item.job.rows[item.place] = row
                if item.job.logits is not None and outputs.logits is not None:
                    item.job.logits[item.place] = outputs.logits[number]
                item.job.missing -= 1
                if not item.job.missing:
                    item.job.settled = True
                    complete.append(item.job)
        for job in complete:
            if job.future.set_running_or_notify_cancel():
                job.future.set_result(job.result)

    def _fail(self, batch: Sequence[_Item], error: Exception) -> None:
        failed: list[_Job] = []
        with self._lock:
            for item in batch:
                if not item.job.settled:
                    item.job.settled = True
                    failed.append(item.job)
        for job in failed:
            if job.future.set_running_or_notify_cancel():
                job.future.set_exception(error)


def _infer(embedder: Embedder, prepared: Sequence[Any]) -> Outputs:
    if isinstance(embedder, Classifier):
        return embedder.infer(prepared)
    return Outputs(embedder.embed(prepared), None)
