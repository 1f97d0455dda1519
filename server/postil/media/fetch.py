"""Fetches what a URL from outside points to, and lets no URL reach inward.

The host's name is looked up once; every address it has must be open, and the connection goes to one of those very
addresses, so that a second answer of the name server cannot redirect it. Each redirect starts over. Bytes, time and
redirects are bounded; a watchdog cuts the line when time is up, whatever the other side is doing. Proxies of the
environment are not used: they would do the look-up themselves.
"""

from __future__ import annotations

import contextlib
import errno
import http.client
import os
import queue
import selectors
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import quote, urljoin, urlsplit

import postil
from postil import errors
from postil.media.addresses import AddressRule
from postil.v1.status_code_pb2 import StatusCode

MAX_URL = 8192  # characters

_PORTS = frozenset({80, 443, 8080, 8443})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_CHUNK = 64 * 1024
_CONNECTING = frozenset({errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EALREADY})
_LOOK_S = 0.25  # how often it is looked whether the fetch is still wanted
_SAFE = "/?:@!$&'()*+,;=-._~%[]"  # what may stand in a path or query as it is


class _Target(NamedTuple):
    """A URL taken apart."""

    url: str
    scheme: str
    host: str  # ASCII, without brackets
    port: int
    path: str  # with query


@dataclass
class _Budget:
    """What is left for one fetch, over all its redirects."""

    deadline: float  # time.monotonic()
    limit: int
    wanted: Callable[[], bool]  # whether somebody waits for it
    spent: bool = False  # the watchdog has cut the line

    def seconds(self) -> float:
        left = self.deadline - time.monotonic()
        if self.spent or left <= 0 or not self.wanted():
            raise TimeoutError
        return left


class Fetcher:
    """Fetches by http and https. Thread-safe.

    Args:
        allow_cidrs: Networks that are open although they are not public; on them every port is.
        max_bytes: Of the body, as sent and as unpacked.
        timeout_s: For the whole fetch, redirects included.
        max_redirects: How many are followed.
        tls: Verifies https; the system's authorities when None.
    """

    def __init__(
        self,
        allow_cidrs: Iterable[str] = (),
        max_bytes: int = 64 * 1024 * 1024,
        timeout_s: float = 20.0,
        max_redirects: int = 5,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._rule = AddressRule(allow_cidrs)
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s
        self._max_redirects = max_redirects
        self._tls = tls or ssl.create_default_context()

    def fetch(self, url: str, wanted: Callable[[], bool] = lambda: True) -> bytes:
        """The body of the answer.

        Args:
            url: Where.
            wanted: Whether somebody waits for it; once nobody does, the fetch ends as if it were out of time.

        Raises:
            Failure: INPUT_INVALID_URL (malformed, or where it leads is closed), INPUT_CONNECTION_FAILED (no answer),
                INPUT_DOWNLOAD_FAILED (an answer, but not the thing) or INPUT_OVER_LIMIT (too large).
        """
        budget = _Budget(time.monotonic() + self._timeout_s, self._max_bytes, wanted)
        target = _parse(url)
        try:
            for _ in range(self._max_redirects + 1):
                body, location = self._visit(target, budget)
                if location is None:
                    return body
                target = _parse(_join(target.url, location))
        except TimeoutError as error:
            raise self._no_answer(target) from error
        raise _failed(target, f"redirects more than {self._max_redirects} times. Give the final URL.")

    def _visit(self, target: _Target, budget: _Budget) -> tuple[bytes, str | None]:
        """One request: the body, or where the answer redirects to."""
        addresses = self._resolve(target, budget)
        try:
            with self._connect(target, addresses, budget) as sock, _watchdog(sock, budget):
                return self._exchange(target, self._secure(target, sock, budget), budget)
        except (TimeoutError, OSError, http.client.HTTPException, zlib.error, ValueError) as error:
            if budget.spent or time.monotonic() >= budget.deadline:
                raise TimeoutError from error
            if isinstance(error, ssl.SSLCertVerificationError):
                raise _unreachable(target, f"has no valid certificate ({error.verify_message})") from error
            raise _failed(target, "broke off or did not speak HTTP. Try again, or send the bytes.", error) from error

    def _resolve(self, target: _Target, budget: _Budget) -> list[str]:
        """The addresses of the host, each of them open."""
        try:
            addresses = _look_up(target, budget)
        except (OSError, UnicodeError) as error:
            if isinstance(error, TimeoutError):
                raise
            raise _unreachable(target, "cannot be found: its name has no address") from error
        if not addresses or not all(self._rule.open(address) for address in addresses):
            # The address is not told: it would map the inside for those outside.
            raise _invalid(
                f"{_shown(target.url)} leads to an address that is not public. Use a public URL, send the bytes, or "
                "let the operator allow the network with --fetch-allow."
            )
        if target.port not in _PORTS and not all(map(self._rule.allowed_by_operator, addresses)):
            raise _invalid(
                f"{_shown(target.url)} names port {target.port}; open are only {', '.join(map(str, sorted(_PORTS)))}."
            )
        return addresses

    def _connect(self, target: _Target, addresses: list[str], budget: _Budget) -> socket.socket:
        """Dials the checked addresses in turn."""
        last: OSError | None = None
        for number, address in enumerate(addresses):
            try:
                share = budget.seconds() / (len(addresses) - number)
                return _dial(address, target.port, share, budget)
            except OSError as error:
                last = error
        if time.monotonic() >= budget.deadline or isinstance(last, TimeoutError):
            raise self._no_answer(target) from last
        raise _unreachable(target, "refuses the connection") from last

    def _secure(self, target: _Target, sock: socket.socket, budget: _Budget) -> socket.socket:
        sock.settimeout(budget.seconds())
        if target.scheme == "http":
            return sock
        return self._tls.wrap_socket(sock, server_hostname=target.host)

    def _exchange(self, target: _Target, sock: socket.socket, budget: _Budget) -> tuple[bytes, str | None]:
        """Sends the request and reads the answer. Nothing of the caller goes along: no cookies, no credentials."""
        with sock:
            connection = http.client.HTTPConnection(target.host, target.port)
            connection.sock = sock
            connection.putrequest("GET", target.path, skip_host=True, skip_accept_encoding=True)
            connection.putheader("Host", _host_header(target))
            connection.putheader("User-Agent", f"postil/{postil.__version__}")
            connection.putheader("Accept", "image/*, video/*, text/plain;q=0.8, */*;q=0.5")
            connection.putheader("Accept-Encoding", "identity")
            connection.putheader("Connection", "close")
            connection.endheaders()
            with connection.getresponse() as response:
                budget.seconds()
                location = response.getheader("Location")
                if response.status in _REDIRECTS and location:
                    return b"", location
                if response.status != 200:
                    raise _failed(target, f"answers with HTTP status {response.status}. Make it readable for all.")
                return _read(target, response, budget), None

    def _no_answer(self, target: _Target) -> errors.Failure:
        return _unreachable(target, f"is not done answering within {self._timeout_s:g} seconds")


def _parse(url: str) -> _Target:
    """Takes a URL apart; what two parsers might read differently is refused."""
    url = url.strip(" ")
    if not url or len(url) > MAX_URL:
        raise _invalid(f"The URL has {len(url):,} characters; it takes 1 to {MAX_URL:,}.")
    if any(character <= " " or character in "\\\x7f" or character.isspace() for character in url):
        raise _invalid(f"{_shown(url)} holds white space, a backslash or control characters. Encode them.")
    try:
        parts = urlsplit(url)
        port = parts.port
        host = (parts.hostname or "").rstrip(".")
        host = host if ":" in host else host.encode("idna").decode("ascii")
    except (ValueError, UnicodeError) as error:
        raise _invalid(f"{_shown(url)} is not a URL that can be read.") from error
    if parts.scheme not in {"http", "https"}:
        raise _invalid(f"{_shown(url)} is not an http or https URL.")
    if not host or "%" in host or port == 0 or ("[" in parts.netloc and ":" not in host):
        raise _invalid(f"{_shown(url)} names no proper host or port.")
    if "@" in parts.netloc:
        raise _invalid("The URL holds a user name or password. Remove them: they are never sent.")
    path = quote(parts.path or "/", safe=_SAFE) + (f"?{quote(parts.query, safe=_SAFE)}" if parts.query else "")
    return _Target(url, parts.scheme, host, port or (443 if parts.scheme == "https" else 80), path)


def _join(base: str, location: str) -> str:
    """Where a Location header leads. Servers send UTF-8 there, which http.client reads as Latin-1."""
    with contextlib.suppress(UnicodeError):
        location = location.encode("latin-1").decode("utf-8")
    try:
        return urljoin(base, location)
    except ValueError as error:
        raise _invalid(f"{_shown(base)} redirects to something that is not a URL.") from error


def _dial(address: str, port: int, seconds: float, budget: _Budget) -> socket.socket:
    """A connection. Looks meanwhile whether it is still wanted, as an address may be silent for all of the time."""
    family, kind, proto, _, where = socket.getaddrinfo(
        address, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
    )[0]
    sock, deadline = socket.socket(family, kind, proto), time.monotonic() + seconds
    with contextlib.ExitStack() as failing, selectors.DefaultSelector() as selector:
        failing.callback(sock.close)
        sock.setblocking(False)
        selector.register(sock, selectors.EVENT_WRITE)
        code = sock.connect_ex(where)
        while code in _CONNECTING:
            left = min(budget.seconds(), deadline - time.monotonic())
            if left <= 0:
                raise TimeoutError
            if selector.select(min(left, _LOOK_S)):
                code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, os.strerror(code))
        failing.pop_all()
    return sock


def _look_up(target: _Target, budget: _Budget) -> list[str]:
    """The addresses of a host in the resolver's order, each once. The system's resolver cannot be interrupted, so it
    works on a thread that is left behind when time is up."""
    answer: queue.SimpleQueue[list[str] | Exception] = queue.SimpleQueue()

    def ask() -> None:
        try:
            found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
            answer.put(list(dict.fromkeys(str(entry[4][0]) for entry in found)))
        except (OSError, UnicodeError) as error:
            answer.put(error)

    threading.Thread(target=ask, name="fetch-look-up", daemon=True).start()
    while True:
        with contextlib.suppress(queue.Empty):
            result = answer.get(timeout=min(budget.seconds(), _LOOK_S))
            break
    if isinstance(result, Exception):
        raise result
    return result


@contextlib.contextmanager
def _watchdog(sock: socket.socket, budget: _Budget) -> Iterator[None]:
    """Shuts the connection down at the deadline, or when nobody waits any more. Timeouts of single reads do not bound
    the whole: a server that sends one byte a second keeps every one of them."""
    line = sock.dup()  # survives the wrapping in TLS, which takes the first descriptor

    done = threading.Event()

    def cut() -> None:
        while not done.wait(max(0.0, min(_LOOK_S, budget.deadline - time.monotonic()))):
            if budget.deadline <= time.monotonic() or not budget.wanted():
                break
        else:
            return
        budget.spent = True  # before the cut: to the reader it looks like the proper end of a body
        with contextlib.suppress(OSError):
            line.shutdown(socket.SHUT_RDWR)

    watching = threading.Thread(target=cut, name="fetch-watchdog", daemon=True)
    watching.start()
    try:
        yield
    finally:
        done.set()
        watching.join()
        line.close()


def _read(target: _Target, response: http.client.HTTPResponse, budget: _Budget) -> bytes:
    """The body, unpacked, within the limit."""
    declared = response.getheader("Content-Length", "")
    if declared.isdecimal() and int(declared) > budget.limit:
        raise _too_large(target, budget.limit)
    unpack = _unpacker(target, response.getheader("Content-Encoding", ""))
    body = bytearray()
    received, expected = 0, response.length
    while chunk := response.read1(_CHUNK):
        budget.seconds()
        received += len(chunk)
        body += unpack(chunk, budget.limit + 1 - len(body)) if unpack else chunk
        if max(received, len(body)) > budget.limit:
            raise _too_large(target, budget.limit)
    budget.seconds()
    if (expected is not None and received < expected) or (unpack and not unpack.complete):
        raise http.client.IncompleteRead(b"", expected)
    return bytes(body)


class _Inflate:
    """gzip or zlib, never more than there is room for: what a bomb would unpack to is not unpacked."""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(wbits=47)  # either header

    def __call__(self, chunk: bytes, room: int) -> bytes:
        return self._stream.decompress(chunk, room)

    @property
    def complete(self) -> bool:
        return self._stream.eof


def _unpacker(target: _Target, encoding: str) -> _Inflate | None:
    match encoding.strip().lower():
        case "" | "identity":
            return None
        case "gzip" | "x-gzip" | "deflate":  # not asked for, but some stores send what they hold
            return _Inflate()
    raise _failed(target, f"sends the content encoding {encoding[:40]!r}, which was not asked for.")


def _host_header(target: _Target) -> str:
    host = f"[{target.host}]" if ":" in target.host else target.host
    usual = 443 if target.scheme == "https" else 80
    return host if target.port == usual else f"{host}:{target.port}"


def _shown(url: str) -> str:
    """A URL for a message: short, printable, without its query, which may hold secrets."""
    plain = url.partition("?")[0].encode("ascii", "backslashreplace").decode("ascii")
    return repr(plain if len(plain) <= 200 else plain[:200] + "…")


def _invalid(details: str) -> errors.Failure:
    return errors.Failure(StatusCode.INPUT_INVALID_URL, details)


def _unreachable(target: _Target, what: str) -> errors.Failure:
    return errors.Failure(
        StatusCode.INPUT_CONNECTION_FAILED,
        f"{_shown(target.url)} {what}. See that it can be reached, or send the bytes.",
    )


def _failed(target: _Target, what: str, cause: BaseException | None = None) -> errors.Failure:
    notes = f"{type(cause).__name__}: {cause}" if cause else ""
    return errors.Failure(StatusCode.INPUT_DOWNLOAD_FAILED, f"{_shown(target.url)} {what}", notes)


def _too_large(target: _Target, limit: int) -> errors.Failure:
    return errors.Failure(
        StatusCode.INPUT_OVER_LIMIT, f"{_shown(target.url)} is larger than {limit:,} bytes. Scale it down."
    )
