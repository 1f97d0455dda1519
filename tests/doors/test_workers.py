"""Threads that work for an event loop: few for what is quick, spare ones for what waits behind what is long."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

from postil.doors.http.workers import Closed, Workers

PATIENCE_S = 60


def of_threads(workers: Workers[str], jobs: list[Callable[[], str]]) -> list[str]:
    async def all_of_them() -> list[str]:
        async with asyncio.timeout(PATIENCE_S):
            return list(await asyncio.gather(*map(workers.run, jobs)))

    return asyncio.run(all_of_them())


def name() -> str:
    return threading.current_thread().name


def test_what_is_quick_is_left_to_the_eager() -> None:
    workers = Workers[str](8, "w", 2)
    for _ in range(20):
        assert set(of_threads(workers, [name])) <= {"w-0", "w-1"}
    workers.close()


def test_long_jobs_do_not_hold_up_others() -> None:
    """Three jobs hold a thread each until the last one has run, which needs a fourth thread."""
    workers, go = Workers[str](4, "w", 1), threading.Event()

    def long() -> str:
        assert go.wait(PATIENCE_S)
        return name()

    def quick() -> str:
        go.set()
        return name()

    for _ in range(3):  # spare threads are there for the next time, too
        go.clear()
        names = of_threads(workers, [long, long, long, quick])
        assert set(names) == {"w-0", "w-spare-0", "w-spare-1", "w-spare-2"}
    workers.close()


def test_there_are_no_more_threads_than_promised() -> None:
    workers, go = Workers[str](3, "w", 1), threading.Event()
    running, most, lock = 0, 0, threading.Lock()

    def long() -> str:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
            if running == 3:
                threading.Timer(0.1, go.set).start()  # time for a fourth, were there one
        assert go.wait(PATIENCE_S)
        with lock:
            running -= 1
        return name()

    assert len(of_threads(workers, [long] * 9)) == 9
    assert most == 3
    workers.close()


def test_closing_waits_for_what_was_given_and_takes_no_more() -> None:
    workers = Workers[str](4, "w", 2)
    done: list[str] = []

    def note() -> str:
        done.append(name())
        return name()

    async def leave() -> None:
        given = [asyncio.ensure_future(workers.run(note)) for _ in range(10)]
        await asyncio.sleep(0)
        await asyncio.to_thread(workers.close)
        assert len(done) == 10
        await asyncio.gather(*given)
        with pytest.raises(Closed):
            await workers.run(name)

    asyncio.run(leave())


def test_a_fault_belongs_to_whoever_waits() -> None:
    workers = Workers[str](2, "w", 1)

    def fail() -> str:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        of_threads(workers, [fail])
    assert of_threads(workers, [name]) == ["w-0"]
    workers.close()
