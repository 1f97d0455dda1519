"""Smaller versions of pictures, made when somebody asks for one and kept in a bounded folder.

Everything here is derived: the folder may be deleted at any time. A thumbnail is only served while its original is
there, and what lost its original goes at the next start.
"""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from postil.media.pictures import Opener

# Longest edge in pixels, by the names that published clients know. "orig" is the file as it came.
SIZES: dict[str, int] = {"tiny": 100, "small": 300, "large": 1000}

_QUALITY = 85
_KEEP = 0.8  # of the capacity, after the oldest were dropped
_SUM = hashlib.sha256().digest_size
_MAKERS = 2  # at once: each holds a whole file, and decodes it
_PARTIAL = ".partial-"


class Thumbnails:
    """Finds or makes thumbnails. Thread-safe.

    Args:
        root: Folder of the files, created when needed.
        reader: Opens originals within its limits.
        capacity: Bytes of all files together.
    """

    def __init__(self, root: Path, reader: Opener, capacity: int = 256 * 1024 * 1024) -> None:
        self._root = root
        self._reader = reader
        self._capacity = capacity
        self._lock = threading.Lock()
        self._making = threading.BoundedSemaphore(_MAKERS)
        self._size = sum(path.stat().st_size for path in self._files())

    def path(self, digest: str, size: str, original: Path) -> Path:
        """The file of a thumbnail: JPEG with a longest edge of `SIZES[size]` pixels, never larger than the picture.

        Args:
            digest: Names the original.
            size: A key of `SIZES`.
            original: The file to make it from.

        Raises:
            Failure: The original is not a picture that can be read.
            FileNotFoundError: The original went away meanwhile.
        OSError: The disk is full.
        """
        place = self._root / size / digest
        if not _whole(place):  # not made yet, or damaged since
            with self._making:
                self._put(place, shrunk(self._reader, original.read_bytes(), SIZES[size]))
        return place

    def sweep(self, keep: Callable[[str], bool]) -> int:
        """Asks `keep` about the digest of each file, and removes it on False; returns how many went."""
        removed = 0
        for path in self._files():
            if not keep(path.name):
                self._remove(path)
                removed += 1
        return removed

    def _put(self, place: Path, content: bytes) -> None:
        """A file under its final name is complete, after a power cut too: its bytes are on disk before its name is."""
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, partial = tempfile.mkstemp(prefix=_PARTIAL, dir=place.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content + hashlib.sha256(content).digest())
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            Path(partial).unlink(missing_ok=True)
            raise
        with self._lock:
            if not place.exists():
                self._size += len(content) + _SUM
            Path(partial).replace(place)
            if self._size > self._capacity:
                self._prune(place)

    def _prune(self, newest: Path) -> None:
        """Drops what was not asked for the longest."""
        for path in sorted(self._files(), key=_age):
            if self._size <= self._capacity * _KEEP:
                return
            if path != newest:
                self._drop(path)

    def _remove(self, path: Path) -> None:
        with self._lock:
            self._drop(path)

    def _drop(self, path: Path) -> None:
        try:
            size = path.stat().st_size
            path.unlink()
        except FileNotFoundError:
            return
        self._size -= size

    def _files(self) -> list[Path]:
        return [path for path in self._root.glob("*/*") if path.is_file()]


def _whole(path: Path) -> bool:
    """Whether a thumbnail is there as it was made: its checksum follows the picture, where decoders do not look."""
    try:
        os.utime(path)  # young again
        content = path.read_bytes()
    except FileNotFoundError:
        return False
    return hashlib.sha256(content[:-_SUM]).digest() == content[-_SUM:]


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def shrunk(reader: Opener, content: bytes, edge: int) -> bytes:
    """A picture as a JPEG whose longest edge has at most `edge` pixels.

    Raises:
        Failure: It is not a picture that can be read.
    """
    image = reader.open(content, side=edge).image
    image.thumbnail((edge, edge), Image.Resampling.LANCZOS, reducing_gap=2.0)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=_QUALITY, optimize=True)
    return out.getvalue()
