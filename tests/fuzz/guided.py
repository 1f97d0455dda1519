"""Broken pictures that atheris chooses by the code that they reach (https://github.com/google/atheris).

    python -m fuzz.guided -max_total_time=600 FOLDER

begins with an honest picture of each kind and keeps inputs that reach new code in FOLDER.
"""

from __future__ import annotations

import importlib
import random
import sys
import warnings
from pathlib import Path
from typing import Any

atheris: Any = importlib.import_module("atheris")  # only for the long form; it has no types
with atheris.instrument_imports(include=["PIL", "postil.media"]):  # before anything else imports them
    from fuzz import pictures


def one(content: bytes) -> None:
    """Raises AssertionError where a picture is neither opened nor refused as it should be."""
    wrong = pictures.attempt(content)
    if wrong:
        raise AssertionError(wrong)


def change(content: bytes, size: int, seed: int) -> bytes:
    """Another picture, by libFuzzer's means or by ours, whose checksums fit."""
    draw = random.Random(seed)
    changed = bytearray(content)
    if draw.random() < 0.7:
        changed = bytearray(atheris.Mutate(content, size))
    else:
        pictures.spoil(changed, draw)
    return pictures.mended(bytes(changed))[:size]


def main(arguments: list[str]) -> None:
    """Hands over to libFuzzer."""
    warnings.simplefilter("ignore")
    for folder in map(Path, arguments):
        if folder.is_dir() and not any(folder.iterdir()):
            for number, content in enumerate(pictures.honest()):
                (folder / f"honest-{number}").write_bytes(content)
    atheris.Setup([sys.argv[0], *arguments], one, custom_mutator=change)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
