"""Tools that are not Python packages of ours: where they are, and whether a test may do without them."""

from __future__ import annotations

import functools
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
    """A Python that has the published gRPC client."""
    return published_client("venvs/clarifai-grpc-*") / "bin/python"


@functools.cache
def published_client(name: str) -> Path:
    """The folder of a published client's environment, by a pattern such as "venvs/clarifai-2.*".

    `make published-clients` makes them; the tests do too, unless they cannot.
    """
    done = subprocess.run(
        ["make", "--no-print-directory", "published-clients"], cwd=ROOT, check=False, capture_output=True, text=True
    )
    found = sorted(CACHE.glob(f"{name}/.stamp"))
    if done.returncode or not found:
        missing(f"{name} from its registry", f"run `make published-clients`: {done.stderr[-500:]}")
    return found[-1].parent
