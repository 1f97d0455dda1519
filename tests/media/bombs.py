"""Pictures that mean harm, made on the spot: each with the status codes that answer it."""

from __future__ import annotations

import functools
import gzip
import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from PIL import Image

from media import corpus
from postil.v1.status_code_pb2 import StatusCode

GOOD = frozenset({0})  # opens as an honest picture
LARGE = frozenset({int(StatusCode.INPUT_OVER_LIMIT)})
DAMAGED = frozenset({int(StatusCode.ALL_INPUT_INVALID_BYTES)})
UNKNOWN = frozenset({int(StatusCode.INPUT_UNSUPPORTED_FORMAT)})
REFUSED = LARGE | DAMAGED


class Bomb(NamedTuple):
    """A file and what may be said of it."""

    name: str
    data: bytes
    codes: frozenset[int]


@functools.cache
def bombs() -> tuple[Bomb, ...]:
    """All of them."""
    return tuple(Bomb(*one) for part in (_sizes, _frames, _jpegs, _profiles, _tiffs, _others, _cut) for one in part())


Made = Iterator[tuple[str, bytes, frozenset[int]]]


def _sizes() -> Made:
    """More pixels than allowed, none, or more than there are."""
    yield "png-80mp", corpus.png_bomb(10_000, 8_000), LARGE
    for width, height in ((30_000, 30_000), (2**31 - 1, 2**31 - 1), (2**31 - 1, 1), (1, 2**31 - 1), (65_535, 65_535)):
        head = corpus.png_header(width, height)
        yield f"png-{width}x{height}", head + corpus.png_chunk(b"IDAT", b"x"), REFUSED
    for width, height in ((0, 0), (0, 10), (10, 0)):
        body = corpus.png_header(width, height) + corpus.png_chunk(b"IDAT", zlib.compress(b"")) + _IEND
        yield f"png-{width}x{height}", body, DAMAGED
    for claim in ((65_535, 65_535), (65_535, 1), (0, 0)):
        yield f"jpeg-claims-{claim[0]}x{claim[1]}", _jpeg_claiming(*claim), REFUSED | GOOD
    for claim in ((16_384, 16_384), (9_000, 9_000)):
        yield f"webp-claims-{claim[0]}", corpus.webp_claiming(*claim), REFUSED
    yield "gif-frame-60000", corpus.gif_with_large_frame(60_000, 60_000), REFUSED
    yield "gif-frame-9000", corpus.gif_with_large_frame(9_000, 8_000), REFUSED
    yield "gif-zero", b"GIF89a" + bytes(7) + b";", REFUSED
    yield "tiff-80mp", corpus.encode(Image.new("1", (10_000, 8_000)), "TIFF", compression="group4"), LARGE
    yield "bmp-80mp", corpus.encode(Image.new("1", (10_000, 8_000)), "BMP"), LARGE
    for width, height in ((2**31 - 1, 2**31 - 1), (0, 0), (-5, -5), (40_000, -40_000)):
        head = (
            b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, *[0] * 6)
        )
        yield f"bmp-{width}x{height}", head + bytes(64), REFUSED


def _frames() -> Made:
    """Many frames: only the first is looked at."""
    still, other = Image.new("RGB", (64, 64), corpus.RED), Image.new("RGB", (64, 64), corpus.BLUE)
    for kind in ("GIF", "PNG", "WEBP", "TIFF"):
        frames = [other if number % 2 else still for number in range(600)]
        yield f"{kind.lower()}-600-frames", corpus.encode(still, kind, save_all=True, append_images=frames), GOOD
    for count in (2**31, 2**32 - 1):
        control = corpus.png_chunk(b"acTL", struct.pack(">II", count, 0))
        png = corpus.encode(still, "PNG")
        yield f"apng-claims-{count}", png[:33] + control + png[33:], GOOD | DAMAGED
    yield "gif-blocks-without-end", _gif_with_comment(1 << 20), GOOD | DAMAGED


def _jpegs() -> Made:
    for scans in (300, 5_000):
        yield f"jpeg-{scans}-scans", corpus.jpeg_with_scans(scans), LARGE
    jpeg = corpus.encode(corpus.quarters(), "JPEG")
    yield "jpeg-dht-flood", jpeg[:2] + b"\xff\xc4\x00\x02" * 50_000 + jpeg[2:], GOOD | DAMAGED
    yield "jpeg-comment-flood", jpeg[:2] + (b"\xff\xfe\xff\xff" + bytes(65_533)) * 100 + jpeg[2:], GOOD
    yield "jpeg-restart-flood", jpeg[:-2] + b"\xff\xd0" * 100_000 + b"\xff\xd9", GOOD | DAMAGED
    yield "jpeg-arithmetic", jpeg.replace(b"\xff\xc0", b"\xff\xc9"), GOOD | DAMAGED
    yield "jpeg-17-components", jpeg.replace(b"\x01\x22\x00", b"\x11\x22\x00"), GOOD | DAMAGED


def _profiles() -> Made:
    """What is written beside the pixels."""
    profile = zlib.compress(bytes(256 << 20), 9)
    png = corpus.encode(corpus.quarters(), "PNG")
    yield "png-profile-256mb", png[:33] + corpus.png_chunk(b"iCCP", b"p\0\0" + profile) + png[33:], GOOD | REFUSED
    for name in (b"zTXt", b"iTXt"):
        body = b"p\0\0" + profile if name == b"zTXt" else b"p\0\1\0\0\0" + profile
        yield f"png-{name.decode()}-256mb", png[:33] + corpus.png_chunk(name, body) + png[33:], GOOD | REFUSED
    for number, profile in enumerate((b"", b"\xff" * 128, struct.pack(">I", 2**32 - 1) + bytes(124))):
        yield f"jpeg-profile-{number}", corpus.encode(corpus.quarters(), "JPEG", icc_profile=profile), GOOD
    for exif in (b"MM\x00*\xff\xff\xff\xff", _exif_in_circles(), b"II*\x00\x08\x00\x00\x00" + b"\xff" * 4000):
        data = corpus.encode(corpus.quarters(), "JPEG", exif=b"Exif\x00\x00" + exif)
        yield f"jpeg-exif-{zlib.crc32(exif)}", data, GOOD
    yield "png-wrong-checksum", png[:-20] + bytes(8) + png[-12:], DAMAGED


def _tiffs() -> Made:
    """Directories that lead nowhere, or round and round."""
    tiff = corpus.encode(corpus.quarters(), "TIFF")
    directory = struct.unpack("<I", tiff[4:8])[0]
    count = struct.unpack("<H", tiff[directory : directory + 2])[0]
    end = directory + 2 + 12 * count
    yield "tiff-next-is-itself", tiff[:end] + struct.pack("<I", directory) + tiff[end + 4 :], GOOD | DAMAGED
    yield "tiff-directory-outside", tiff[:4] + struct.pack("<I", 2**31) + tiff[8:], DAMAGED
    yield "tiff-65535-entries", tiff[:directory] + b"\xff\xff" + tiff[directory + 2 :], GOOD | DAMAGED
    for tag in (256, 257, 258, 262, 273, 277, 278, 279):
        changed = bytearray(tiff)
        for place in range(directory + 2, end, 12):
            if struct.unpack("<H", tiff[place : place + 2])[0] == tag:
                changed[place + 4 : place + 12] = b"\xff" * 8
        yield f"tiff-tag-{tag}-wild", bytes(changed), GOOD | REFUSED | UNKNOWN
    for squeeze in ("tiff_deflate", "tiff_lzw", "packbits", "jpeg"):
        data = bytearray(corpus.encode(corpus.noise(64, 64), "TIFF", compression=squeeze))
        data[200:400] = b"\xff" * 200
        yield f"tiff-{squeeze}-torn", bytes(data), GOOD | DAMAGED


def _others() -> Made:
    """Formats that are not open, and files that are two things at once."""
    yield "svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", UNKNOWN
    entities = b"".join(b'<!ENTITY a%d "%s">' % (n + 1, b"&a%d;" % n * 10) for n in range(9))
    yield (
        "svg-laughs",
        b'<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY a0 "ha">' + entities + b"]><svg>&a9;</svg>",
        UNKNOWN,
    )
    yield "svg-in-gzip", gzip.compress(b"<svg/>"), UNKNOWN
    yield "eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\n", UNKNOWN
    yield "pdf", b"%PDF-1.7\n", UNKNOWN
    yield "fits", b"SIMPLE  =                    T" + b" " * 2850, UNKNOWN
    yield "ppm", b"P6\n100000 100000\n255\n", UNKNOWN
    yield "psd", b"8BPS\x00\x01" + bytes(100), UNKNOWN
    yield "icns", b"icns" + bytes(100), UNKNOWN
    yield "gd", b"\xff\xff" + bytes(2000), UNKNOWN
    yield "xbm", b"#define a_width 10000\n#define a_height 10000\nstatic char a_bits[] = {0x00};", UNKNOWN
    for kind in ("ICO", "TGA", "PCX", "JPEG2000", "SGI", "DDS"):
        yield f"is-{kind.lower()}", corpus.encode(corpus.quarters(), kind), UNKNOWN
    yield "zip", b"PK\x03\x04" + bytes(100), UNKNOWN
    yield "zip-after-png", corpus.encode(corpus.quarters(), "PNG") + b"PK\x03\x04" + bytes(100), GOOD
    yield "script-after-jpeg", corpus.encode(corpus.quarters(), "JPEG") + b"<script>alert(1)</script>", GOOD
    yield "script-in-gif", b"GIF89a/*" + b"<script>*/=1;alert(1)//" + bytes(40), REFUSED | UNKNOWN
    yield "page", b"<!doctype html><img src=x onerror=alert(1)>", UNKNOWN
    yield "nothing-but-zeros", bytes(100_000), UNKNOWN
    yield "nothing-but-ones", b"\xff" * 100_000, UNKNOWN | DAMAGED
    yield "empty", b"", frozenset({int(StatusCode.INPUT_INVALID_ARGUMENT)})


def _cut() -> Made:
    """The beginnings of honest files."""
    for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"):
        data = corpus.encode(corpus.noise(64, 64), kind)
        for share in (0.1, 0.5, 0.9):
            yield f"{kind.lower()}-cut-{share}", data[: int(len(data) * share)], DAMAGED


def _jpeg_claiming(width: int, height: int) -> bytes:
    data = bytearray(corpus.encode(corpus.quarters(), "JPEG"))
    start = data.index(b"\xff\xc0") + 5
    data[start : start + 4] = struct.pack(">HH", height, width)
    return bytes(data)


def _gif_with_comment(size: int) -> bytes:
    data = corpus.encode(corpus.quarters().quantize(4), "GIF")
    block = b"\xff" + b"x" * 255
    return data[:-1] + b"!\xfe" + block * (size // 256) + b"\x00;"


def _exif_in_circles() -> bytes:
    """A directory whose sub-directory is itself."""
    entry = struct.pack(">HHII", 0x8769, 4, 1, 8)
    return b"MM\x00*\x00\x00\x00\x08" + struct.pack(">H", 1) + entry + struct.pack(">I", 8)


_IEND = corpus.png_chunk(b"IEND", b"")
