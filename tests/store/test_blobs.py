"""Blobs: one file per content, whole or not there, swept only when nobody wants them."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path

import pytest

from postil.store.base import Corrupt, WriteFailed
from postil.store.blobs import FileBlobs


@pytest.fixture
def blobs(tmp_path: Path) -> FileBlobs:
    return FileBlobs(tmp_path / "blobs")


def _age(blobs: FileBlobs, digest: str) -> None:
    path = blobs.path(digest)
    assert path is not None
    os.utime(path, (1, 1))


def test_content_lies_under_its_digest(blobs: FileBlobs, tmp_path: Path) -> None:
    digest = blobs.put(b"picture")
    assert digest == hashlib.sha256(b"picture").hexdigest()
    assert blobs.path(digest) == tmp_path / "blobs" / digest[:2] / digest[2:]
    assert blobs.get(digest) == b"picture"
    assert list(blobs.digests()) == [digest]
    assert blobs.put(b"") in set(blobs.digests())


def test_the_same_content_is_stored_once(blobs: FileBlobs) -> None:
    digests: list[str] = []
    threads = [threading.Thread(target=lambda: digests.append(blobs.put(b"x" * 100_000))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(digests)) == 1
    assert list(blobs.digests()) == digests[:1]


@pytest.mark.parametrize(
    "name", ["", "..", "../../etc/passwd", "a" * 63, "A" * 64, "a" * 64 + "\n", "g" * 64, "a" * 64]
)
def test_a_name_that_is_no_digest_or_not_stored_leads_nowhere(blobs: FileBlobs, name: str) -> None:
    blobs.put(b"something")
    assert blobs.get(name) is None
    assert blobs.path(name) is None


def test_a_sweep_takes_what_is_old_and_unwanted(blobs: FileBlobs) -> None:
    wanted, unwanted, young = blobs.put(b"wanted"), blobs.put(b"unwanted"), blobs.put(b"young")
    _age(blobs, wanted)
    _age(blobs, unwanted)
    assert blobs.sweep(lambda digest: digest == wanted, older_than_s=3600) == 1
    assert set(blobs.digests()) == {wanted, young}
    assert FileBlobs(Path("/nonexistent")).sweep(lambda _: False, 0) == 0


def test_putting_old_content_again_keeps_it_from_the_sweep(blobs: FileBlobs) -> None:
    digest = blobs.put(b"again")
    _age(blobs, digest)
    blobs.put(b"again")
    assert blobs.sweep(lambda _: False, older_than_s=3600) == 0
    assert blobs.get(digest) == b"again"


def test_what_an_interrupted_put_left_is_swept_when_old(blobs: FileBlobs) -> None:
    path = blobs.path(blobs.put(b"whole"))
    assert path is not None
    partial = path.parent / ".partial-xyz"
    partial.write_bytes(b"ha")
    assert blobs.sweep(lambda _: True, older_than_s=3600) == 0
    os.utime(partial, (1, 1))
    assert blobs.sweep(lambda _: True, older_than_s=3600) == 1
    assert path.is_file()


def test_a_put_that_fails_leaves_nothing(blobs: FileBlobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(WriteFailed, match=r"No space.*blobs/"):
        blobs.put(b"too much")
    assert [path for path in (tmp_path / "blobs").rglob("*") if path.is_file()] == []


def test_a_damaged_file_is_not_handed_out_and_comes_back_when_put_again(blobs: FileBlobs) -> None:
    digest = blobs.put(b"picture")
    path = blobs.checked(digest)
    assert path is not None
    path.write_bytes(b"pIcture")
    os.utime(path, (1, 1))
    for _ in range(2):
        with pytest.raises(Corrupt, match="Post the same content again"):
            blobs.checked(digest)
    assert blobs.put(b"picture") == digest
    assert blobs.checked(digest) == path
    assert blobs.checked("0" * 64) is None
