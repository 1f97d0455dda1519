"""Opens pictures that strangers send: an allow-list of formats, limits checked before decoding, always RGB upright.

Law 8 of the house: whatever comes in is hostile. Every refusal is a `Failure` whose code says what kind of fault it
is (30101 not a picture that we read, 30104 nothing there, 30105 too large, 30300 damaged) and whose details say what
to do about it.
"""

from __future__ import annotations

import io
import math
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, JpegImagePlugin, UnidentifiedImageError

from postil import errors
from postil.media.sniff import describe, picture_format
from postil.media.squares import Pixels, Square, cut
from postil.v1.data_pb2 import BoundingBox
from postil.v1.status_code_pb2 import StatusCode

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")

# Enough for every encoder that looks at up to 512 pixels; the default one looks at 256.
# Stored and searched pictures must be opened alike, or a picture would not find itself with score 1.
EMBED_SIDE = 512

# What makes a picture upright, by its EXIF orientation.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SWAPPED = frozenset({5, 6, 7, 8})  # orientations that exchange width and height


class Picture(NamedTuple):
    """A decoded picture."""

    image: Image.Image  # RGB, upright; smaller than width × height when it was opened with `side`
    width: int  # pixels of the picture as it was sent, upright
    height: int
    format: str  # one of FORMATS


class Seen(NamedTuple):
    """A picture as embedders take it."""

    content: Image.Image | Pixels  # RGB picture, or the square that was asked for
    width: int  # as in Picture
    height: int
    format: str


@dataclass(frozen=True)
class PictureLimits:
    """What is accepted.

    Args:
        max_bytes: Size of the file.
        max_pixels: Width × height.
        max_scans: Passes of a progressive JPEG; each costs a walk over all pixels, and honest files have about ten.
    """

    max_bytes: int = 64 * 1024 * 1024
    max_pixels: int = 64_000_000
    max_scans: int = 200


Room: TypeAlias = Callable[[int], AbstractContextManager[None]]


class Opener(Protocol):
    """Opens pictures. Thread-safe."""

    def open(self, data: bytes, *, side: int | None = None) -> Picture:
        """See `PictureReader.open`."""
        ...

    def square(self, data: bytes, square: Square) -> Seen:
        """See `PictureReader.square`."""
        ...


class PixelRoom:
    """Room for pixels that are being decoded. Thread-safe.

    However many pictures are opened at one time, they have together no more than `pixels` (about 13 bytes each at
    worst), so that a crowd of large pictures makes a queue and not a heap.
    """

    def __init__(self, pixels: int) -> None:
        self._free = pixels
        self._change = threading.Condition()

    @contextmanager
    def take(self, pixels: int) -> Iterator[None]:
        """Waits until so many pixels may be decoded."""
        with self._change:
            self._change.wait_for(lambda: self._free >= pixels)
            self._free -= pixels
        try:
            yield
        finally:
            with self._change:
                self._free += pixels
                self._change.notify_all()


class PictureReader:
    """Opens pictures within limits, in this process. Thread-safe. The server does it in others: `media/decoders.py`.

    Args:
        limits: What is accepted.
        room: Where room for a picture's pixels is taken while it is decoded; by default, for `max_pixels` in all.
    """

    def __init__(self, limits: PictureLimits | None = None, room: Room | None = None) -> None:
        self._limits = limits or PictureLimits()
        self._room = room or PixelRoom(self._limits.max_pixels).take

    def open(self, data: bytes, *, side: int | None = None) -> Picture:
        """Decodes the first frame of a picture.

        Args:
            data: The file.
            side: When given, the picture may come back smaller, but not with an edge below this many pixels where
                it was longer; large photographs then open several times faster. The outcome depends on `data` and
                `side` alone.

        Raises:
            Failure: INPUT_INVALID_ARGUMENT, INPUT_UNSUPPORTED_FORMAT, INPUT_OVER_LIMIT or ALL_INPUT_INVALID_BYTES.
        """
        check_file(data, self._limits)
        try:
            image = self._identify(data)
            self._check_size(image)
            size = _full_size(image)
            if side:
                image.draft(image.mode, (side, side))
            with self._room(math.prod(image.size)):
                upright = _decode(image)
                reduced = _reduce(upright, side) if side else upright
        except errors.Failure:
            raise
        except MemoryError as error:
            raise too_hungry() from error
        except Exception as error:  # Pillow's readers raise some twenty kinds for damaged files
            raise errors.Failure(
                StatusCode.ALL_INPUT_INVALID_BYTES,
                f"The {picture_format(data) or 'picture'} file is damaged or cut short. Send the whole file again.",
                f"{type(error).__name__}: {error}",
            ) from error
        width, height = size or upright.size
        return Picture(reduced, width, height, _format(image))

    def square(self, data: bytes, square: Square) -> Seen:
        """What an embedder looks at: the square of the picture as `open` gives it with EMBED_SIDE. Raises as `open`."""
        picture = self.open(data, side=EMBED_SIDE)
        return Seen(cut(picture.image, square), *picture[1:])

    def _identify(self, data: bytes) -> Image.Image:
        """Reads the header only."""
        try:
            return Image.open(io.BytesIO(data), formats=FORMATS)
        except UnidentifiedImageError as error:
            if picture_format(data):
                raise  # it means to be one, but is damaged
            raise errors.Failure(
                StatusCode.INPUT_UNSUPPORTED_FORMAT,
                f"The bytes are not a picture that can be read: they look like {describe(data)}. "
                f"Send one of {', '.join(FORMATS)}.",
            ) from error
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise _too_large("far too many pixels", self._limits.max_pixels) from error

    def _check_size(self, image: Image.Image) -> None:
        # A GIF's frame may reach beyond its canvas, so the tiles count too.
        tiles = [tile.extents for tile in getattr(image, "tile", []) if tile.extents]
        width = max([image.width, *(extents[2] for extents in tiles)])
        height = max([image.height, *(extents[3] for extents in tiles)])
        if width * height > self._limits.max_pixels:
            raise _too_large(f"{width:,} × {height:,} pixels", self._limits.max_pixels)


def check_file(data: bytes, limits: PictureLimits) -> None:
    """What can be told without a look at the format: raises Failure for an empty or too large file."""
    if not data:
        raise errors.Failure(StatusCode.INPUT_INVALID_ARGUMENT, "The picture has no bytes. Send a picture file.")
    if len(data) > limits.max_bytes:
        raise errors.Failure(
            StatusCode.INPUT_OVER_LIMIT,
            f"The picture file has {len(data):,} bytes; at most {limits.max_bytes:,} are accepted. "
            "Compress it or scale it down.",
        )
    # Within compressed data an 0xFF is never followed by 0xDA, so this counts scans and little else.
    if data[:2] == b"\xff\xd8" and data.count(b"\xff\xda") > limits.max_scans:
        raise errors.Failure(
            StatusCode.INPUT_OVER_LIMIT,
            f"The JPEG has more than {limits.max_scans} scans. Save it again as an ordinary JPEG.",
        )


def open_picture(data: bytes, *, side: int | None = None) -> Picture:
    """`PictureReader.open` with the default limits and no regard for other threads."""
    return PictureReader().open(data, side=side)


def crop(image: Image.Image, box: BoundingBox) -> Image.Image:
    """The part of an upright picture inside a box in fractions of its edges, at least one pixel; partly covered
    pixels are taken whole. The box must lie within 0..1 with positive width and height."""
    left = min(math.floor(box.left_col * image.width), image.width - 1)
    top = min(math.floor(box.top_row * image.height), image.height - 1)
    right = max(math.ceil(box.right_col * image.width), left + 1)
    bottom = max(math.ceil(box.bottom_row * image.height), top + 1)
    return image.crop((max(left, 0), max(top, 0), min(right, image.width), min(bottom, image.height)))


def too_hungry() -> errors.Failure:
    """The refusal of a picture for which memory does not suffice."""
    return errors.Failure(
        StatusCode.INPUT_OVER_LIMIT,
        "The picture needs more memory to decode than one picture gets. Scale it down, or save it in a simpler way.",
    )


def _too_large(what: str, limit: int) -> errors.Failure:
    return errors.Failure(
        StatusCode.INPUT_OVER_LIMIT,
        f"The picture has {what}; at most {limit:,} in all are accepted. Scale it down.",
    )


def _full_size(image: Image.Image) -> tuple[int, int] | None:
    """Width and height, upright, of a JPEG before it is drafted; None for formats that are always opened whole."""
    if not isinstance(image, JpegImagePlugin.JpegImageFile):
        return None
    width, height = image.size
    return (height, width) if _orientation(image) in _SWAPPED else (width, height)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # noqa: BLE001 damaged EXIF does not make the picture unreadable
        return 1


def _decode(image: Image.Image) -> Image.Image:
    """The first frame, RGB and upright."""
    image.load()
    flat = _flatten(image)
    turn = _TURNS.get(_orientation(image))
    return flat if turn is None or image.format == "TIFF" else flat.transpose(turn)  # Pillow turns TIFF itself


def _flatten(image: Image.Image) -> Image.Image:
    """Any mode to RGB: transparency over white, deep channels scaled to eight bits."""
    if image.mode in {"I", "F"} or image.mode.startswith("I;16"):
        return Image.fromarray(_eight_bits(np.asarray(image))).convert("RGB")
    if not image.has_transparency_data:
        return image if image.mode == "RGB" else image.convert("RGB")
    layered = image.convert("RGBA")
    flat = Image.new("RGB", image.size, (255, 255, 255))
    flat.paste(layered, mask=layered.getchannel("A"))
    return flat


def _eight_bits(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Grey values of sixteen bits, 32 bits or floating point to 0..255. Floats up to 1 count as fractions of white;
    what needs more than sixteen bits is stretched between its own least and greatest value."""
    wide = np.nan_to_num(values.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = float(wide.min()), float(wide.max())
    if values.dtype == np.uint16:
        low, high = 0.0, 65535.0
    elif low >= 0.0 and high <= 65535.0:
        floating = np.issubdtype(values.dtype, np.floating)
        low, high = 0.0, 1.0 if floating and high <= 1.0 else 255.0 if high <= 255.0 else 65535.0
    scaled: NDArray[np.float32] = (wide - low) * np.float32(255.0 / max(high - low, 1e-30))
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)


def _reduce(image: Image.Image, side: int) -> Image.Image:
    """Shrinks by a whole factor while the shorter edge stays at `side` or above."""
    factor = min(image.size) // side
    return image.reduce(factor) if factor > 1 else image


def _format(image: Image.Image) -> str:
    """MPO is what some cameras make of JPEG: several in one file."""
    return "JPEG" if isinstance(image, JpegImagePlugin.JpegImageFile) else str(image.format)
