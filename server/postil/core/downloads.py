"""Media behind URLs: our own from the blobs, everybody else's through the guard."""

from __future__ import annotations

from collections.abc import Callable

from postil.core import ids
from postil.core.call import Call
from postil.core.hosting import Hosting
from postil.errors import Failure
from postil.store.base import Blobs
from postil.v1.status_code_pb2 import StatusCode


class Downloads:
    """URL to bytes.

    Args:
        fetch: The guarded fetcher; given a URL and whether it is still wanted, raises Failure.
        blobs: What we host is read from here, as our own address may be one that is never fetched.
        hosting: Tells which URLs are our own.
    """

    def __init__(self, fetch: Callable[[str, Callable[[], bool]], bytes], blobs: Blobs, hosting: Hosting) -> None:
        self._fetch = fetch
        self._blobs = blobs
        self._own = hosting.url("")

    def get(self, url: str, call: Call | None = None, wanted: Callable[[], bool] = lambda: True) -> bytes:
        """The bytes; raises Failure when they cannot be had, and Gone when the call ends before they are there.
        Without a call, `wanted` says whether they still matter; a fetch that does not fails."""
        if not url.startswith(self._own):
            if call is None:
                return self._fetch(url, wanted)
            call.check()
            try:
                return self._fetch(url, call.wanted)
            finally:
                call.check()
        content = self._blobs.get(url.removeprefix(self._own))
        if content is None:
            raise Failure(StatusCode.INPUT_FAILED, f"there is nothing at {ids.shown(url)} any more; use another url")
        return content
