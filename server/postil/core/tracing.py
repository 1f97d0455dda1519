"""What a search did and how long each step took, for debug output and metrics."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from postil.index.base import Plan
from postil.v1.search_pb2 import SearchDebug, SearchStep

_PLANS = ("nearest", "labels", "threshold", "scan", "list")  # steps that put hits in order


class Step(NamedTuple):
    """One step."""

    name: str
    items: int  # what it looked at or gave
    micros: int  # since the step before it


class Trace:
    """Takes notes of one search; cheap enough to be kept always.

    Args:
        observe: Told of the plan of each walk through an index.
    """

    __slots__ = ("_last", "_observe", "steps", "walks")

    def __init__(self, observe: Callable[[Plan], None]) -> None:
        self.steps: list[Step] = []
        self.walks: list[Plan] = []
        self._observe = observe
        self._last = time.perf_counter_ns()

    def walked(self, plan: Plan) -> None:
        """An index was asked."""
        self.walks.append(plan)
        self._observe(plan)

    def note(self, name: str, items: int) -> None:
        """A step ended."""
        now = time.perf_counter_ns()
        self.steps.append(Step(name, items, (now - self._last) // 1000))
        self._last = now

    def message(self) -> SearchDebug:
        """The notes for whoever asked."""
        plans = dict.fromkeys(step.name for step in self.steps if step.name in _PLANS)
        return SearchDebug(
            plan="+".join(plans),
            walks=[plan.value for plan in self.walks],
            matching=next((step.items for step in self.steps if step.name == "filter"), 0),
            steps=[SearchStep(name=step.name, items=step.items, micros=step.micros) for step in self.steps],
        )
