"""The files of one space: segments and the manifest that names them, each with its length and checksum.

A manifest is the commit point: everything it names is on disk before it replaces its predecessor (write to a temporary
name, fsync, rename, fsync of the folder). Whatever no manifest names is an orphan and is removed. Nothing is given to
native code before its checksum holds.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

FORMAT = 1
MANIFEST = "manifest.json"
_TEMPORARY = ".tmp"
_MANIFEST_LIMIT = 16 << 20


class Damaged(Exception):
    """A file is missing, or is not what was written. `args[0]` says which and how."""


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file, as it must be."""

    name: str
    length: int
    sha256: str


@dataclass(frozen=True, slots=True)
class SegmentEntry:
    """One segment: rows in ascending order, their vectors and squared lengths, a graph, and which places are dead."""

    name: str
    count: int
    first_row: int
    last_row: int
    rows: FileEntry  # int64 [count], little-endian
    vectors: FileEntry  # float32 [count, dim]
    lengths: FileEntry  # float32 [count]
    graph: FileEntry | None = None  # hnswlib, over the distinct vectors
    copies: FileEntry | None = None  # int64 [m, 2], places of identical vectors
    deletes: FileEntry | None = None  # roaring bitmap of places

    def files(self) -> list[FileEntry]:
        """All of its files."""
        every = (self.rows, self.vectors, self.lengths, self.graph, self.copies, self.deletes)
        return [entry for entry in every if entry is not None]


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a space's folder holds, and the newest change that all of it covers."""

    store: str  # the store's identity: change numbers mean something only beside it
    generation: int
    dim: int
    covered: int
    segments: tuple[SegmentEntry, ...] = field(default=())


class Folder:
    """A space's folder. One writer; the owner of the data directory's lock. Any thread may remove it.

    Args:
        path: Created when the first file is written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._named: set[str] = set()
        self._removed = False
        self._removing = threading.Lock()

    def write(self, name: str, put: Callable[[BinaryIO], object]) -> FileEntry:
        """Writes a file through `put`, durably, under its name."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = self.path / (name + _TEMPORARY)
        try:
            with temporary.open("wb") as out:
                put(out)
            return self.adopt(temporary, name)
        except OSError:
            temporary.unlink(missing_ok=True)  # on a full disk it takes what room there is
            raise

    def scratch(self, name: str) -> Path:
        """A temporary path for a file that someone else writes, to be given to `adopt`."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        return self.path / (name + _TEMPORARY)

    def adopt(self, temporary: Path, name: str) -> FileEntry:
        """Makes a finished temporary file durable under its name."""
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
            entry = FileEntry(name, os.fstat(file.fileno()).st_size, hashlib.file_digest(file, "sha256").hexdigest())
        temporary.rename(self.path / name)
        return entry

    def save(self, manifest: Manifest) -> None:
        """Makes this manifest the one that counts, then removes the files that only the one before it named. Nothing
        happens once the folder was removed: its files are gone, and a manifest would name them."""
        with self._removing:
            if not self._removed:
                self._save(manifest)

    def _save(self, manifest: Manifest) -> None:
        body = asdict(manifest)
        text = json.dumps({"format": FORMAT, "manifest": body, "sha256": _digest(body)}, indent=1)
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = self.path / (MANIFEST + _TEMPORARY)
        try:
            with temporary.open("w", encoding="utf-8") as out:
                out.write(text)
                out.flush()
                os.fsync(out.fileno())
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        self._sync()  # the names of the files it refers to, before it refers to them
        temporary.rename(self.path / MANIFEST)
        self._sync()
        named = _names(manifest)
        for name in self._named - named:
            (self.path / name).unlink(missing_ok=True)
        self._named = named

    def load(self) -> Manifest:
        """The manifest. Raises `Damaged`."""
        path = self.path / MANIFEST
        try:
            if path.stat().st_size > _MANIFEST_LIMIT:
                raise Damaged(f"{path} is larger than any manifest")
            whole = json.loads(path.read_text(encoding="utf-8"))
            if whole["format"] != FORMAT:
                raise Damaged(f"{path} has format {whole['format']}, not {FORMAT}")
            if whole["sha256"] != _digest(whole["manifest"]):
                raise Damaged(f"{path} does not match its checksum")
            return _manifest(whole["manifest"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise Damaged(f"{path} cannot be read: {error}") from error

    def verify(self, entries: Iterable[FileEntry]) -> None:
        """Checks lengths and checksums, two files at a time (hashing lets go of Python's lock). Raises `Damaged`."""
        with ThreadPoolExecutor(2, "index-verify") as pool:
            for problem in pool.map(self._problem, entries):
                if problem:
                    raise Damaged(problem)

    def _problem(self, entry: FileEntry) -> str:
        path = self.path / entry.name
        try:
            with path.open("rb") as file:
                length = os.fstat(file.fileno()).st_size
                if length != entry.length:
                    return f"{path} has {length} bytes, not {entry.length}"
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            return f"{path} cannot be read: {error}"
        return "" if digest == entry.sha256 else f"{path} does not match its checksum"

    def sweep(self, manifest: Manifest | None) -> None:
        """Removes every file but the manifest and those it names; without one, all. Only while nothing is built."""
        self._named = set() if manifest is None else _names(manifest)
        if manifest is None and (self.path / MANIFEST).is_file():
            (self.path / MANIFEST).unlink()
            self._sync()  # before the files that it names, or a kill in between would leave what looks damaged
        keep = set() if manifest is None else {MANIFEST, *self._named}
        for path in self.path.iterdir() if self.path.is_dir() else ():
            if path.name not in keep and path.is_file():
                path.unlink(missing_ok=True)

    def remove(self) -> None:
        """Removes the folder and its files; other folders inside it are left alone. A segment that is being built may
        still leave files without a manifest, which the next start removes."""
        with self._removing:
            self._removed = True
            self.sweep(None)
            with contextlib.suppress(OSError):  # not empty, or never made
                self.path.rmdir()

    def _sync(self) -> None:
        handle = os.open(self.path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _names(manifest: Manifest) -> set[str]:
    return {entry.name for segment in manifest.segments for entry in segment.files()}


def _digest(body: Any) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _manifest(body: dict[str, Any]) -> Manifest:
    return Manifest(
        store=str(body["store"]),
        generation=int(body["generation"]),
        dim=int(body["dim"]),
        covered=int(body["covered"]),
        segments=tuple(_segment(entry) for entry in body["segments"]),
    )


def _segment(body: dict[str, Any]) -> SegmentEntry:
    files = {
        key: FileEntry(**body[key]) if body[key] is not None else None
        for key in ("rows", "vectors", "lengths", "graph", "copies", "deletes")
    }
    return SegmentEntry(**{**body, **files})
