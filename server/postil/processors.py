"""The processors that this process may use: how many there are, and who goes first."""

from __future__ import annotations

import contextlib
import math
import os
import sys
import threading
from pathlib import Path

# Niceness. Where there is not enough for all, beside one thread that is always busy and beside four of them:
BEHIND_CALLS = 10  # a tenth, and next to nothing
LONG_WORK = 3  # a third, and a tenth: what nobody waits for must come to an end, too
_CGROUP = Path("/sys/fs/cgroup/cpu.max")  # as a container sees it


def count() -> int:
    """Those of the machine that it may run on, within the quota of its container; at least 1. As many threads are worth
    it for what computes, and no more."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, math.ceil(_quota(_CGROUP) or cores)))


def _quota(file: Path) -> float | None:
    """Processors' worth of time that a control group allows (cgroup v2: "MICROSECONDS PERIOD"); None for no limit."""
    try:
        allowed, period = file.read_text(encoding="ascii").split()
        return int(allowed) / int(period)
    except (OSError, ValueError, ZeroDivisionError):  # there is none, or it is "max"
        return None


def step_back(niceness: int = BEHIND_CALLS) -> None:
    """Lets calls go first: for threads that open pictures, run models, build or train.

    They compute for long without the interpreter. What needs it for a moment, to accept a call or to refuse one, would
    wait a turn for each of them (docs/adr/0028-calls-before-pictures.md). Where nothing else is to be done they are as
    fast as ever. Only Linux gives a thread a niceness of its own; elsewhere this does nothing.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # it may have a worse one already
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), niceness)
