"""Blobs as files named by the sha256 of their content: `blobs/ab/cdef…`.

A file under its final name is complete and durable: it was written aside, fsynced, renamed, and its directory fsynced.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

from postil.store.base import Corrupt
from postil.store.damage import refused

_DIGEST = re.compile(r"[0-9a-f]{64}")
_PARTIAL = ".partial-"
_REMEMBERED = 10_000  # files known to be what was put: 2 MB; others are compared again before they are sent


class FileBlobs:
    """Content-addressed files under one directory. Thread-safe."""

    def __init__(self, root: Path) -> None:
        self._root = root
        # Between a put that finds its content present and the op that refers to it, a sweep must not come.
        self._sweeping = threading.Lock()
        self._opened = time.time(), time.monotonic()
        self._sound: dict[str, int] = {}  # digest -> time of the file that was compared with it
        self._durable: set[Path] = set()  # folders whose names are on disk

    def put(self, content: bytes) -> str:
        digest = hashlib.sha256(content).hexdigest()
        path = self._place(digest)
        if self.keep(digest):
            sync_directory(path.parent)  # whoever renamed it may not have come this far
        if not intact(path, digest):  # new, or damaged since: what is put again is whole again
            self._write(path, content)
        return digest

    def keep(self, digest: str) -> bool:
        """Makes it young again, so that a sweep leaves it to whoever is about to refer to it; False when it is gone."""
        with self._sweeping:
            try:
                os.utime(self._place(digest))
            except FileNotFoundError:
                return False
        return True

    def _write(self, path: Path, content: bytes) -> None:
        """Raises WriteFailed."""
        try:
            self._write_aside(path, content)
            sync_directory(path.parent)
        except OSError as error:
            raise refused(OSError(error.errno, error.strerror, str(path))) from error

    def _write_aside(self, path: Path, content: bytes) -> None:
        if path.parent not in self._durable:
            # Also when the folder is there: whoever made it may not have come as far as to make its name durable.
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            sync_directory(self._root)
            self._durable.add(path.parent)
        descriptor, partial = tempfile.mkstemp(prefix=_PARTIAL, dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(partial).replace(path)
        except BaseException:
            Path(partial).unlink(missing_ok=True)
            raise

    def get(self, digest: str) -> bytes | None:
        path = self.path(digest)
        if path is None:
            return None
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None  # swept since
        if hashlib.sha256(content).hexdigest() != digest:
            raise Corrupt(f"The file {path} is not what was put there. Post the same content again to mend it.")
        return content

    def path(self, digest: str) -> Path | None:
        """Where the content lies, or None when there is none; a text that is no digest names nothing."""
        if _DIGEST.fullmatch(digest) is None:
            return None
        path = self._place(digest)
        return path if path.is_file() else None

    def checked(self, digest: str) -> Path | None:
        """As `path`, for whoever sends the file without looking: it is compared with its digest, once for each
        time that it was put. Raises Corrupt."""
        path = self.path(digest)
        try:
            seen = path.stat().st_mtime_ns if path is not None else 0
        except FileNotFoundError:
            return None  # swept since
        if path is not None and self._sound.get(digest) != seen:
            if not intact(path, digest):
                raise Corrupt(f"The file {path} is not what was put there. Post the same content again to mend it.")
            if len(self._sound) >= _REMEMBERED:
                self._sound = {}
            self._sound[digest] = seen
        return path

    def sweep(self, keep: Callable[[str], bool], older_than_s: float, go_on: Callable[[], bool] = lambda: True) -> int:
        """Asks `keep` about each file last put more than `older_than_s` seconds ago, and removes it on False.

        What an interrupted put left behind is removed as well, once it is as old. Nothing is while something is pinned:
        a backup waits for one folder at most, and what is left waits for the next sweep. `go_on` is asked after each
        folder.
        """
        removed = 0
        for folder in self._folders():
            try:
                pin = Pin(self._root, alone=True)
            except BlockingIOError:  # a backup is being taken; another time
                break
            with pin:
                removed += self._sweep(folder, keep, self._now() - older_than_s)
            if not go_on():
                break
        return removed

    def _now(self) -> float:
        """The time, as if nobody had set the clock forward since we began: that makes nothing old."""
        wall, steady = self._opened
        return min(time.time(), wall + time.monotonic() - steady)

    def _sweep(self, folder: Path, keep: Callable[[str], bool], horizon: float) -> int:
        removed = 0
        for path in _files(folder):
            with self._sweeping:
                try:
                    young = path.stat().st_mtime > horizon
                except FileNotFoundError:
                    continue
                if young or (not path.name.startswith(_PARTIAL) and keep(path.parent.name + path.name)):
                    continue
                path.unlink(missing_ok=True)
                removed += 1
        return removed

    def digests(self) -> Iterator[str]:
        """Every digest stored, in no order."""
        for folder in self._folders():
            for path in _files(folder):
                digest = path.parent.name + path.name
                if _DIGEST.fullmatch(digest) is not None:
                    yield digest

    def _folders(self) -> list[Path]:
        return [path for path in self._root.iterdir() if path.is_dir()] if self._root.is_dir() else []

    def _place(self, digest: str) -> Path:
        return self._root / digest[:2] / digest[2:]


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.iterdir() if path.is_file())


def make_directory(directory: Path) -> None:
    """Makes a folder that is there after a power cut: its name, and those of what was missing above it, are durable."""
    missing = [path for path in (directory, *directory.parents) if not path.exists()]
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    # The one right above even when nothing was missing: whoever made the folder may have been killed on the way.
    for path in {directory.absolute().parent, *(path.absolute().parent for path in missing)}:
        with contextlib.suppress(PermissionError):  # a folder of somebody else's, that is not new
            sync_directory(path)


class Pin:
    """While it is held nothing is swept, in this process or another.

    Args:
        root: The folder of the blobs.
        alone: The sweeper's own: raises BlockingIOError when somebody holds one.
    """

    def __init__(self, root: Path, *, alone: bool = False) -> None:
        self._handle = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB if alone else fcntl.LOCK_SH)
        except BaseException:
            os.close(self._handle)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._handle)


def sync_directory(directory: Path) -> None:
    """Makes a rename or a new folder durable: fsync of the file alone does not."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def intact(path: Path, digest: str) -> bool:
    """Whether a file is there and has this sha256. Memory does not grow with it. Pipes and devices, whose reading need
    not end, are none."""
    if not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == digest
    except FileNotFoundError:
        return False
