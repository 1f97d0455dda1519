"""Whether the caller of a running HTTP request is still there."""

from __future__ import annotations

import asyncio

from starlette.types import Receive

_QUICK_S = 0.05  # what is answered sooner is not worth the watching


class Waiting:
    """Looks out for a caller who hangs up. Belongs to one event loop; `there` may be asked on any thread.

    Args:
        receive: ASGI's, after the whole body.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._gone = False
        self._watch: asyncio.Task[None] | None = None
        self._begin = asyncio.get_running_loop().call_later(_QUICK_S, self._start)

    def there(self) -> bool:
        """False once the caller has hung up."""
        return not self._gone

    def close(self) -> None:
        """The request is answered."""
        self._begin.cancel()
        if self._watch is not None:
            self._watch.cancel()

    def _start(self) -> None:
        self._watch = asyncio.ensure_future(self._look())

    async def _look(self) -> None:
        message = await self._receive()  # there is no more body, so this is the end
        self._gone = message["type"] == "http.disconnect"
