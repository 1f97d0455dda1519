"""The threads behind the gRPC door: a few work while that is enough, and all of them when those are held up."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import wait

import pytest

from postil.doors.rpc.limits import Room
from postil.doors.rpc.pool import Pool

THREADS, EAGER = 6, 2


@pytest.fixture
def pool() -> Iterator[Pool]:
    made = Pool(THREADS, "test", EAGER)
    yield made
    made.shutdown(wait=True)


def name() -> str:
    return threading.current_thread().name


def held(go: threading.Event) -> Callable[[], str]:
    """A call that is held up."""

    def work() -> str:
        assert go.wait(10)
        return name()

    return work


def test_a_few_threads_do_what_does_not_take_long(pool: Pool) -> None:
    futures = [pool.submit(name) for _ in range(200)]
    wait(futures, 10)
    assert len({future.result() for future in futures}) <= EAGER + 1  # on a busy machine one may step in


def test_the_others_step_in_while_those_are_held_up(pool: Pool) -> None:
    go = threading.Event()
    stuck = [pool.submit(held(go)) for _ in range(EAGER)]
    assert "spare" in pool.submit(name).result(10)
    go.set()
    assert not any("spare" in future.result(10) for future in stuck)


def test_every_thread_may_be_held_up_and_what_waits_is_told(pool: Pool) -> None:
    go = threading.Event()
    stuck = [pool.submit(held(go)) for _ in range(THREADS + 3)]
    until = time.monotonic() + 10
    while pool.waiting > 3 and time.monotonic() < until:
        time.sleep(0.005)
    time.sleep(0.1)
    assert pool.waiting == 3
    assert pool._work_queue.qsize() == 0  # no more are called than there are
    assert pool.waited >= 0.1
    go.set()
    assert len({future.result(10) for future in stuck}) == THREADS
    assert (pool.waiting, pool.waited) == (0, 0.0)


def test_errors_belong_to_whoever_asked(pool: Pool) -> None:
    with pytest.raises(ZeroDivisionError):
        pool.submit(lambda: 1 // 0).result(10)
    assert pool.submit(name).result(10)


def test_without_eager_ones_all_work() -> None:
    pool, together = Pool(THREADS, "test"), threading.Barrier(THREADS)
    futures = [pool.submit(together.wait, 10) for _ in range(THREADS)]
    assert sorted(future.result(10) for future in futures) == list(range(THREADS))
    pool.shutdown(wait=True)


def test_a_pool_that_was_shut_down_takes_nothing(pool: Pool) -> None:
    pool.shutdown(wait=True)
    with pytest.raises(RuntimeError):
        pool.submit(name)
    assert pool.waiting == 0


def test_room_ends_with_the_most_and_earlier_where_calls_wait_long() -> None:
    waited = [0.0]
    room = Room(most=10, always=4, waited=lambda: waited[0])

    def full(calls: int) -> bool:
        return calls >= room  # as gRPC asks

    assert [full(calls) for calls in (0, 4, 9, 10)] == [False, False, False, True]
    waited[0] = 1.0
    assert [full(calls) for calls in (0, 3, 4, 10)] == [False, False, True, True]
