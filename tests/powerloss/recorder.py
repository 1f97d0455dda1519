"""Records what this process does to the files below one folder: SQLite through its VFS, everything else through `os`.

The product runs as it is. Files of our own code are recorded as it syncs and renames them: what lies in them then is
one write. What native code writes (hnswlib saves its graphs itself) is seen when it is synced, too.
"""

from __future__ import annotations

import builtins
import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from powerloss.disk import Disk, Event, Kind
from powerloss.vfs import RecordingVfs

_IGNORED = ("models", "thumbnails")  # derived, large, and checked by their own tests
_VOLATILE = "-shm"  # SQLite's shared memory: never synced, made anew


class Recorder:
    """Follows names and contents, and turns what happens to them into events.

    Args:
        root: The folder; it and what is above it are taken to be on disk.
        disk: Takes the events.
    """

    def __init__(self, root: Path, disk: Disk) -> None:
        self._root = root.resolve()
        self._disk = disk
        self._numbers: dict[Path, int] = {self._root: 0}
        self._known: dict[int, bytes] = {}  # what was last recorded of a file that is not SQLite's

    def _mine(self, path: Any) -> Path | None:
        """The path when it is to be recorded."""
        if not isinstance(path, str | bytes | os.PathLike):
            return None
        full = Path(os.path.abspath(os.fsdecode(path)))  # noqa: PTH100 - a name may be a link, and may not exist
        if self._root not in full.parents or full.name.endswith(_VOLATILE):
            return None
        return None if set(_IGNORED) & set(full.relative_to(self._root).parts) else full

    # names

    def linked(self, path: Path, *, folder: bool = False) -> int:
        """A file or folder is there; new when it was not known."""
        number = self._numbers.get(path)
        if number is None:
            number = self._numbers[path] = self._disk.new_file(folder=folder)
            self._disk.add(Event(Kind.LINK, number, self._folder(path), path.name))
        return number

    def _folder(self, path: Path) -> int:
        parent = path.parent
        return self._numbers[parent] if parent in self._numbers else self.linked(parent, folder=True)

    def _unlinked(self, path: Path) -> None:
        number = self._numbers.pop(path, None)
        if number is not None:
            self._disk.add(Event(Kind.UNLINK, number, self._folder(path), path.name))

    def _moved(self, source: Path, target: Path) -> None:
        number = self.linked(source)
        self._numbers[target] = self._numbers.pop(source)
        old = (self._folder(source), source.name)
        self._disk.add(Event(Kind.MOVE, number, self._folder(target), target.name, old))

    # contents of files that are not SQLite's

    def _look(self, path: Path) -> int:
        """Records what lies in a file now, when that has changed."""
        number = self.linked(path)
        content = path.read_bytes()
        if content != self._known.get(number):
            self._known[number] = content
            self._disk.add(Event(Kind.TRUNCATE, number, offset=0))
            self._disk.add(Event(Kind.WRITE, number, data=content))
        return number

    # what SQLite does: `vfs.Listener`

    def opened(self, path: str) -> None:
        if (mine := self._mine(path)) is not None:
            self.linked(mine)

    def wrote(self, path: str, offset: int, data: bytes) -> None:
        if (mine := self._mine(path)) is not None:
            self._disk.add(Event(Kind.WRITE, self.linked(mine), offset=offset, data=data))

    def truncated(self, path: str, size: int) -> None:
        if (mine := self._mine(path)) is not None:
            self._disk.add(Event(Kind.TRUNCATE, self.linked(mine), offset=size))

    def synced(self, path: str, *, names: bool) -> None:
        if (mine := self._mine(path)) is not None:
            self._disk.add(Event(Kind.SYNC, self.linked(mine)))
            if names:
                self._disk.add(Event(Kind.SYNC_NAMES, self._folder(mine)))

    def removed(self, path: str, *, names: bool) -> None:
        if (mine := self._mine(path)) is not None:
            self._unlinked(mine)
            if names:
                self._disk.add(Event(Kind.SYNC_NAMES, self._folder(mine)))

    # what our own code does

    @contextmanager
    def recording(self) -> Iterator[None]:
        """While this lasts."""
        vfs = RecordingVfs(self)
        replaced = [(os, name, getattr(os, name)) for name in self._wrappers()]
        opened = io.open
        for name, wrap in self._wrappers().items():
            setattr(os, name, wrap(getattr(os, name)))
        io.open = builtins.open = self._opening(opened)
        try:
            yield
        finally:
            io.open = builtins.open = opened
            for owner, name, real in replaced:
                setattr(owner, name, real)
            vfs.close()

    def _wrappers(self) -> dict[str, Callable[[Any], Any]]:
        return {
            "mkdir": self._making,
            "open": self._os_opening,
            "rename": self._renaming,
            "replace": self._renaming,
            "unlink": self._removing,
            "remove": self._removing,
            "rmdir": self._removing,
            "fsync": self._syncing,
            "fdatasync": self._syncing,
        }

    def _making(self, real: Any) -> Any:
        def mkdir(path: Any, *arguments: Any, **options: Any) -> None:
            real(path, *arguments, **options)
            if (mine := self._mine(path)) is not None:
                self.linked(mine, folder=True)

        return mkdir

    def _os_opening(self, real: Any) -> Any:
        def opening(path: Any, flags: int, *arguments: Any, **options: Any) -> int:
            descriptor: int = real(path, flags, *arguments, **options)
            mine = self._mine(path)
            if mine is not None and flags & os.O_CREAT:
                self.linked(mine)
            return descriptor

        return opening

    def _opening(self, real: Any) -> Any:
        def opening(file: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
            result = real(file, mode, *arguments, **options)
            mine = self._mine(file)
            if mine is not None and set(mode) & set("wxa"):
                number = self.linked(mine)
                if "w" in mode and self._known.pop(number, b""):
                    self._disk.add(Event(Kind.TRUNCATE, number, offset=0))
            return result

        return opening

    def _renaming(self, real: Any) -> Any:
        def rename(source: Any, target: Any, **options: Any) -> None:
            before, after = self._mine(source), self._mine(target)
            if before is not None and before.is_file():
                self._look(before)
            real(source, target, **options)
            if before is not None and after is not None:
                self._moved(before, after)

        return rename

    def _removing(self, real: Any) -> Any:
        def remove(path: Any, **options: Any) -> None:
            real(path, **options)
            if (mine := self._mine(path)) is not None:
                self._unlinked(mine)

        return remove

    def _syncing(self, real: Any) -> Any:
        def sync(descriptor: Any) -> None:
            path = Path(f"/proc/self/fd/{descriptor}").resolve()
            mine = self._mine(path)
            if path == self._root or (mine is not None and mine.is_dir()):
                real(descriptor)
                self._disk.add(Event(Kind.SYNC_NAMES, self._numbers.get(path, 0)))
            elif mine is not None:
                number = self._look(mine)
                real(descriptor)
                self._disk.add(Event(Kind.SYNC, number))
            else:
                real(descriptor)

        return sync
