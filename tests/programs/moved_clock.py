"""`postil` with a clock that is moved by as many nanoseconds as a file says: moved_clock.py FILE ARGUMENTS…"""

import sys
import time
from pathlib import Path

from postil import cli

offset, true_ns = Path(sys.argv.pop(1)), time.time_ns


def moved_ns() -> int:
    """In the place of `time.time_ns`."""
    return true_ns() + int(offset.read_text())


def moved() -> float:
    """In the place of `time.time`. gRPC sets it against deadlines by the true clock, which it reads natively."""
    asks = str(sys._getframe(1).f_globals.get("__name__"))
    return (moved_ns() if asks.startswith("postil.") else true_ns()) / 1e9


time.time_ns = moved_ns
time.time = moved
cli.main()
