"""What the demo posts: the photographs that ship inside scikit-image, and the digits of scikit-learn.

Both come with their packages, so nothing is downloaded.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# Photographs and scans; test patterns and stereo halves are left out.
PHOTOS = {
    "astronaut": "astronaut.png",
    "brick": "brick.png",
    "camera": "camera.png",
    "cat": "chelsea.png",
    "cells": "cell.png",
    "coffee": "coffee.png",
    "coins": "coins.png",
    "deep-field": "hubble_deep_field.jpg",
    "grass": "grass.png",
    "gravel": "gravel.png",
    "horse": "horse.png",
    "moon": "moon.png",
    "motorcycle": "motorcycle_left.png",
    "page": "page.png",
    "retina": "retina.jpg",
    "rocket": "rocket.jpg",
    "tissue": "ihc.png",
}

TEXTS = {
    "note-cat": "A ginger kitten sleeps on the sofa.",
    "note-coffee": "A cup of strong espresso, freshly brewed.",
    "note-rocket": "The spacecraft lifted off into orbit at dawn.",
    "note-bread": "Bake the dough until the crust is golden.",
    "note-rain": "Heavy showers are expected over the coast tonight.",
}


class Digits(NamedTuple):
    """Handwritten digits: pixels as vectors, and what each one is."""

    vectors: NDArray[np.float32]  # [1797, 64], 0 to 16
    digits: NDArray[np.int64]  # [1797]


def photos() -> dict[str, Path]:
    """Name -> file, of those this version of scikit-image ships."""
    import skimage

    folder = Path(skimage.__file__).parent / "data"
    found = {name: folder / file for name, file in PHOTOS.items()}
    return {name: path for name, path in found.items() if path.exists()}


def digits() -> Digits:
    """All 1,797 of them."""
    from sklearn.datasets import load_digits

    loaded = load_digits()
    return Digits(loaded.data.astype(np.float32), loaded.target.astype(np.int64))


def altered(path: Path) -> bytes:
    """The picture as somebody else might have it: rotated a little, cropped, smaller, and a lossy JPEG."""
    with Image.open(path) as opened:
        picture = opened.convert("RGB").rotate(7, Image.Resampling.BICUBIC)
    width, height = picture.size
    picture = picture.crop((width // 8, height // 8, width - width // 8, height - height // 8))
    picture.thumbnail((300, 300))
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=40)
    return out.getvalue()
