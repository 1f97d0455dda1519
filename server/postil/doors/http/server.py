"""The HTTP listener: uvicorn on its own thread with its own loop, so that RPCs and pages do not wait for each other."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import ssl
import threading
from collections.abc import Iterator

import uvicorn
import uvloop
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from postil.config import Address
from postil.doors import sockets

_HEAD_BYTES = 64 * 1024


_HEAD_S = 10.0  # for the request line and headers
_TURNS = itertools.count()
_STUCK_S = 30.0  # without taking a byte of the answer
_LYING = 64 * 1024  # bytes of an answer that are not worth counting
_UNREAD = 256 << 20  # bytes of answers that clients do not take, together; a single one may be larger


class _Protocol(HttpToolsProtocol):
    """uvicorn's, with bounds that it lacks: of the bytes and the seconds of the request line and headers, of the
    seconds that an answer may lie unread, and of connections. Where there are too many, the one that has waited for
    longest without a request goes, so that idle ones cannot shut others out."""

    most: int  # connections, as the door has it
    _head = 0
    _in_head = True
    turn = 0  # counts connections and requests: the lower, the longer ago this one did anything
    _unread = 0
    _slow: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect_head()
        if len(self.connections) > self.most:
            idle = [one for one in self.connections if isinstance(one, _Protocol) and one is not self and one.idle()]
            if idle:
                min(idle, key=lambda one: one.turn).transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._calm()
        super().connection_lost(exc)

    def timeout_keep_alive_handler(self) -> None:
        unread = self.transport.get_write_buffer_size()
        if not unread:
            super().timeout_keep_alive_handler()
        elif self._unread and unread >= self._unread:
            self.transport.abort()
        else:
            self._unread = unread
            self.timeout_keep_alive_task = self.loop.call_later(_STUCK_S, self.timeout_keep_alive_handler)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.get_write_buffer_size() > _LYING:
            self._make_room()

    def _make_room(self) -> None:
        """Where too much lies unread, who has waited for longest is hung up on."""
        lying = [(one.turn, one) for one in self.connections if isinstance(one, _Protocol)]
        lying = [(turn, one) for turn, one in lying if one.transport.get_write_buffer_size()]
        over = sum(one.transport.get_write_buffer_size() for _, one in lying) - _UNREAD
        for _, one in sorted(lying, key=lambda pair: pair[0]):
            if over <= 0 or one is self:
                return
            over -= one.transport.get_write_buffer_size()
            one.transport.abort()

    def idle(self) -> bool:
        """Whether no request of it is being answered."""
        cycle: RequestResponseCycle | None = self.cycle
        return self._in_head or cycle is None or cycle.response_complete

    def _expect_head(self) -> None:
        self._calm()
        self.turn = next(_TURNS)
        self._slow = self.loop.call_later(_HEAD_S, self._too_slow)

    def _calm(self) -> None:
        if self._slow is not None:
            self._slow.cancel()
            self._slow = None

    def _too_slow(self) -> None:
        if self._in_head:
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._in_head:
            self._head += len(data)
            if self._head > _HEAD_BYTES:
                self.send_400_response("The request line and headers are too large.")

    def on_message_begin(self) -> None:
        self._head, self._in_head = 0, True
        self._unread = 0
        self._expect_head()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._calm()
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
        connections: At most. For a newer one, the one goes that has done nothing for longest.
    """

    def __init__(self, app: ASGIApp, tls: ssl.SSLContext | None = None, connections: int = 1024) -> None:
        config = uvicorn.Config(
            app,
            access_log=False,
            log_config=None,
            lifespan="off",
            ws="none",
            server_header=False,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=2,
            http=type("_Bounded", (_Protocol,), {"most": connections}),
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
