"""Damaged and forged pictures, thrown at what opens them. Run as a program, it lets atheris choose them by coverage.

    python -m fuzz.pictures -runs=1000000 FOLDER

keeps inputs that reach new code in FOLDER (https://github.com/google/atheris).
"""

from __future__ import annotations

import importlib
import io
import random
import sys
from collections.abc import Iterator
from functools import cache
from typing import Any

from PIL import Image

from postil.errors import Failure
from postil.media.pictures import FORMATS, PictureLimits, PictureReader

LIMITS = PictureLimits(max_bytes=1 << 20, max_pixels=1_000_000)
SIDE = 64


@cache
def honest() -> tuple[bytes, ...]:
    """A small picture in each format, in several modes."""
    found = []
    draw = random.Random(3)
    noise = Image.frombytes("RGB", (24, 20), draw.randbytes(24 * 20 * 3))
    for kind in FORMATS:
        for mode in ("RGB", "L", "P", "RGBA", "1", "CMYK", "I;16"):
            out = io.BytesIO()
            try:
                noise.convert(mode).save(out, kind)
            except (OSError, ValueError):  # not in this format
                continue
            found.append(out.getvalue())
    for kind in ("GIF", "PNG", "WEBP", "TIFF"):  # two frames
        out = io.BytesIO()
        noise.save(out, kind, save_all=True, append_images=[noise.rotate(90)])
        found.append(out.getvalue())
    out = io.BytesIO()
    noise.save(out, "JPEG", progressive=True)
    found.append(out.getvalue())
    return tuple(dict.fromkeys(found))


def broken(seed: int) -> Iterator[bytes]:
    """Pictures with something wrong, without end."""
    draw = random.Random(seed)
    while True:
        content = bytearray(draw.choice(honest()))
        for _ in range(draw.choice((1, 1, 2, 4, 16))):
            at = draw.randrange(len(content) + 1)
            match draw.randrange(5):
                case 0:
                    content[at : at + 1] = bytes((draw.randrange(256),))
                case 1:
                    content[at : at + 4] = draw.choice((b"\xff\xff\xff\xff", b"\x00\x00\x00\x00", b"\x7f\xff\xff\xff"))
                case 2:
                    del content[at : at + draw.choice((1, 8, 64))]
                case 3:
                    other = draw.choice(honest())
                    content[at:] = other[draw.randrange(len(other)) :]
                case _:
                    content[at:at] = draw.randbytes(draw.choice((1, 8, 64)))
        yield bytes(content)


def attempt(content: bytes) -> str:
    """Opens it; what is wrong with how that went, or ""."""
    try:
        picture = PictureReader(LIMITS).open(content, side=SIDE)
    except Failure as failure:
        return "" if failure.details else "a refusal without a reason"
    if picture.image.mode != "RGB" or picture.width * picture.height > LIMITS.max_pixels:
        return f"came out as {picture.image.mode} {picture.width} x {picture.height}"
    return ""


def main(arguments: list[str]) -> None:
    """Hands over to atheris."""
    atheris: Any = importlib.import_module("atheris")  # only for the long form; it has no types
    atheris.instrument_imports(include=["PIL", "postil.media"])

    def one(content: bytes) -> None:
        wrong = attempt(content)
        if wrong:
            raise AssertionError(wrong)

    atheris.Setup([sys.argv[0], *arguments], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
