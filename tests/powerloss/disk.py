"""A model of what the kernel may lose: files and names change at once for programs, on disk when they are synced.

A `Disk` records what programs did, in order. `image` gives what could lie on the disk had the power gone after so many
of the events: everything that was synced by then, and of the rest any subset, down to single sectors of a write.
Names are harder than on usual file systems, which keep them in order: each creation, rename and removal that no fsync
of its folder covers may be there or not, independently of others and of the contents.
"""

from __future__ import annotations

import random
import threading
from enum import Enum, auto
from pathlib import PurePosixPath
from typing import NamedTuple

SECTOR = 512


class Kind(Enum):
    """What happened."""

    WRITE = auto()  # bytes at an offset of a file
    TRUNCATE = auto()  # to a size
    SYNC = auto()  # of a file's contents
    LINK = auto()  # a name in a folder now stands for a file, or for a folder
    UNLINK = auto()  # a name is gone
    MOVE = auto()  # both at once: `old` is gone and `name` stands for the file
    SYNC_NAMES = auto()  # of a folder
    SENT = auto()  # somebody is about to ask for a write
    ACKNOWLEDGED = auto()  # and was told that it is kept


class Event(NamedTuple):
    """One of them. Files and folders are numbers; folder 0 is the root."""

    kind: Kind
    file: int = 0  # the file or folder
    folder: int = 0  # in which the name is
    name: str = ""
    old: tuple[int, str] = (0, "")  # folder and name that a MOVE takes away
    offset: int = 0  # or the size, or the number of the write that was sent or acknowledged
    data: bytes = b""


class How(Enum):
    """Which unsynced events survive."""

    NONE = auto()
    ALL = auto()  # a killed process: everything that was written
    SOME = auto()  # any subset
    TORN = auto()  # any subset, and of each write any subset of its sectors


Tree = dict[PurePosixPath, bytes | None]  # files by path; folders hold None


class Disk:
    """Records events. Thread-safe."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._lock = threading.Lock()
        self._numbers = 0
        self._folders = {0}

    def new_file(self, *, folder: bool = False) -> int:
        """A number for a file or folder that did not exist."""
        with self._lock:
            self._numbers += 1
            if folder:
                self._folders.add(self._numbers)
            return self._numbers

    def add(self, event: Event) -> None:
        """Something was done."""
        with self._lock:
            self.events.append(event)

    def writes(self, upto: int) -> tuple[list[int], list[int]]:
        """Numbers of the writes that were acknowledged by then, in that order, and of those whose fate is open."""
        sent = [event.offset for event in self.events[:upto] if event.kind is Kind.SENT]
        done = [event.offset for event in self.events[:upto] if event.kind is Kind.ACKNOWLEDGED]
        return done, [number for number in sent if number not in set(done)]

    def image(self, upto: int, how: How, rng: random.Random) -> Tree:
        """What could lie on the disk after the first `upto` events."""
        events = self.events[:upto]
        contents, names = _Contents(), _Names()
        for event in _kept(events, how, rng):
            contents.apply(event)
            names.apply(event)
        return names.tree(contents, self._folders)


def _kept(events: list[Event], how: How, rng: random.Random) -> list[Event]:
    """The events that made it, in order: those that a later sync covers, and some of the others."""
    synced_files: set[int] = set()
    synced_names: set[int] = set()
    kept = []
    for event in reversed(events):
        if event.kind is Kind.SYNC:
            synced_files.add(event.file)
        elif event.kind is Kind.SYNC_NAMES:
            synced_names.add(event.file)
        elif event.kind in {Kind.WRITE, Kind.TRUNCATE}:
            if event.file in synced_files:
                kept.append(event)
            elif _survives(how, rng):
                kept.append(_torn(event, rng) if how is How.TORN else event)
        elif event.kind in {Kind.LINK, Kind.UNLINK, Kind.MOVE}:
            folders = {event.folder, event.old[0]} if event.kind is Kind.MOVE else {event.folder}
            if folders <= synced_names or _survives(how, rng):
                kept.append(event)
    return kept[::-1]


def _survives(how: How, rng: random.Random) -> bool:
    return how is How.ALL or (how in {How.SOME, How.TORN} and rng.random() < 0.5)


def _torn(event: Event, rng: random.Random) -> Event:
    """The write with some of its sectors left out, given as a mask in `old`."""
    return event._replace(old=(rng.getrandbits(30) | 1, "torn")) if event.kind is Kind.WRITE else event


class _Contents:
    """Bytes of each file."""

    def __init__(self) -> None:
        self._bytes: dict[int, bytearray] = {}

    def apply(self, event: Event) -> None:
        if event.kind is Kind.TRUNCATE:
            content = self._bytes.setdefault(event.file, bytearray())
            del content[event.offset :]
            content.extend(bytes(event.offset - len(content)))
        elif event.kind is Kind.WRITE:
            self._write(event)

    def _write(self, event: Event) -> None:
        content = self._bytes.setdefault(event.file, bytearray())
        end = event.offset + len(event.data)
        if len(content) < end:
            content.extend(bytes(end - len(content)))
        if event.old[1] != "torn":
            content[event.offset : end] = event.data
            return
        draw = random.Random(event.old[0])
        start = event.offset
        while start < end:
            stop = min(end, (start // SECTOR + 1) * SECTOR)
            if draw.random() < 0.5:
                content[start:stop] = event.data[start - event.offset : stop - event.offset]
            start = stop

    def of(self, file: int) -> bytes:
        return bytes(self._bytes.get(file, b""))


class _Names:
    """Names of each folder."""

    def __init__(self) -> None:
        self._names: dict[int, dict[str, int]] = {}

    def apply(self, event: Event) -> None:
        names = self._names.setdefault(event.folder, {})
        if event.kind is Kind.UNLINK:
            names.pop(event.name, None)
        elif event.kind in {Kind.LINK, Kind.MOVE}:
            if event.kind is Kind.MOVE:
                self._names.setdefault(event.old[0], {}).pop(event.old[1], None)
            names[event.name] = event.file

    def tree(self, contents: _Contents, folders: set[int]) -> Tree:
        tree: Tree = {}
        waiting = [(PurePosixPath(), 0)]
        while waiting:
            path, folder = waiting.pop()
            for name, file in self._names.get(folder, {}).items():
                tree[path / name] = None if file in folders else contents.of(file)
                if file in folders:
                    waiting.append((path / name, file))
        return tree
