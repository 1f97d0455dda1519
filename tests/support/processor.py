"""Processor time of other processes, as Linux tells it."""

from __future__ import annotations

import os
from pathlib import Path


def processor_s(pid: int) -> float:
    """Of a process so far, its threads and the system's part included. Raises OSError when it has gone."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
