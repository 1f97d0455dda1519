"""Turns at what takes long: opening a picture and running a model on it.

Where more calls want that than there is time for, all of them begun at once end too late, and what was done for them is
lost. So a few are worked on at a time, the others wait in order, and one that has waited for half of the time that its
caller gave it is refused while there is still time to ask again (docs/adr/0028-calls-before-pictures.md).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from postil import processors
from postil.core.call import LOOK_S, Call, Crowded

_EACH = 3  # for each processor: one's picture is being opened, one is embedded, one is ready


class Turns:
    """So many calls at once. Thread-safe.

    Args:
        count: How many; by default as many as keep the processors busy.
    """

    def __init__(self, count: int = 0) -> None:
        self._free = threading.Semaphore(count or _EACH * processors.count())

    @contextmanager
    def taken(self, call: Call) -> Iterator[None]:
        """Waits for a turn, and has it meanwhile.

        Raises:
            Crowded: Half the time that is left has passed.
            Gone: The caller has hung up.
        """
        if not self._free.acquire(blocking=False):
            self._wait(call)
        try:
            yield
        finally:
            self._free.release()

    def _wait(self, call: Call) -> None:
        end = time.monotonic() + call.remaining() / 2
        while not self._free.acquire(timeout=max(0.0, min(LOOK_S, end - time.monotonic()))):
            call.check()
            if time.monotonic() >= end:
                raise Crowded
