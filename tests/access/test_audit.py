"""The audit log as a file: it turns over by size, and what cannot be kept is counted instead of waited for."""

from __future__ import annotations

import json
import threading
from pathlib import Path

from postil.audit import Audit, note_once


def test_files_turn_over_and_the_oldest_go(tmp_path: Path) -> None:
    for number in range(14):
        audit = Audit(tmp_path, 1, lambda: None)  # any line is enough for a file
        audit.note({"n": number})
        audit.close()
    files = sorted(path.name for path in (tmp_path / "audit").iterdir())
    assert files == sorted(f"audit.log.{number}" for number in range(1, 10))
    assert json.loads((tmp_path / "audit/audit.log.1").read_text()) == {"n": 13}
    assert json.loads((tmp_path / "audit/audit.log.9").read_text()) == {"n": 5}


def test_lines_of_many_threads_and_another_process_do_not_mix(tmp_path: Path) -> None:
    audit = Audit(tmp_path, 1 << 30, lambda: None)

    def write(name: int) -> None:
        for number in range(200):
            audit.note({"from": name, "n": number})

    threads = [threading.Thread(target=write, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for number in range(20):
        note_once(tmp_path, {"from": "beside", "n": number})
    for thread in threads:
        thread.join()
    audit.close()
    lines = [json.loads(line) for line in (tmp_path / "audit/audit.log").read_text().splitlines()]
    assert len(lines) == 820
    assert [line["n"] for line in lines if line["from"] == 2] == list(range(200))


def test_what_the_disk_refuses_is_counted(tmp_path: Path) -> None:
    dropped: list[int] = []
    audit = Audit(tmp_path, 1 << 20, lambda: dropped.append(1))
    (tmp_path / "audit/audit.log").mkdir()  # cannot be written to
    audit.note({"n": 1})
    audit.note({"n": 2})
    audit.close()
    assert len(dropped) == 2
