"""Server processes under test: started, watched, killed."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_TICKS = 100  # of a second of CPU time in /proc, on every Linux that matters


class Process:
    """A child that prints a line when it is ready."""

    def __init__(self, command: list[str], ready: str, log: Path) -> None:
        self.started = time.perf_counter()
        self._log = log.open("ab")
        self._child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self._log, text=True, cwd=ROOT)
        self.line = self._wait(command, ready)
        self.ready_seconds = time.perf_counter() - self.started

    def _wait(self, command: list[str], ready: str) -> str:
        assert self._child.stdout is not None  # noqa: S101 - asked for above
        for line in self._child.stdout:
            if line.startswith(ready):
                return line.strip()
        raise RuntimeError(f"{command} ended without a line {ready!r}; see {self._log.name}")

    @property
    def pid(self) -> int:
        return self._child.pid

    def resident_mib(self) -> float:
        """Resident memory of the process and its children, private and shared; what they share counts for each."""
        statuses = [Path(f"/proc/{pid}/status").read_text() for pid in self._family()]
        lines = (line for status in statuses for line in status.splitlines() if line.startswith("VmRSS:"))
        return sum(int(line.split()[1]) for line in lines) / 1024

    def cpu_seconds(self) -> float:
        """User and system time so far, of all threads and of its child processes."""
        return sum(map(_cpu_seconds, self._family()))

    def _family(self) -> list[int]:
        """The process and its children: pictures are decoded in those."""
        lists = Path(f"/proc/{self.pid}/task").glob("*/children")
        return [self.pid, *(int(child) for found in lists for child in found.read_text().split())]

    def settle(self, limit: float = 300.0) -> float:
        """Seconds until it has been idle for one; what goes on in the background after a load is done then."""
        started, quiet = time.perf_counter(), 0
        before = self.cpu_seconds()
        while quiet < 4 and time.perf_counter() - started < limit:
            time.sleep(0.25)
            now = self.cpu_seconds()
            quiet = quiet + 1 if now - before < 0.03 else 0
            before = now
        return max(0.0, time.perf_counter() - started - 1.0)

    def kill(self) -> None:
        """Makes sure that it is gone."""
        if self._child.poll() is None:
            self._child.kill()
            self._child.wait(timeout=60)

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Signals it, waits, and gives the exit code."""
        self._child.send_signal(how)
        code = self._child.wait(timeout=60)
        self._log.close()
        return code


class Postil(Process):
    """The product, on a data directory, with free ports."""

    def __init__(self, data_dir: Path) -> None:
        serve = ["serve", "--data-dir", str(data_dir), "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0"]
        super().__init__([sys.executable, "-m", "postil.cli", *serve], "postil ready ", data_dir.with_suffix(".log"))
        self.address = self.line.split("grpc=")[1].split()[0]


class Floor(Process):
    """The bare server of `floor.py`."""

    def __init__(self, index: Path, dim: int, ef: int, response: Path) -> None:
        options = {"--index": index, "--dim": dim, "--ef": ef, "--response": response}
        arguments = [str(word) for pair in options.items() for word in pair]
        super().__init__(
            [sys.executable, "-m", "benchmarks.floor", *arguments], "floor ready ", index.with_suffix(".log")
        )
        self.address = self.line.split()[-1]


def _cpu_seconds(pid: int) -> float:
    """Of one process and of the children that it has waited for; 0 when it has gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return 0.0
    return sum(map(int, fields[11:15])) / _TICKS
