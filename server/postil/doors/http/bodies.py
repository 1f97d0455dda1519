"""Receiving a request's body: no larger than allowed, no slower than reasonable, and all bodies together within the
memory that is set aside for requests."""

from __future__ import annotations

import asyncio
import time

from starlette.types import Receive

from postil.doors.http import encodings
from postil.errors import Failure
from postil.v1.status_code_pb2 import StatusCode

_PATIENCE_S = 30.0  # without a single byte
_SLOWEST = 16 * 1024  # bytes a second of a whole body, after as much patience


class Gone(Exception):
    """The client hung up."""


class Bodies:
    """Room for bodies. Belongs to one event loop.

    Args:
        largest: Bytes of one body.
        together: Bytes of all bodies that are being received or worked on.
    """

    def __init__(self, largest: int, together: int) -> None:
        self.largest = largest
        self._together = together
        self._held = 0

    async def receive(self, receive: Receive, length: str) -> bytes:
        """The whole body; give its room back with `release`.

        Args:
            receive: ASGI's.
            length: The Content-Length header, or "".

        Raises:
            Failure: RPC_MAX_MESSAGE_SIZE_EXCEEDED, CONN_THROTTLED (no room now), RPC_REQUEST_TIMEOUT.
            Gone: The client hung up.
        """
        if length.isdecimal() and len(length) < 20 and int(length) > self.largest:
            raise encodings.too_large(self.largest)
        chunks: list[bytes] = []
        size = 0
        try:
            chunk, more = await _first(receive)
            began = time.monotonic()
            while True:
                size += len(chunk)
                self._hold(len(chunk), size)
                _hurry(began, size)
                chunks.append(chunk)
                if not more:
                    return chunk if len(chunks) == 1 else b"".join(chunks)
                chunk, more = await _next(receive)
        except BaseException:
            self.release(size)
            raise

    def release(self, size: int) -> None:
        """Gives the room of a body back."""
        self._held -= size

    def _hold(self, more: int, size: int) -> None:
        """Takes room for `more` bytes of a body that has `size` of them so far."""
        self._held += more
        if size > self.largest:
            raise encodings.too_large(self.largest)
        if self._held > self._together and self._held > size:
            raise Failure(StatusCode.CONN_THROTTLED, "The server holds as many requests as it can. Try again soon.")


def _hurry(began: float, size: int) -> None:
    """Bodies that keep every single wait short take no longer than a slow line would either."""
    if time.monotonic() - began > _PATIENCE_S + size / _SLOWEST:
        details = "The body arrives too slowly. Send it over a faster line, or in smaller parts."
        raise Failure(StatusCode.RPC_REQUEST_TIMEOUT, details)


async def _first(receive: Receive) -> tuple[bytes, bool]:
    """The body of most requests, and whether more of it comes."""
    message = await receive()
    if message["type"] == "http.disconnect":
        raise Gone
    return message.get("body", b""), message.get("more_body", False)


async def _next(receive: Receive) -> tuple[bytes, bool]:
    try:
        async with asyncio.timeout(_PATIENCE_S):
            return await _first(receive)
    except TimeoutError:
        details = f"No byte of the body arrived within {_PATIENCE_S:.0f} seconds."
        raise Failure(StatusCode.RPC_REQUEST_TIMEOUT, details) from None
