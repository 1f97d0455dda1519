"""What must be synced, and before what: new folders and whatever is renamed. `make powerloss` looks for more."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from postil.media.pictures import PictureReader
from postil.media.thumbnails import Thumbnails
from postil.store.blobs import FileBlobs
from postil.store.sqlite import SqliteStore
from support.photos import photo


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Files and folders, as they are synced by our own code."""
    paths: list[Path] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        paths.append(Path(f"/proc/self/fd/{descriptor}").resolve())
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    return paths


def test_a_new_data_directory_survives_with_all_above_it(tmp_path: Path, synced: list[Path]) -> None:
    SqliteStore(tmp_path / "srv/postil/data").close()
    assert {tmp_path, tmp_path / "srv", tmp_path / "srv/postil", tmp_path / "srv/postil/data"} <= set(synced)


def test_a_folder_that_a_killed_server_left_unsynced_is_synced_by_the_next(tmp_path: Path, synced: list[Path]) -> None:
    SqliteStore(tmp_path / "data").close()
    synced.clear()
    SqliteStore(tmp_path / "data").close()
    assert {tmp_path, tmp_path / "data"} <= set(synced)


def test_a_blob_whose_folder_somebody_else_has_just_made_waits_for_its_name(tmp_path: Path, synced: list[Path]) -> None:
    root = tmp_path / "blobs"
    digest = FileBlobs(root).put(b"picture")
    (root / digest[:2] / digest[2:]).unlink()  # as after a kill between making the folder and syncing its name
    synced.clear()
    blobs = FileBlobs(root)
    blobs.put(b"picture")
    assert synced.index(root) < synced.index(root / digest[:2])
    synced.clear()
    blobs.put(b"picture")
    assert root not in synced, "once is enough"


def test_a_thumbnail_has_its_bytes_on_disk_before_its_name(tmp_path: Path, synced: list[Path]) -> None:
    original = tmp_path / "photo"
    original.write_bytes(photo("coffee.png"))
    place = Thumbnails(tmp_path / "thumbnails", PictureReader()).path("0" * 64, "tiny", original)
    assert [path.parent for path in synced] == [place.parent]
    assert synced[0] != place, "before it was renamed"
