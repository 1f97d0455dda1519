"""The HTTP listener: uvicorn on its own thread with its own loop, so that RPCs and pages do not wait for each other."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator

import uvicorn
import uvloop
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from postil.config import Address
from postil.doors import sockets

_HEAD_BYTES = 64 * 1024


class _Protocol(HttpToolsProtocol):
    """uvicorn's, with a limit for the request line and headers, which llhttp would take in without end."""

    _head = 0
    _in_head = True

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._in_head:
            self._head += len(data)
            if self._head > _HEAD_BYTES:
                self.send_400_response("The request line and headers are too large.")

    def on_message_begin(self) -> None:
        self._head, self._in_head = 0, True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()


class _Server(uvicorn.Server):
    """Signals belong to the command line, which stops both doors in order."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class HttpDoor:
    """An HTTP server around an ASGI application.

    Args:
        app: The application.
        tls: The context of its connections, None for plain text.
    """

    def __init__(self, app: ASGIApp, tls: ssl.SSLContext | None = None) -> None:
        config = uvicorn.Config(
            app,
            access_log=False,
            log_config=None,
            lifespan="off",
            ws="none",
            server_header=False,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=2,
            limit_concurrency=256,
            http=_Protocol,
            ssl_context_factory=(lambda _config, _default: tls) if tls else None,
        )
        self._server = _Server(config)
        self._socket: socket.socket | None = None
        self._thread: threading.Thread | None = None

    def listen(self, address: Address) -> int:
        """Binds and starts. Requests are answered as soon as this returns.

        Returns:
            The port, which the system chose if `address` had port 0.

        Raises:
            CannotListen: The address is taken, or not this machine's.
        """
        self._socket = sockets.listen(address)
        self._thread = threading.Thread(target=self._run, args=(self._socket,), name="http", daemon=True)
        self._thread.start()
        port: int = self._socket.getsockname()[1]
        return port

    def stop(self) -> None:
        """Lets running requests finish for two seconds, then closes."""
        self._server.should_exit = True
        if self._thread is not None:
            self._thread.join(timeout=5)
        if self._socket is not None:
            self._socket.close()

    def _run(self, listening: socket.socket) -> None:
        uvloop.run(self._server.serve(sockets=[listening]))
