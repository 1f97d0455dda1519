"""The JSON door: an ASGI application that answers every built RPC at every HTTP binding.

The event loop receives the body; a thread then reads the JSON, calls the dispatcher as the gRPC door does, and writes
the JSON. The HTTP status follows from the status code of the reply. docs/http.md tells the rules to users.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from starlette.types import Receive, Scope, Send

from postil import errors, logs
from postil.core import statuses
from postil.core.trouble import too_much
from postil.doors.http import encodings, json_out, json_text, old_clients, queries
from postil.doors.http.bindings import Match, Routes
from postil.doors.http.bodies import Bodies, Gone
from postil.doors.http.json_in import Reader
from postil.doors.http.json_stored import StoredPrinter
from postil.doors.http.waiting import Waiting
from postil.doors.http.workers import Closed, Workers
from postil.doors.rpc.dispatcher import Hold, Reason, Refused
from postil.doors.rpc.methods import Method
from postil.errors import Failure
from postil.v1.status_code_pb2 import StatusCode
from postil.v1.status_pb2 import BaseResponse

Call = Callable[..., bytes]  # the dispatcher's

_READERS = 8  # threads that answer reads, as many as behind the gRPC door
_EAGER = 2  # of them take calls as they come, the others while these are held up by long ones
_REMEMBERED = 6 << 20  # bytes of stored messages with their JSON, for each type: some two or three thousand
_PASSED_ON = ("authorization", "x-clarifai-session-token", "x-clarifai-request-id-prefix", "x-clarifai-client")
_REFUSALS: dict[Reason, statuses.Code] = {
    Reason.UNIMPLEMENTED: StatusCode.NOT_IMPLEMENTED,
    Reason.EXHAUSTED: StatusCode.CONN_THROTTLED,
    Reason.TIMED_OUT: StatusCode.RPC_REQUEST_TIMEOUT,
    Reason.UNAVAILABLE: StatusCode.RPC_SERVER_UNAVAILABLE,
}

log = logs.get(__name__)


class Limits(NamedTuple):
    """What the gateway takes in."""

    threads: int  # calls that write, worked on at once
    body_bytes: int  # one request, or one answer
    bodies_bytes: int  # all requests that are being received or worked on
    calls: int = 512  # accepted at once, waiting ones included


class Reply(NamedTuple):
    """What goes back."""

    status: int
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ()


class Gateway:
    """HTTP and JSON to RPCs.

    Args:
        methods: Every RPC of the contract.
        limits: What is taken in.
        origins: Other sites whose pages may call; "*" for any.
    """

    def __init__(self, methods: Mapping[str, Method], limits: Limits, origins: Collection[str] = ()) -> None:
        self._routes = Routes(methods)
        self._origins = frozenset(origins)
        self._bodies = Bodies(limits.body_bytes, limits.bodies_bytes)
        self._printer = StoredPrinter(_REMEMBERED, limits.body_bytes)
        self._plain = json_out.Printer()
        self._reader = Reader()
        self._writing = Workers[Reply](limits.threads, "http")
        self._reading = Workers[Reply](min(_READERS, limits.threads), "http-read", _EAGER)
        self._most = limits.calls
        self._running = 0  # of the event loop
        self._call: Call = _not_yet

    def open(self, call: Call) -> None:
        """Lets calls through; until then they are refused, as the server is still starting."""
        self._call = call

    def close(self) -> None:
        """Lets no more calls through and waits for those that run."""
        self._call = _not_yet
        self._writing.close()
        self._reading.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one HTTP request."""
        headers = _headers(scope)
        try:
            reply = await self._answer(scope, headers, receive)
        except Failure as failure:
            reply = self._refusal(failure, headers)  # what the client still sends is read and dropped by the listener
        except Gone:
            return
        await _send(send, reply, head=scope["method"] == "HEAD")

    async def _answer(self, scope: Scope, headers: Mapping[str, str], receive: Receive) -> Reply:
        if not self._welcome(headers):
            return self._foreign(headers)
        path = scope["raw_path"].decode("latin-1")
        verb = "GET" if scope["method"] == "HEAD" else scope["method"]
        match = self._routes.find(verb, path)
        if match is None:
            return self._unrouted(verb, path, headers)
        if self._running >= self._most:
            raise Failure(StatusCode.CONN_THROTTLED, _BUSY)
        self._running += 1
        try:
            return await self._admitted(match, scope, headers, receive)
        finally:
            self._running -= 1

    async def _admitted(self, match: Match, scope: Scope, headers: Mapping[str, str], receive: Receive) -> Reply:
        """The answer of a call that there is room for."""
        body = await self._bodies.receive(receive, headers.get("content-length", ""))
        caller = Waiting(receive)
        try:
            workers = self._reading if match.binding.method.reads else self._writing
            return await workers.run(partial(self._work, match, scope, headers, body, caller.there))
        except Closed:
            raise Failure(StatusCode.RPC_SERVER_UNAVAILABLE, _STOPPING) from None
        finally:
            caller.close()
            self._bodies.release(len(body))

    def _welcome(self, headers: Mapping[str, str]) -> bool:
        """Pages of other sites may not call unless they are configured: a browser would let them write unseen."""
        origin = headers.get("origin")
        if origin in self._origins or "*" in self._origins:
            return True
        if origin is None:  # as where a page has a picture or a script drawn: it could not read the answer
            return headers.get("sec-fetch-mode") != "no-cors" or headers.get("sec-fetch-site") in _OWN_SITE
        return origin.partition("://")[2] == headers.get("host")

    def _foreign(self, headers: Mapping[str, str]) -> Reply:
        site = headers.get("origin", "other sites")[:200]
        details = f"Pages from {site} may not call this server. Allow them with --cors-origins."
        return self._refusal(errors.invalid_request(details), headers)._replace(status=403)

    def _unrouted(self, verb: str, path: str, headers: Mapping[str, str]) -> Reply:
        verbs = sorted(self._routes.verbs(path))
        if not verbs:
            details = f"There is nothing at {path[:200]}. {_LISTED}"
            return self._refusal(errors.missing(details), headers)
        allow = (b"allow", ", ".join([*verbs, "OPTIONS"]).encode())
        if verb == "OPTIONS":
            return Reply(204, b"", (allow,))
        details = f"{verb[:20]} is not possible here; {' and '.join(verbs)} would be."
        refusal = self._refusal(Failure(StatusCode.CONN_METHOD_NOT_ALLOWED, details), headers)
        return refusal._replace(headers=(*refusal.headers, allow))

    def _work(
        self, match: Match, scope: Scope, headers: Mapping[str, str], body: bytes, active: Callable[[], bool]
    ) -> Reply:
        """From body to reply, on a thread. The dispatcher has the body read once it knows who asks: strangers cost
        little, and learn nothing about what is wrong with it."""
        try:
            method = match.binding.method
            request = partial(self._request, match, scope["query_string"], body, headers.get("content-encoding", ""))
            metadata = [(name, headers[name]) for name in _PASSED_ON if name in headers]
            answered = self._call(
                method.name, request, metadata, active=active, peer=partial(_peer, scope), size=len(body)
            )
            return self._reply(self._printer.read(method.response, answered), headers)
        except Failure as failure:
            return self._refusal(failure, headers)
        except Refused as refused:
            return self._refusal(Failure(_REFUSALS[refused.reason], refused.details), headers)
        except Exception:  # the last line of defence: one call fails, the server goes on
            log.exception("unexpected", path=match.binding.path)
            return self._refusal(Failure(StatusCode.INTERNAL_SERVER_ISSUE, _UNEXPECTED), headers)

    def _request(self, match: Match, query: bytes, body: bytes, encoding: str, hold: Hold) -> Any:
        """The request message: query first, then body, then path, each overriding what came before."""
        body = encodings.inflate(body, encoding, self._bodies.largest, hold)
        hold(json_text.weight(body))
        binding = match.binding
        message: Any = binding.method.request()
        if query:
            self._reader.read(queries.tree(query, message.DESCRIPTOR), message)
        if binding.body:
            self._reader.read(json_text.parse(body), message)
        for name, value in match.captured:
            *hops, last = name.split(".")
            inner: Any = message
            for hop in hops:
                inner = getattr(inner, hop)
            self._reader.read({last: value}, inner)
        return message

    def _reply(self, answer: Any, headers: Mapping[str, str]) -> Reply:
        """Raises Failure when the JSON would have more bytes than an answer may."""
        status = answer.status.http_status_code or statuses.http_status(answer.status.code)
        tree = self._printer.value(answer)
        if old_clients.is_old(headers.get("x-clarifai-client", "")):
            old_clients.complete(tree)
        text = json_out.dumps(tree)
        if len(text) > self._printer.room:
            raise too_much(self._printer.room)
        small = encodings.shrink(text, headers.get("accept-encoding", ""))
        if small is None:
            return Reply(status, text, (_JSON,))
        return Reply(status, small, (_JSON, (b"content-encoding", b"gzip"), (b"vary", b"accept-encoding")))

    def _refusal(self, failure: Failure, headers: Mapping[str, str]) -> Reply:
        """A reply to what never became a call."""
        status = statuses.of_failure(failure)
        status.req_id = headers.get("x-clarifai-request-id-prefix", "")[:96] + os.urandom(16).hex()
        return Reply(status.http_status_code, self._plain.text(BaseResponse(status=status)), (_JSON,))


_JSON = (b"content-type", b"application/json")
_OWN_SITE = frozenset({"same-origin", "none"})
_BUSY = "The server is working on as much as it can. Try again in a moment."
_STOPPING = "The server is stopping. Try again soon."
_UNEXPECTED = "Something went wrong in the server; see its log."
_LISTED = "The calls are listed at /docs."


def _headers(scope: Scope) -> dict[str, str]:
    """Lower-case names and values. Of several with one name the last counts, but for `authorization`: see the
    dispatcher's."""
    headers: dict[str, str] = {}
    for raw, value in scope["headers"]:
        name, text = raw.decode("latin-1"), value.decode("latin-1")
        if name == "authorization" and headers.get(name, text) != text:
            text = f"{headers[name]}, {text}"
        headers[name] = text
    return headers


def _peer(scope: Scope) -> str:
    host, port = scope.get("client") or ("", 0)
    return f"http:[{host}]:{port}" if ":" in host else f"http:{host}:{port}"


def _not_yet(_method: str, _request: object, _metadata: Sequence[tuple[str, str]], **_options: object) -> bytes:
    raise Refused(Reason.UNAVAILABLE, "The server is starting or stopping. Try again soon.")


async def _send(send: Send, reply: Reply, *, head: bool) -> None:
    length = () if reply.status == 204 else ((b"content-length", str(len(reply.body)).encode()),)
    await send({"type": "http.response.start", "status": reply.status, "headers": [*reply.headers, *length]})
    await send({"type": "http.response.body", "body": b"" if head else reply.body})
