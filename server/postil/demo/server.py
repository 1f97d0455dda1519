"""A server for the demo: its own process, its own directory, nothing left behind."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_READY = re.compile(r"postil ready grpc=(\S+) http=(\S+)")
_STOP_SECONDS = 15


@contextmanager
def temporary_server() -> Iterator[str]:
    """Serves on free ports from an empty directory; gives `host:port` of the gRPC door."""
    with tempfile.TemporaryDirectory(prefix="postil-demo-") as folder:
        log = Path(folder) / "server.log"
        command = [sys.executable, "-m", "postil.cli", "serve", "--data-dir", str(Path(folder) / "data")]
        command += ["--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0", "--fetch-allow", "127.0.0.0/8"]
        with (
            log.open("wb") as errors,
            subprocess.Popen(  # noqa: S603 - this very program
                command, stdout=subprocess.PIPE, stderr=errors, text=True
            ) as server,
        ):
            try:
                yield _address(server, log)
            finally:
                _stop(server)


def _address(server: subprocess.Popen[str], log: Path) -> str:
    for line in server.stdout or ():
        ready = _READY.match(line)
        if ready:
            return ready[1]
    raise RuntimeError(f"the server did not start:\n{log.read_text()[-2000:]}")


def _stop(server: subprocess.Popen[str]) -> None:
    server.send_signal(signal.SIGTERM)
    try:
        server.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        server.kill()
