"""The short form of `make powerloss`, and the model of the disk by itself."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path, PurePosixPath

import pytest

from powerloss.disk import SECTOR, Disk, Event, How, Kind
from powerloss.vfs import library
from support.server import clean_environment

TESTS = Path(__file__).resolve().parent.parent


def powerloss(*options: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own: it puts its own VFS under SQLite."""
    return subprocess.run(
        [sys.executable, "-m", "powerloss", "--seed", "6", *options],
        cwd=TESTS,
        capture_output=True,
        text=True,
        check=False,
        env=clean_environment(),
    )


@pytest.fixture(scope="module")
def shared_sqlite() -> None:
    try:
        library()
    except OSError as error:
        pytest.skip(str(error))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_what_was_acknowledged_is_on_every_disk_the_power_may_leave(shared_sqlite: None) -> None:
    done = powerloss("--images", "120", "--writes", "40")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "120 images of 1 recordings, 0 with findings" in done.stdout


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_weaker_syncs_would_be_noticed(shared_sqlite: None) -> None:
    done = powerloss("--images", "40", "--writes", "40", "--normal")
    assert done.returncode == 1
    assert "acknowledged was" in done.stderr


def _folder(disk: Disk) -> int:
    folder = disk.new_file(folder=True)
    disk.add(Event(Kind.LINK, folder, 0, "d"))
    disk.add(Event(Kind.SYNC_NAMES, 0))
    return folder


def _images(disk: Disk, how: How) -> list[dict[str, bytes | None]]:
    return [
        {str(path): content for path, content in disk.image(len(disk.events), how, random.Random(seed)).items()}
        for seed in range(40)
    ]


def test_what_is_synced_stays_and_what_is_not_may_go() -> None:
    disk = Disk()
    folder, file = _folder(disk), disk.new_file()
    disk.add(Event(Kind.LINK, file, folder, "f"))
    disk.add(Event(Kind.WRITE, file, data=b"old"))
    disk.add(Event(Kind.SYNC, file))
    assert {image.get("d/f") for image in _images(disk, How.SOME)} == {None, b"old"}, "its name is not durable yet"
    disk.add(Event(Kind.SYNC_NAMES, folder))
    disk.add(Event(Kind.WRITE, file, data=b"new"))
    assert {image["d/f"] for image in _images(disk, How.SOME)} == {b"old", b"new"}
    assert {image["d/f"] for image in _images(disk, How.NONE)} == {b"old"}
    assert {image["d/f"] for image in _images(disk, How.ALL)} == {b"new"}


def test_a_rename_is_whole_or_not_there() -> None:
    disk = Disk()
    folder, old, new = _folder(disk), disk.new_file(), disk.new_file()
    for number, name in ((old, "f"), (new, "f.tmp")):
        disk.add(Event(Kind.LINK, number, folder, name))
        disk.add(Event(Kind.WRITE, number, data=name.encode()))
        disk.add(Event(Kind.SYNC, number))
    disk.add(Event(Kind.SYNC_NAMES, folder))
    disk.add(Event(Kind.MOVE, new, folder, "f", (folder, "f.tmp")))
    seen = {(image["d/f"], image.get("d/f.tmp")) for image in _images(disk, How.SOME)}
    assert seen == {(b"f", b"f.tmp"), (b"f.tmp", None)}


def test_a_write_may_be_torn_between_sectors_only() -> None:
    disk = Disk()
    file = disk.new_file()
    disk.add(Event(Kind.LINK, file, 0, "f"))
    disk.add(Event(Kind.SYNC_NAMES, 0))
    disk.add(Event(Kind.WRITE, file, data=b"a" * 2 * SECTOR))
    disk.add(Event(Kind.SYNC, file))
    disk.add(Event(Kind.WRITE, file, offset=SECTOR // 2, data=b"b" * SECTOR))
    seen = {disk.image(9, How.TORN, random.Random(seed))[PurePosixPath("f")] for seed in range(60)}
    half, whole = SECTOR // 2, 2 * SECTOR
    first = b"a" * half + b"b" * half + b"a" * SECTOR
    second = b"a" * SECTOR + b"b" * half + b"a" * half
    both = b"a" * half + b"b" * SECTOR + b"a" * half
    assert seen == {b"a" * whole, first, second, both}
