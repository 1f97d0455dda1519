"""A server whose clock a test sets: the product, with what `time` tells of the date moved by seconds in a file."""

from __future__ import annotations

import sys
from pathlib import Path

from support.server import Server, command

_PROGRAM = Path(__file__).parent.parent / "programs" / "moved_clock.py"


class SetServer(Server):
    """Its clock is right until it is `set`."""

    def __init__(self, folder: Path, *options: str) -> None:
        self._offset = folder / "offset"
        self.set(0)
        super().__init__(folder, *options)

    def set(self, seconds: float) -> None:
        """Sets the clock forward, or back, against the true time. At once."""
        fresh = self._offset.with_suffix(".new")
        fresh.write_text(str(int(seconds * 1e9)))
        fresh.replace(self._offset)

    def _program(self, *arguments: str) -> list[str]:
        return [sys.executable, str(_PROGRAM), str(self._offset), *command(*arguments)[3:]]
