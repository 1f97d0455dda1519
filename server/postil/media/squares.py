"""The square of a picture that an embedder looks at. Decoders cut it, so that only what is looked at leaves them;
embedders cut it from pictures that came another way. Both by the same code, and so to the same bits."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]


class Square(NamedTuple):
    """The middle square of an upright picture, scaled."""

    side: int  # pixels of the square
    of: int  # pixels that the picture's shorter edge would have at that scale; more than `side` leaves a margin out


def cut(picture: Image.Image, square: Square) -> Pixels:
    """The square of an RGB picture of any size from 1 × 1: uint8 [side, side, 3]."""
    edge = min(picture.size) * (square.side / square.of)
    left, top = (picture.width - edge) / 2, (picture.height - edge) / 2
    # One resize of the square alone: what lies outside it is never scaled. The gap lets a large picture be
    # halved cheaply before the fine filter.
    scaled = picture.resize(
        (square.side, square.side),
        Image.Resampling.BICUBIC,
        box=(left, top, left + edge, top + edge),
        reducing_gap=3.0,
    )
    return np.asarray(scaled)


def as_square(content: Image.Image | Pixels, square: Square) -> Pixels:
    """The square of a picture, or the content itself when it is one already.

    Raises:
        ValueError: It is one of another size.
    """
    if isinstance(content, Image.Image):
        return cut(content, square)
    if content.shape != (square.side, square.side, 3):
        raise ValueError(f"a square of the shape {content.shape} was given where {square.side} × {square.side} is due")
    return content
