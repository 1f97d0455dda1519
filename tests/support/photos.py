"""Real photographs, as files: those that ship inside scikit-image."""

from __future__ import annotations

from functools import cache
from importlib.resources import files


@cache
def photo(name: str) -> bytes:
    """The bytes of one file: astronaut.png, chelsea.png (a cat), coffee.png, rocket.jpg, retina.jpg ..."""
    return (files("skimage") / "data" / name).read_bytes()
