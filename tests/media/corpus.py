"""Pictures made on the spot: honest ones in each format, and the ill-meant ones that tests send."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def quarters(width: int = 64, height: int = 48) -> Image.Image:
    """Red, green; blue, white: every turn and flip shows."""
    image = Image.new("RGB", (width, height), WHITE)
    image.paste(RED, (0, 0, width // 2, height // 2))
    image.paste(GREEN, (width // 2, 0, width, height // 2))
    image.paste(BLUE, (0, height // 2, width // 2, height))
    return image


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8))


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def png_chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png_bomb(width: int, height: int) -> bytes:
    """A black greyscale PNG of any size in about a thousandth of its bytes."""
    squeeze = zlib.compressobj(9)
    row = bytes(width + 1)
    body = b"".join(squeeze.compress(row) for _ in range(height)) + squeeze.flush()
    return png_header(width, height) + png_chunk(b"IDAT", body) + png_chunk(b"IEND", b"")


def png_header(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))


def gif_with_large_frame(width: int, height: int) -> bytes:
    """A canvas of one pixel whose only frame is far larger."""
    head = b"GIF89a" + struct.pack("<HH", 1, 1) + b"\x80\x00\x00" + b"\x00\x00\x00\xff\xff\xff"
    return head + b"," + struct.pack("<HHHH", 0, 0, width, height) + b"\x00" + b"\x02\x02\x44\x01\x00" + b";"


def webp_claiming(width: int, height: int) -> bytes:
    """A WebP header that claims a canvas, with next to nothing behind it."""
    body = b"VP8X" + struct.pack("<I", 10) + b"\x00" * 4
    body += (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body += encode(Image.new("RGB", (1, 1)), "WEBP", lossless=True)[12:]
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def jpeg_with_scans(count: int) -> bytes:
    """A progressive JPEG whose last scan is repeated."""
    data = encode(noise(64, 64), "JPEG", progressive=True)
    start = data.rindex(b"\xff\xda")
    return data[:-2] + data[start:-2] * count + b"\xff\xd9"


def slow_jpeg() -> bytes:
    """A progressive JPEG of 16 million pixels with some hundred passes over all of them: small, and minutes of work."""
    data = encode(Image.new("L", (4096, 4096)), "JPEG", progressive=True)
    start = data.rindex(b"\xff\xda")
    return data[:-2] + data[start:-2] * 1000 + b"\xff\xd9"
