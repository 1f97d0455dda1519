"""How many processors there are for this process, and who steps back."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from postil import processors


@pytest.mark.parametrize(
    ("text", "quota"), [("150000 100000\n", 1.5), ("max 100000\n", None), ("", None), ("1 0", None), ("x y", None)]
)
def test_reads_the_quota_of_a_container(tmp_path: Path, text: str, quota: float | None) -> None:
    file = tmp_path / "cpu.max"
    file.write_text(text)
    assert processors._quota(file) == quota
    assert processors._quota(tmp_path / "nowhere") is None


def test_a_quota_is_rounded_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processors, "_CGROUP", tmp_path / "cpu.max")
    (tmp_path / "cpu.max").write_text("20000 100000")
    assert processors.count() == 1


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process be kept to some processors")
def test_counts_those_it_may_run_on() -> None:
    program = "import os; os.sched_setaffinity(0, {0}); from postil import processors; print(processors.count())"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert told.strip() == "1"


@pytest.mark.skipif(sys.platform != "linux", reason="niceness is of threads on Linux alone")
def test_a_thread_steps_back_alone() -> None:
    found = []

    def work() -> None:
        processors.step_back()
        found.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))

    before = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [max(before, 10)]
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == before
