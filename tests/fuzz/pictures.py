"""Damaged and forged pictures, thrown at what opens them."""

from __future__ import annotations

import io
import os
import random
import resource
import signal
import struct
import time
import warnings
import zlib
from collections.abc import Iterator
from functools import cache
from itertools import islice
from typing import Any

from PIL import ExifTags, Image

from postil.errors import Failure
from postil.media.pictures import FORMATS, PictureLimits, PictureReader

LIMITS = PictureLimits(max_bytes=1 << 20, max_pixels=1_000_000)
SIDE = 64
_HANGS_S = 1800  # for 20,000 pictures, of which most take less than a millisecond


_TIFF_PACKED = ("tiff_lzw", "packbits", "jpeg", "tiff_adobe_deflate", "group3", "group4", "tiff_ccitt", "zstd", "lzma")
_PNG = b"\x89PNG\r\n\x1a\n"
_EDGES = (0, 1, 2, 3, 4, 8, 16, 24, 127, 128, 255, 256, 4096, 32767, 65535, 2**24, 2**31 - 1, 2**31, 2**32 - 1)


@cache
def honest() -> tuple[bytes, ...]:
    """A small picture in each format, in several modes, packings and turns."""
    draw = random.Random(3)
    noise = Image.frombytes("RGB", (24, 20), draw.randbytes(24 * 20 * 3))
    turned = Image.Exif()
    turned[ExifTags.Base.Orientation] = 6
    found = []

    def save(image: Image.Image, kind: str, **options: Any) -> None:
        out = io.BytesIO()
        try:
            image.save(out, kind, **options)
        except (OSError, ValueError):  # not in this format
            return
        found.append(out.getvalue())

    for kind in FORMATS:
        for mode in ("RGB", "L", "LA", "P", "RGBA", "1", "CMYK", "YCbCr", "LAB", "I", "I;16", "F"):
            if mode == "I;16":
                save(noise.convert("L").convert("I;16"), kind)
            elif mode == "LAB":
                save(Image.frombytes("LAB", noise.size, noise.tobytes()), kind)
            else:
                save(noise.convert(mode), kind)
        save(noise, kind, exif=turned)
    for kind in ("GIF", "PNG", "WEBP", "TIFF", "MPO"):  # two frames
        save(noise, kind, save_all=True, append_images=[noise.rotate(90)])
    for packing in _TIFF_PACKED:
        for mode in ("RGB", "L", "1"):
            save(noise.convert(mode), "TIFF", compression=packing)
    save(noise, "JPEG", progressive=True)
    save(noise, "JPEG", subsampling=0, restart_marker_rows=1)
    save(noise, "WEBP", lossless=True)
    save(noise.convert("P"), "GIF", interlace=1, transparency=3)
    save(noise.convert("P"), "PNG", bits=4, transparency=b"\x00\x80\xff")
    return tuple(dict.fromkeys(found))


def broken(seed: int) -> Iterator[bytes]:
    """Pictures with something wrong, without end."""
    draw = random.Random(seed)
    while True:
        content = bytearray(draw.choice(honest()))
        for _ in range(draw.choice((1, 1, 2, 4, 16))):
            spoil(content, draw)
        yield mended(bytes(content)) if draw.random() < 0.8 else bytes(content)


def spoil(content: bytearray, draw: random.Random) -> None:
    """One change, anywhere; half of the small ones where headers lie."""
    at = draw.randrange(len(content) + 1)
    near = draw.randrange(min(len(content), 400) + 1) if draw.random() < 0.5 else at
    match draw.randrange(7):
        case 0:
            content[near : near + 1] = bytes((draw.randrange(256),))
        case 1:
            content[near : near + 4] = draw.choice((b"\xff\xff\xff\xff", b"\x00\x00\x00\x00", b"\x7f\xff\xff\xff"))
        case 2:
            del content[at : at + draw.choice((1, 8, 64))]
        case 3:
            other = draw.choice(honest())
            content[at:] = other[draw.randrange(len(other)) :]
        case 4:
            content[near : near + 2] = struct.pack(draw.choice(("<H", ">H")), draw.choice(_EDGES) & 0xFFFF)
        case 5:
            content[near : near + 4] = struct.pack(draw.choice(("<I", ">I")), draw.choice(_EDGES))
        case _:
            content[at:at] = draw.randbytes(draw.choice((1, 8, 64)))


def mended(png: bytes) -> bytes:
    """A PNG whose checksums fit what its chunks say, so that readers go on to what is wrong in them; others as is."""
    if not png.startswith(_PNG):
        return png
    out, at = bytearray(png[:8]), 8
    while at + 12 <= len(png):
        size = int.from_bytes(png[at : at + 4], "big")
        end = at + 8 + size
        if end + 4 > len(png):
            break
        out += png[at:end] + zlib.crc32(png[at + 4 : end]).to_bytes(4, "big")
        at = end + 4
    return bytes(out + png[at:])


def attempt(content: bytes) -> str:
    """Opens it; what is wrong with how that went, or ""."""
    try:
        picture = PictureReader(LIMITS).open(content, side=SIDE)
    except Failure as failure:
        return "" if failure.details else "a refusal without a reason"
    if picture.image.mode != "RGB" or picture.width * picture.height > LIMITS.max_pixels:
        return f"came out as {picture.image.mode} {picture.width} x {picture.height}"
    return ""


def campaign(seed: int, count: int) -> tuple[list[str], float, int]:
    """(what was wrong, seconds of the slowest, MiB that this process has had at most) of so many broken pictures."""
    signal.alarm(_HANGS_S)  # ends the process, whatever native code does
    wrong, slowest = [], 0.0
    for content in islice(broken(seed), count):
        began = time.monotonic()
        problem = attempt(content)
        slowest = max(slowest, time.monotonic() - began)
        if problem:
            wrong.append(problem)
    return wrong, slowest, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def quiet() -> None:
    """What native readers think of pictures goes nowhere."""
    warnings.simplefilter("ignore")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
