"""Thumbnails: made once, bounded on disk, gone with their originals."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from postil.errors import Failure
from postil.media.pictures import PictureReader
from postil.media.thumbnails import SIZES, Thumbnails


def noise(width: int, height: int, seed: int = 0) -> bytes:
    """A PNG that does not compress."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def original(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("shape", [(1200, 500), (500, 1200), (40, 30), (1, 1), (3000, 2)])
@pytest.mark.parametrize("size", SIZES)
def test_the_longest_edge_is_bounded_and_nothing_grows(tmp_path: Path, shape: tuple[int, int], size: str) -> None:
    source = original(tmp_path, "a", noise(*shape))
    made = Image.open(io.BytesIO(Thumbnails(tmp_path / "small", PictureReader()).path("a", size, source).read_bytes()))
    assert max(made.size) == min(max(shape), SIZES[size])
    assert made.format == "JPEG"


def test_it_is_made_once(tmp_path: Path) -> None:
    thumbnails = Thumbnails(tmp_path / "small", PictureReader())
    source = original(tmp_path, "a", noise(400, 300))
    first = thumbnails.path("a", "tiny", source)
    inode = first.stat().st_ino
    with ThreadPoolExecutor(8) as pool:
        again = list(pool.map(lambda _: thumbnails.path("a", "tiny", source), range(50)))
    assert {path.stat().st_ino for path in again} == {inode}
    assert not list((tmp_path / "small").glob("*/.partial-*"))


@pytest.mark.parametrize("harm", [lambda good: good[:-700], lambda _: b"", lambda good: bytes(len(good))])
def test_a_damaged_one_is_made_again(tmp_path: Path, harm: Callable[[bytes], bytes]) -> None:
    thumbnails = Thumbnails(tmp_path / "small", PictureReader())
    source = original(tmp_path, "a", noise(400, 300))
    path = thumbnails.path("a", "tiny", source)
    good = path.read_bytes()
    path.write_bytes(harm(good))
    assert thumbnails.path("a", "tiny", source).read_bytes() == good


def test_the_folder_is_bounded_and_the_oldest_go_first(tmp_path: Path) -> None:
    probe = Thumbnails(tmp_path / "probe", PictureReader())
    one = probe.path("p", "small", original(tmp_path, "p", noise(400, 400))).stat().st_size
    thumbnails = Thumbnails(tmp_path / "small", PictureReader(), capacity=one * 5)
    for place in range(12):
        path = thumbnails.path(str(place), "small", original(tmp_path, str(place), noise(400, 400, place)))
        os.utime(path, (1_000_000 + place, 1_000_000 + place))
        held = list((tmp_path / "small").glob("*/*"))
        assert sum(file.stat().st_size for file in held) <= one * 5
    names = sorted(int(file.name) for file in (tmp_path / "small").glob("*/*"))
    assert names == list(range(12 - len(names), 12))
    assert len(names) >= 3


def test_what_was_there_before_counts_after_a_restart(tmp_path: Path) -> None:
    source = original(tmp_path, "a", noise(400, 400))
    size = Thumbnails(tmp_path / "small", PictureReader()).path("a", "small", source).stat().st_size
    restarted = Thumbnails(tmp_path / "small", PictureReader(), capacity=size + size // 2)
    restarted.path("b", "small", original(tmp_path, "b", noise(400, 400, 1)))
    assert [file.name for file in (tmp_path / "small").glob("*/*")] == ["b"]


def test_a_sweep_takes_what_lost_its_original(tmp_path: Path) -> None:
    thumbnails = Thumbnails(tmp_path / "small", PictureReader())
    for name in ("keep", "drop"):
        thumbnails.path(name, "tiny", original(tmp_path, name, noise(300, 300)))
    assert thumbnails.sweep(lambda digest: digest == "keep") == 1
    assert [file.name for file in (tmp_path / "small").glob("*/*")] == ["keep"]


def test_what_is_no_picture_has_none(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="not a picture"):
        Thumbnails(tmp_path / "small", PictureReader()).path("a", "tiny", original(tmp_path, "a", b"plain text " * 20))
    assert not list((tmp_path / "small").glob("*/*"))
