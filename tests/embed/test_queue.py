"""The queue: batches, fairness, errors that stay with their caller, an end that loses nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from postil.embed.base import Matrix, Spec
from postil.embed.queue import BatchingQueue

SPEC = Spec("fake", "0" * 32, "text", 2, "counts")


class Fake:
    """Embeds a number as (number, 1). Writes down its batches; waits at a gate when told to."""

    spec = SPEC
    batch = 4

    def __init__(self) -> None:
        self.batches: list[list[Any]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)

    def prepare(self, content: Any) -> Any:
        if content == "bad to prepare":
            raise ValueError(content)
        return content

    def embed(self, prepared: Sequence[Any]) -> Matrix:
        self.batches.append(list(prepared))
        self.entered.release()
        assert self.gate.wait(10)
        if "bad to embed" in prepared:
            raise ValueError("bad to embed")
        return np.array([[value, 1] for value in prepared], np.float32)


@pytest.fixture
def fake() -> Fake:
    return Fake()


@pytest.fixture
def queue(fake: Fake) -> Iterator[BatchingQueue]:
    made = BatchingQueue(SPEC, lambda: fake, workers=1)
    made.embedder()
    yield made
    fake.gate.set()
    made.close()


def hold(fake: Fake, queue: BatchingQueue) -> None:
    """Occupies the only worker, so that what is submitted next has to wait."""
    fake.gate.clear()
    queue.submit([-1])
    assert fake.entered.acquire(timeout=5)


def firsts(matrix: Matrix) -> list[float]:
    return [float(row[0]) for row in matrix]


def test_rows_come_back_in_order(queue: BatchingQueue) -> None:
    assert firsts(queue.submit(list(range(100))).result(5)) == list(range(100))


def test_single_requests_are_gathered(fake: Fake, queue: BatchingQueue) -> None:
    hold(fake, queue)
    futures = [queue.submit([number]) for number in range(8)]
    fake.gate.set()
    assert [firsts(future.result(5)) for future in futures] == [[number] for number in range(8)]
    assert fake.batches == [[-1], [0, 1, 2, 3], [4, 5, 6, 7]]


def test_a_small_request_does_not_wait_for_a_large_one(fake: Fake, queue: BatchingQueue) -> None:
    hold(fake, queue)
    large = queue.submit(list(range(100)))
    small = queue.submit([1000])
    fake.gate.set()
    small.result(5)
    large.result(5)
    assert 1000 in fake.batches[1]


def test_large_requests_share(fake: Fake, queue: BatchingQueue) -> None:
    hold(fake, queue)
    futures = [queue.submit([caller] * 10) for caller in range(2)]
    fake.gate.set()
    for future in futures:
        future.result(5)
    assert all(sorted(batch) == [0, 0, 1, 1] for batch in fake.batches[1:])


@pytest.mark.parametrize("bad", ["bad to prepare", "bad to embed"])
def test_an_error_reaches_only_its_own_caller(fake: Fake, queue: BatchingQueue, bad: str) -> None:
    hold(fake, queue)
    good = [queue.submit([1]), queue.submit([2, 3])]
    failing = queue.submit([4, bad, 5])
    fake.gate.set()
    assert [firsts(future.result(5)) for future in good] == [[1], [2, 3]]
    with pytest.raises(ValueError, match=bad):
        failing.result(5)
    assert firsts(queue.submit([6]).result(5)) == [6]


def test_several_bad_items_of_one_request_fail_once(queue: BatchingQueue) -> None:
    future = queue.submit(["bad to prepare"] * 9 + ["bad to embed"] * 9)
    with pytest.raises(ValueError, match="bad"):
        future.result(5)
    assert firsts(queue.submit([6]).result(5)) == [6]


def test_what_is_cancelled_is_not_computed(fake: Fake, queue: BatchingQueue) -> None:
    hold(fake, queue)
    gone = queue.submit([1, 2, 3])
    kept = queue.submit([4])
    assert gone.cancel()
    fake.gate.set()
    assert firsts(kept.result(5)) == [4]
    assert fake.batches == [[-1], [4]]


def test_a_queue_of_only_cancelled_requests_goes_on(fake: Fake, queue: BatchingQueue) -> None:
    hold(fake, queue)
    assert queue.submit([1]).cancel()
    fake.gate.set()
    time.sleep(0.05)
    assert firsts(queue.submit([2]).result(5)) == [2]


def test_closing_finishes_what_was_submitted(fake: Fake, queue: BatchingQueue) -> None:
    hold(fake, queue)
    futures = [queue.submit(list(range(10))) for _ in range(5)]
    closing = threading.Thread(target=queue.close)
    closing.start()
    fake.gate.set()
    closing.join(5)
    assert not closing.is_alive()
    assert all(firsts(future.result(0)) == list(range(10)) for future in futures)
    with pytest.raises(RuntimeError, match="closed"):
        queue.submit([1])
    queue.close()


def test_closing_an_unused_queue_loads_nothing() -> None:
    def load() -> Fake:
        raise AssertionError("loaded")

    BatchingQueue(SPEC, load, workers=3).close()


def test_a_failed_load_is_told_and_tried_again(fake: Fake) -> None:
    outcomes: list[Callable[[], Fake]] = [lambda: fake]

    def load() -> Fake:
        if len(outcomes) == 1:
            outcomes.append(outcomes[0])
            raise OSError("disk full")
        return outcomes[1]()

    queue = BatchingQueue(SPEC, load, workers=1)
    with pytest.raises(OSError, match="disk full"):
        queue.submit([1, 2]).result(5)
    assert firsts(queue.submit([3]).result(5)) == [3]
    queue.close()


def test_it_is_loaded_once_for_all_workers(fake: Fake) -> None:
    loads: list[int] = []

    def load() -> Fake:
        loads.append(1)
        time.sleep(0.05)
        return fake

    queue = BatchingQueue(SPEC, load, workers=4)
    futures = [queue.submit([number]) for number in range(40)]
    assert [firsts(future.result(5)) for future in futures] == [[number] for number in range(40)]
    assert len(loads) == 1
    queue.close()


def test_many_callers_at_once(fake: Fake) -> None:
    queue = BatchingQueue(SPEC, lambda: fake, workers=3)
    wrong: list[Any] = []

    def caller(number: int) -> None:
        for turn in range(50):
            wanted = [number * 1000 + turn + step for step in range(turn % 7 + 1)]
            if firsts(queue.submit(wanted).result(10)) != wanted:
                wrong.append(wanted)

    threads = [threading.Thread(target=caller, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    queue.close()
    assert not wrong
    assert max(map(len, fake.batches)) <= Fake.batch


def test_contents_are_let_go_once_prepared(fake: Fake, queue: BatchingQueue) -> None:
    hold(fake, queue)
    future = queue.submit([1, 2, 3])
    (job,) = queue._jobs
    fake.gate.set()
    future.result(5)
    assert job.contents == [None, None, None]
