"""A server that is going to die: the product as it is, or armed with a moment (`crash.armed`)."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from support.server import Server, command

TESTS = Path(__file__).resolve().parent.parent
WAIT_S = 60


class Died(Exception):
    """It ended before it was ready. `args` are how, -9 for a kill, and the end of its log."""


class Plan(NamedTuple):
    """How one server is to die."""

    moment: str = ""  # of `armed.MOMENTS`; "" for the product as it is
    hit: int = 1
    load_s: float = 1.0  # the load; when it is over the server is killed from outside
    start_s: float | None = None  # killed so long after it was started, ready or not
    term_first_s: float | None = None  # SIGTERM, and so long afterwards SIGKILL
    rehost: bool = False  # under another public URL than last time

    def __str__(self) -> str:
        if self.moment:
            return f"{self.moment} #{self.hit}"
        if self.start_s is not None:
            return "while starting"
        return "at random" if self.term_first_s is None else "while stopping"


class Victim(Server):
    """Starts like `Server`, in an environment where `crash` can be imported.

    Raises:
        Died: It ended before it was ready.
    """

    def __init__(self, folder: Path, plan: Plan, seed: int, *options: str) -> None:
        self._plan = plan
        self._seed = seed
        self._timer: threading.Timer | None = None
        try:
            super().__init__(folder, *options)
        except RuntimeError as error:
            code = self.process.wait(WAIT_S)
            self._close_output()
            raise Died(code, str(error)) from error

    def _program(self, *arguments: str) -> list[str]:
        if not self._plan.moment:
            return command(*arguments)
        armed = [self._plan.moment, str(self._plan.hit), str(self._seed)]
        return [sys.executable, "-m", "crash.armed", *armed, *arguments]

    def _environment(self) -> dict[str, str]:
        inherited = super()._environment()
        path = [str(TESTS), *inherited.get("PYTHONPATH", "").split(os.pathsep)]
        return {**inherited, "PYTHONPATH": os.pathsep.join(filter(None, path))}

    def _first_line(self) -> str:
        if self._plan.start_s is not None:
            self._timer = threading.Timer(self._plan.start_s, self.process.kill)
            self._timer.start()
        return super()._first_line()

    @property
    def dead(self) -> bool:
        """It has ended."""
        return self.process.poll() is not None

    def wait(self, seconds: float) -> bool:
        """True when it ended within so many seconds."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def finish(self) -> int:
        """Kills it if it lives; gives how it ended, -9 for the signal."""
        if self._plan.term_first_s is not None and not self.dead:
            self.process.send_signal(signal.SIGTERM)
            self.wait(self._plan.term_first_s)
        if not self.dead:
            os.kill(self.process.pid, signal.SIGKILL)
        code = self.process.wait(WAIT_S)
        self._disconnect()
        self._close_output()
        if self._timer is not None:
            self._timer.join()
        return code


def drawn(rng: random.Random, moments: dict[str, int], reached: Counter[str], *, fresh: bool) -> Plan:
    """A way to die; rather at moments seldom reached so far. `fresh`: the directory is new, or has an older schema."""
    load = rng.choice((0.1, 0.4, 0.8, 1.2))
    if fresh and rng.random() < 0.7:
        early = [name for name in moments if name.startswith("migration.")]
        name = rng.choice(early)
        return Plan(name, rng.randint(1, moments[name]), load)
    chance = rng.random()
    if chance < 0.25:
        return Plan(load_s=load)
    if chance < 0.33:
        return Plan(start_s=rng.uniform(0.3, 2.0), load_s=load)
    if chance < 0.4:
        return Plan(load_s=load, term_first_s=rng.uniform(0, 0.4))
    names = rng.sample([name for name in moments if not name.startswith("migration.")], 3)
    name = min(names, key=reached.__getitem__)
    rehost = name.startswith("rehost.")
    term = 3.0 if name.startswith(("segment.", "manifest.", "catalog.")) and rng.random() < 0.3 else None
    long = 3.0 if name.startswith("sweep.") else 0.0  # it begins when all pages were looked through
    load = rng.choice((0.6, 1.5)) + long
    return Plan(name, rng.randint(1, moments[name]), load, term_first_s=term, rehost=rehost)
