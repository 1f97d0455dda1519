"""Finds the weights that ship inside installed packages, and makes sure that they are the ones we know."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path


class Unusable(RuntimeError):
    """A model cannot be used on this machine. `args[0]` says why and what to do."""


def package_file(package: str, relative: str) -> Path:
    """The path of a file inside an installed package, found without importing the package.

    Raises:
        Unusable: The package or the file is missing.
    """
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder, relative)
        if path.is_file():
            return path
    raise Unusable(f"{relative} of the package {package} is missing; install it with: pip install 'postil[server]'")


def digest(path: Path) -> str:
    """The sha256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check(path: Path, expected: str) -> None:
    """Raises Unusable unless the file has the sha256 `expected`."""
    if digest(path) != expected:
        raise Unusable(f"{path} is not the file that this version of Postil was made for; install postil[server] anew")


def version_id(*facts: str) -> str:
    """32 hex digits that change when any of the facts does."""
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:32]
