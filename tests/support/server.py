"""A real server in a process of its own, on free ports and a directory that the test chose."""

from __future__ import annotations

import os
import re
import selectors
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.message import Message

from postil import v1
from support.doors import METHODS

OWN = "postil.v1"  # each RPC under the service of its noun
VENDOR = "clarifai.api.V2"
NAMES = (OWN, VENDOR)
START_S = 60
STOP_S = 15
LOCAL = ("--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0")

_READY = re.compile(r"postil ready grpc=(\S+) http=(\S+)")
_CHANNEL = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),
)


def command(*arguments: str) -> list[str]:
    """`postil` with this interpreter."""
    return [sys.executable, "-m", "postil.cli", *arguments]


def clean_environment() -> dict[str, str]:
    """Without settings of the person who runs the tests."""
    return {name: value for name, value in os.environ.items() if not name.startswith("POSTIL_")}


class Server:
    """Starts on construction and waits for the ready line.

    Attributes:
        grpc: "host:port".
        http: "http://host:port".
        ready_line: What it printed.
        log: File with its stderr.
        started_s: Seconds from the start of the process to the ready line.
    """

    def __init__(self, folder: Path, *options: str) -> None:
        self.data_dir = folder / "data"
        self.log = folder / "server.log"
        self._options = options
        self._channel: grpc.Channel | None = None
        self._start()

    def _start(self) -> None:
        arguments = self._program("serve", "--data-dir", str(self.data_dir), *LOCAL, *self._options)
        began = time.monotonic()
        with self.log.open("ab") as errors:
            self.process = subprocess.Popen(
                arguments, stdout=subprocess.PIPE, stderr=errors, text=True, env=self._environment()
            )
        self.ready_line = self._first_line()
        self.started_s = time.monotonic() - began
        ready = _READY.fullmatch(self.ready_line.rstrip("\n"))
        if not ready:
            self.process.kill()
            raise RuntimeError(f"no ready line but {self.ready_line!r}\n{self.tail()}")
        self.grpc, self.http = ready[1], f"http://{ready[2]}"
        self._disconnect()  # a call that came too late may have opened a channel to the server before this one

    def _program(self, *arguments: str) -> list[str]:
        """What is started; for servers that are not quite the product."""
        return command(*arguments)

    def _environment(self) -> dict[str, str]:
        return clean_environment()

    def _first_line(self) -> str:
        assert self.process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            return self.process.stdout.readline() if selector.select(START_S) else ""

    @property
    def channel(self) -> grpc.Channel:
        """A channel to it, kept until it stops."""
        if self._channel is None:
            self._channel = grpc.insecure_channel(self.grpc, options=_CHANNEL)
        return self._channel

    def stub(self, service: str) -> Any:
        """Our generated stub of a service: `server.stub("Annotations").PostAnnotations(request)`."""
        found = [getattr(module, f"{service}Stub", None) for module in _stub_modules()]
        return next(stub for stub in found if stub is not None)(self.channel)

    def call(
        self,
        name: str,
        rpc: str,
        request: Message,
        *,
        timeout: float = 30,
        metadata: tuple[tuple[str, str], ...] = (("authorization", "Key any"),),
    ) -> Any:
        """Calls an RPC by its bare name under `OWN` or `VENDOR`, and gives the response message."""
        method = METHODS[rpc]
        path = method.path if name == OWN else f"/{VENDOR}/{rpc}"
        invoke = self.channel.unary_unary(
            path, request_serializer=method.request.SerializeToString, response_deserializer=method.response.FromString
        )
        return invoke(request, timeout=timeout, metadata=metadata)

    def restart(self) -> None:
        """Stops it in good order and starts it on the same directory."""
        assert self.stop() == 0, self.tail()
        self._start()

    def kill9(self, *, restart: bool = True) -> None:
        """Kills it as a power cut of the process would, and starts it on the same directory."""
        self._disconnect()
        self.process.kill()
        self.process.wait(STOP_S)
        self._close_output()
        if restart:
            self._start()

    def stop(self) -> int:
        """SIGTERM; gives the exit code."""
        self._disconnect()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        finally:
            self._close_output()

    def tail(self, size: int = 8000) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-size:]

    def _close_output(self) -> None:
        if self.process.stdout is not None:
            self.process.stdout.close()

    def _disconnect(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None


def _stub_modules() -> list[Any]:
    import importlib
    import pkgutil

    names = [found.name for found in pkgutil.iter_modules(v1.__path__) if found.name.endswith("_service_pb2_grpc")]
    return [importlib.import_module(f"{v1.__name__}.{name}") for name in names]
