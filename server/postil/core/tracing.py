"""What a search did and how long each step took, for debug output and metrics."""

from __future__ import annotations

import time
from typing import NamedTuple


class Step(NamedTuple):
    """One step."""

    name: str
    items: int  # what it looked at or gave
    micros: int  # since the step before it


class Trace:
    """Takes notes; cheap enough to be kept always."""

    __slots__ = ("_last", "steps")

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self._last = time.perf_counter_ns()

    def note(self, name: str, items: int) -> None:
        """A step ended."""
        now = time.perf_counter_ns()
        self.steps.append(Step(name, items, (now - self._last) // 1000))
        self._last = now
