"""Tools that are not Python packages of ours: where they are, and whether a test may do without them."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
CACHE = ROOT / ".cache"


def missing(what: str, remedy: str) -> NoReturn:
    """Skips the test on a bare machine, and fails it in CI, where nothing may be missing."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what} is missing although CI=true: {remedy}")
    pytest.skip(f"needs {what}: {remedy}")


def grpcurl() -> Path:
    """The grpcurl that `make grpcurl` built, or one on PATH."""
    built = sorted((CACHE / "bin").glob("grpcurl-v*"))
    found = built[-1] if built else shutil.which("grpcurl")
    return Path(found) if found else missing("grpcurl", "run `make grpcurl`")


def clarifai_python() -> Path:
    """A Python that has the published client; `make published-clients` makes it, here too unless it cannot."""
    done = subprocess.run(
        ["make", "--no-print-directory", "published-clients"], cwd=ROOT, check=False, capture_output=True, text=True
    )
    found = sorted((CACHE / "venvs").glob("clarifai-grpc-*/.stamp"))
    if done.returncode or not found:
        missing("clarifai-grpc from PyPI", f"run `make published-clients`: {done.stderr[-500:]}")
    return found[-1].parent / "bin/python"
