"""The audit log: who changed what, and who was turned away, as lines of JSON in the data directory.

Calls hand their lines over without waiting; a thread writes them. When it cannot keep up, or the disk is full, lines
are dropped and counted, and calls go on. Tokens never come here, only the ids of keys.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

FOLDER = "audit"
_NAME = "audit.log"
_KEPT = 9  # older files beside the one that is written to
_WAITING = 10_000  # lines
_TOGETHER = 512  # lines in one write
_CLOSE_S = 5.0

Line = Mapping[str, Any]


class Audit:
    """Appends lines to a file, and starts another file when it has grown. Thread-safe.

    Args:
        data_dir: The data directory.
        size: Bytes at which the next file begins.
        dropped: Called for each line that could not be kept.
    """

    def __init__(self, data_dir: Path, size: int, dropped: Callable[[], object]) -> None:
        self._path = _file(data_dir)
        self._size = size
        self._dropped = dropped
        self._queue: SimpleQueue[Line | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._main, name="audit", daemon=True)
        self._thread.start()

    def note(self, line: Line) -> None:
        """Keeps a line, soon. Never waits, never raises."""
        if self._queue.qsize() >= _WAITING:
            self._dropped()
        else:
            self._queue.put(line)

    def close(self) -> None:
        """Writes what was handed over. Safe to call twice."""
        self._queue.put(None)
        self._thread.join(_CLOSE_S)

    def _main(self) -> None:
        going_on = True
        while going_on:
            lines = [self._queue.get()]
            while len(lines) < _TOGETHER:
                try:
                    lines.append(self._queue.get_nowait())
                except Empty:
                    break
            going_on = None not in lines
            self._write([line for line in lines if line is not None])

    def _write(self, lines: list[Line]) -> None:
        try:
            if lines and append(self._path, lines) >= self._size:
                self._rotate()
        except OSError:
            for _ in lines:
                self._dropped()

    def _rotate(self) -> None:
        """audit.log becomes audit.log.1, that audit.log.2, and so on; the oldest goes."""
        names = [self._path, *(self._path.with_name(f"{_NAME}.{number}") for number in range(1, _KEPT + 1))]
        for older, newer in zip(reversed(names), list(reversed(names))[1:], strict=False):
            if newer.exists():
                newer.replace(older)


def note_once(data_dir: Path, line: Line) -> None:
    """Appends one line from another process than the server's."""
    append(_file(data_dir), [line])


def append(path: Path, lines: list[Line]) -> int:
    """Appends lines in one write, so that those of several processes do not mix; the size of the file then.

    Raises:
        OSError: The disk refused.
    """
    text = "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines)
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, text.encode(errors="backslashreplace"))
        return os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)


def _file(data_dir: Path) -> Path:
    folder = data_dir / FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder / _NAME
