"""What must be there: every key's value after the last acknowledged write, and the one write whose fate is open.

Keys are texts such as "input:w0-3-1"; a value compares with what `crash.check` reads back. Each writer has keys of its
own and one write under way at a time, so after a crash its keys are as before that write, or as after it: all of them.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]


class Item(NamedTuple):
    """An input as it must read back. Metadata and the concept's name repeat the mark: a patch is whole, or was not."""

    mark: int
    blob: str  # sha256 of its video, "" without one
    notes: tuple[tuple[str, int], ...]  # annotation id, mark


class Op(NamedTuple):
    """One write."""

    rpc: str
    request: Any
    after: Mapping[str, Any]  # key -> its value, None when the write deletes it
    vectors: Mapping[str, Vector]  # input key -> its new vector
    items: int  # inputs, annotations and so on in it


@dataclass
class Ledger:
    """One writer's keys. Thread-safe: searchers look in while the writer goes on."""

    name: str
    values: dict[str, Any] = field(default_factory=dict)
    vectors: dict[str, Vector] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    recent: set[str] = field(default_factory=set)  # touched since the last check
    pending: Op | None = None
    number: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, op: Op) -> None:
        """The write is about to be sent."""
        with self.lock:
            self.pending = op
            self.number += 1

    def settle(self, *, done: bool) -> None:
        """The write under way was acknowledged, or turned out to have happened or not."""
        with self.lock:
            op, self.pending = self.pending, None
            if op is None:
                return
            self.recent.update(op.after)
            if not done:
                return
            for key, value in op.after.items():
                if value is None:
                    self.values.pop(key, None)
                    self.vectors.pop(key, None)
                    self.gone.add(key)
                else:
                    self.values[key] = value
            self.vectors.update(op.vectors)

    def steady(self, key: str) -> Vector | None:
        """The vector of an input that no write is changing."""
        with self.lock:
            return None if self.pending is not None and key in self.pending.after else self.vectors.get(key)


class Log:
    """The supervisor's record on disk: a line before each write is sent, one after it is acknowledged."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8")
        self._lock = threading.Lock()
        self.calls = 0  # acknowledged
        self.items = 0

    def intent(self, ledger: Ledger, op: Op) -> None:
        """Before it is sent."""
        self._line(writer=ledger.name, op=ledger.number, rpc=op.rpc, intent=sorted(op.after))

    def acknowledged(self, ledger: Ledger, op: Op) -> None:
        """After its answer."""
        with self._lock:
            self.calls += 1
            self.items += op.items
        self._line(writer=ledger.name, op=ledger.number, acknowledged=True)

    def note(self, **what: Any) -> None:
        """Anything else worth having when a case fails."""
        self._line(**what)

    def _line(self, **what: Any) -> None:
        with self._lock:
            self._file.write(json.dumps({"t": round(time.time(), 4), **what}) + "\n")
            self._file.flush()

    def close(self) -> None:
        """Ends it."""
        self._file.close()
