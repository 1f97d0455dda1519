"""Turns at what takes long: so many at once, the others in order, and nobody waits until it is too late."""

from __future__ import annotations

import threading
import time

import pytest

from postil.core.call import Call, Crowded, Gone
from postil.core.turns import Turns


def call(seconds: float | None = None, *, there: bool = True) -> Call:
    deadline = None if seconds is None else time.monotonic() + seconds
    return Call("request", "me", None, deadline=deadline, active=lambda: there)


def test_so_many_at_once() -> None:
    turns, together, most = Turns(2), threading.Semaphore(2), threading.Barrier(2)

    def work() -> None:
        with turns.taken(call(20)):
            assert together.acquire(blocking=False), "a third one"
            most.wait(10)  # two of them are needed to go on
            together.release()

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert not any(thread.is_alive() for thread in threads)


def test_half_of_the_time_is_waited() -> None:
    turns = Turns(1)
    with turns.taken(call()):
        began = time.monotonic()
        with pytest.raises(Crowded) as caught, turns.taken(call(1.0)):
            pass
        assert 0.4 <= time.monotonic() - began <= 0.95
    assert "deadline" in caught.value.details
    with turns.taken(call(1.0)):  # its place came back
        pass


def test_whoever_hung_up_waits_no_longer() -> None:
    turns = Turns(1)
    with turns.taken(call()), pytest.raises(Gone), turns.taken(call(60, there=False)):
        pass


def test_errors_give_the_turn_back() -> None:
    turns = Turns(1)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), turns.taken(call(1)):
            raise ZeroDivisionError
