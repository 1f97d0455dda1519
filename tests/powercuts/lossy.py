"""A file system that forgets what was not synced: power cuts below real servers, in the manner of LazyFS (VLDB 2024).

    python -m powercuts.lossy FOLDER MOUNT [lie]

keeps every file twice in FOLDER: as programs see it, and as the disk has it. Writes and truncations reach the second
with an fsync of the file; names (creations, renames, removals) at once, as a journal keeps them, so a rename that comes
before the bytes it names shows. The attribute `user.power` of the mount, set to HOW-SEED, cuts the power. With `lie`,
fsync does nothing, as on a disk that only says that it has synced.
"""

from __future__ import annotations

import ctypes.util
import errno
import importlib
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self

SECTOR = 512
HOWS = ("all", "some", "torn")  # of what was not synced: all is lost; some writes are; sectors of writes are
_CUT = "user.power"
_WAIT_S = 20


class Change(NamedTuple):
    """One write at an offset, or a truncation to it."""

    offset: int
    content: bytes | None


class TwoTrees:
    """The operations, by path below the mount; methods have the names that FUSE gives them. Single-threaded."""

    use_ns = True

    def __init__(self, folder: Path, *, lie: bool) -> None:
        self._seen, self._kept = folder / "seen", folder / "kept"
        self._lie = lie
        self._unsynced: dict[int, list[Change]] = {}  # by inode of the file as it is seen
        for tree in (self._seen, self._kept):
            tree.mkdir(parents=True, exist_ok=True)

    # contents

    def create(self, path: str, mode: int, _info: Any = None) -> int:
        os.close(os.open(self._in(self._kept, path), os.O_CREAT | os.O_WRONLY, mode))
        return os.open(self._in(self._seen, path), os.O_CREAT | os.O_RDWR, mode)

    def open(self, path: str, flags: int) -> int:
        plain = os.O_RDONLY if flags & os.O_ACCMODE == os.O_RDONLY else os.O_RDWR  # offsets of appends come from above
        handle = os.open(self._in(self._seen, path), plain)
        if flags & os.O_TRUNC:
            self._change(handle, Change(0, None))
        return handle

    def read(self, _path: str, size: int, offset: int, handle: int) -> bytes:
        return os.pread(handle, size, offset)

    def write(self, _path: str, content: bytes, offset: int, handle: int) -> int:
        self._change(handle, Change(offset, bytes(content)))
        return len(content)

    def truncate(self, path: str, length: int, _handle: int | None = None) -> int:
        handle = os.open(self._in(self._seen, path), os.O_RDWR)
        try:
            self._change(handle, Change(length, None))
        finally:
            os.close(handle)
        return 0

    def fsync(self, path: str, _data_only: int, handle: int) -> int:
        if not self._lie:
            changes = self._unsynced.pop(os.fstat(handle).st_ino, [])
            apply(self._in(self._kept, path), changes)
        return 0

    def flush(self, _path: str, _handle: int) -> int:
        return 0

    def release(self, _path: str, handle: int) -> int:
        os.close(handle)
        return 0

    def _change(self, handle: int, change: Change) -> None:
        perform(handle, change)
        self._unsynced.setdefault(os.fstat(handle).st_ino, []).append(change)

    # names

    def mkdir(self, path: str, mode: int) -> int:
        return self._both(path, lambda place: place.mkdir(mode))

    def rename(self, old: str, new: str, _flags: int = 0) -> int:
        self._forget(new)
        for tree in (self._seen, self._kept):
            self._in(tree, old).rename(self._in(tree, new))
        return 0

    def unlink(self, path: str) -> int:
        self._forget(path)
        return self._both(path, Path.unlink)

    def rmdir(self, path: str) -> int:
        return self._both(path, Path.rmdir)

    def symlink(self, target: str, source: str) -> int:
        return self._both(target, lambda place: place.symlink_to(source))

    def readlink(self, path: str) -> str:
        return str(self._in(self._seen, path).readlink())

    def chmod(self, path: str, mode: int) -> int:
        return self._both(path, lambda place: place.chmod(mode))

    def chown(self, path: str, user: int, group: int) -> int:
        return self._both(path, lambda place: os.chown(place, user, group))

    def utimens(self, path: str, times: tuple[int, int] | None = None) -> int:
        return self._both(path, lambda place: os.utime(place, ns=times or (time.time_ns(),) * 2))

    def getattr(self, path: str, _handle: int | None = None) -> dict[str, Any]:
        found = self._in(self._seen, path).lstat()
        fields = ("st_mode", "st_nlink", "st_size", "st_ino", "st_uid", "st_gid")
        times = {f"st_{name}time": getattr(found, f"st_{name}time_ns") for name in "amc"}
        return {**{field: getattr(found, field) for field in fields}, **times}

    def readdir(self, path: str, _handle: int) -> list[str]:
        return [".", "..", *(found.name for found in self._in(self._seen, path).iterdir())]

    def statfs(self, _path: str) -> dict[str, int]:
        found = os.statvfs(self._seen)
        return {name: getattr(found, name) for name in ("f_bsize", "f_frsize", "f_blocks", "f_bfree", "f_bavail")}

    def _both(self, path: str, act: Callable[[Path], object]) -> int:
        for tree in (self._seen, self._kept):
            act(self._in(tree, path))
        return 0

    def _forget(self, path: str) -> None:
        """What was written to a file whose name goes."""
        place = self._in(self._seen, path)
        if place.is_file():
            self._unsynced.pop(place.stat().st_ino, None)

    def _in(self, tree: Path, path: str) -> Path:
        return tree / path.lstrip("/")

    # the power

    def setxattr(self, _path: str, name: str, value: bytes, _options: int, _position: int = 0) -> int:
        if name != _CUT:
            raise OSError(errno.ENOTSUP, name)
        how, _, seed = value.decode().partition("-")
        self._cut(how, random.Random(seed))
        return 0

    def _cut(self, how: str, draw: random.Random) -> None:
        for place in [place for place in self._seen.rglob("*") if place.is_file()]:
            changes = self._unsynced.get(place.stat().st_ino)
            if changes:
                kept = self._kept / place.relative_to(self._seen)
                apply(kept, survivors(changes, how, draw))
                with kept.open("rb") as source, place.open("r+b") as target:  # in place: the inode stays
                    target.truncate()
                    shutil.copyfileobj(source, target)
        self._unsynced.clear()


def survivors(changes: list[Change], how: str, draw: random.Random) -> Iterator[Change]:
    """Which unsynced changes the disk has all the same, in the order they were made."""
    for change in changes if how != "all" else []:
        if how == "torn" and change.content is not None:
            for at in range(0, len(change.content), SECTOR):
                if draw.random() < 0.5:
                    yield Change(change.offset + at, change.content[at : at + SECTOR])
        elif draw.random() < 0.5:
            yield change


def apply(path: Path, changes: Iterator[Change] | list[Change]) -> None:
    """Makes the changes in a file."""
    handle = os.open(path, os.O_RDWR)
    try:
        for change in changes:
            perform(handle, change)
    finally:
        os.close(handle)


def perform(handle: int, change: Change) -> None:
    """Makes one change in an open file."""
    if change.content is None:
        os.ftruncate(handle, change.offset)
    else:
        os.pwrite(handle, change.content, change.offset)


class LossyDisk:
    """A mount for a test. Ends with the `with` block.

    Args:
        folder: Where the trees and the mount point are put; on a RAM disk, best.
        lie: fsync does nothing.

    Raises:
        OSError: There is no FUSE here, or no right to mount.
    """

    def __init__(self, folder: Path, *, lie: bool = False) -> None:
        needed()
        self.path = folder / "mount"
        self.path.mkdir(parents=True)
        self.cuts = 0
        command = [sys.executable, "-m", "powercuts.lossy", str(folder), str(self.path), *(["lie"] * lie)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        self._process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        until = time.monotonic() + _WAIT_S
        while not self.path.is_mount():
            if self._process.poll() is not None or time.monotonic() > until:
                self._process.kill()
                raise OSError(errno.ENOTSUP, f"FUSE does not mount: {self._process.communicate()[1][-500:]}")
            time.sleep(0.02)

    def cut(self, how: str, seed: int) -> None:
        """Cuts the power; the processes that used the disk must be dead."""
        os.setxattr(self.path, _CUT, f"{how}-{seed}".encode())
        self.cuts += 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run(["fusermount3", "-u", "-z", str(self.path)], check=False)
        try:
            self._process.communicate(timeout=_WAIT_S)
        except subprocess.TimeoutExpired:  # somebody still has a file of it open
            self._process.kill()
            self._process.communicate()


def needed() -> None:
    """Raises OSError that says what is missing for FUSE."""
    if not Path("/dev/fuse").exists():
        raise OSError(errno.ENODEV, "this system has no FUSE: there is no /dev/fuse")
    if ctypes.util.find_library("fuse3") is None or shutil.which("fusermount3") is None:
        raise OSError(errno.ENOENT, "FUSE's library is missing: apt-get install -y fuse3")


def main(folder: str, mount: str, *lie: str) -> None:
    """Serves until it is unmounted."""
    fuse: Any = importlib.import_module("mfusepy")  # only here; it looks for the library when it is imported

    class Operations(TwoTrees, fuse.Operations):  # type: ignore[misc]
        pass

    # Attributes are asked for again each time: a power cut changes them behind the kernel's back.
    options = {"foreground": True, "nothreads": True, "attr_timeout": 0, "entry_timeout": 0, "negative_timeout": 0}
    fuse.FUSE(Operations(Path(folder), lie=bool(lie)), mount, **options)


if __name__ == "__main__":
    main(*sys.argv[1:])
