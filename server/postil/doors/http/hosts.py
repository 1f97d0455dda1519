"""Under which names the HTTP door answers those who show no key.

A browser lets a page talk to the host that it came from. Whoever owns a name can let it lead to this machine once his
page has been loaded (DNS rebinding): the page then reads and writes here, and its Origin matches its Host. What gives
it away is the name. An address cannot be led elsewhere, and the names of this machine belong to nobody outside.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterable
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from postil import errors
from postil.config import Address
from postil.core import statuses
from postil.doors.http.json_out import Printer
from postil.v1.status_pb2 import BaseResponse

ANY = "*"
_SHOWN = 100  # characters of a name


class Hosts:
    """The names.

    Args:
        listening: Where the door listens. Beyond this machine, names without a dot are taken too: no stranger can own
            one, and those who can, on the same network, need no browser to come here.
        public_url: What clients are told to call, or "".
        allowed: More names; `ANY` for all.
    """

    def __init__(self, listening: Address, public_url: str = "", allowed: Iterable[str] = ()) -> None:
        machine = _plain(socket.gethostname())
        self._names = frozenset(
            {*allowed, "localhost", machine, f"{machine}.local", _plain(listening.host)}
            | {_plain(urlsplit(public_url).hostname or "")} - {""}
        )
        self._any = ANY in self._names
        self._short = not listening.loopback

    def known(self, host: str) -> bool:
        """Whether a Host header, such as "localhost:18081", is one of ours."""
        name = _name(host)
        if self._any or name in self._names or name.endswith(".localhost"):
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return self._short and "." not in name and name.replace("-", "").replace("_", "").isalnum()
        return True


class HostGuard:
    """Refuses requests under names that are not ours, while they need no key.

    Args:
        app: What answers the others.
        hosts: The names.
        keyless: Whether whoever connects is let in without a key right now. A page has none to show, and would find
            nothing but what is open to strangers anyway.
    """

    def __init__(self, app: ASGIApp, hosts: Hosts, keyless: Callable[[], bool]) -> None:
        self._app = app
        self._hosts = hosts
        self._keyless = keyless

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one HTTP request."""
        for name, value in scope.get("headers", ()):
            if name == b"host" and not self._hosts.known(value.decode("latin-1")) and self._keyless():
                await _refuse(value.decode("latin-1"), send)
                return
        await self._app(scope, receive, send)


async def _refuse(host: str, send: Send) -> None:
    shown = _name(host)[:_SHOWN]
    failure = errors.invalid_request(
        f"This server asks for no keys and does not know itself as {shown!r}, so the call may come from a stranger's "
        "web page. Call it by its address, name it with --allowed-hosts, or ask for keys with --access keys."
    )
    status = statuses.of_failure(failure)
    status.http_status_code = 403
    body = Printer().text(BaseResponse(status=status))
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _name(host: str) -> str:
    """A Host header without its port and brackets."""
    host = host.strip()
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return _plain(host.partition(":")[0])


def _plain(name: str) -> str:
    return name.strip().lower().removesuffix(".")
