"""One path for every call, whatever door it came through: limit, authenticate, authorise, parse, resolve the app, call
the servicer, map errors to `response.status`, count, log.

Every search pays for this file: it must stay below 40 µs of Python on the happy path (benchmarks/dispatcher.py).
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import Any, NamedTuple

from google.protobuf.message import DecodeError, Message

from postil import logs
from postil.access import SESSION_HEADER, Access, Place, Shown
from postil.core import scopes, statuses
from postil.core.call import Call, Crowded
from postil.core.callers import ANYBODY, Caller
from postil.core.trouble import failure_of, too_much
from postil.doors.http import old_clients
from postil.doors.rpc import audited, weights
from postil.doors.rpc.limits import Limits, Rates
from postil.doors.rpc.methods import Method, Scope
from postil.errors import Failure
from postil.metrics import Metrics
from postil.v1.status_code_pb2 import StatusCode
from postil.v1.status_pb2 import Status

Handler = Callable[[Call, Any], Message | bytes]
Metadata = Iterable[tuple[str, str | bytes]]

# Takes room for so many bytes more of the call's request; raises Refused when there is none.
Hold = Callable[[int], None]
# The serialized message, or what receives it, or reads it from another form, once it is known who asks. What that takes
# in memory is held before it is taken.
Request = bytes | Callable[[Hold], Message | bytes]
Peer = Callable[[], str]  # where a call came from, put into words only when somebody wants to know

_PREFIX_KEY = "x-clarifai-request-id-prefix"
_PREFIX_LENGTH = 96
_OK = statuses.status(StatusCode.SUCCESS)
_SLOW_S = 2.0
_TOO_OFTEN = "More than {} calls a second came from this caller. Slow down, or ask the operator for --rate-limit."
_BUSY = "The server is working on as much as it can. Try again in a moment."
_FULL = "The server holds as many requests as it can. Try again in a moment, or send fewer items at once."
_TOO_LATE = "The call was over, or its deadline past, before it was begun."
_STARTING = "The server is starting and still reads its index. Try again soon."
_ANSWER, _DONE = "The answer", "What was asked for is done, but the answer"
_NOWHERE = Place("", None)

log = logs.get(__name__)
_level = logging.getLogger(__name__)  # asked before a line is put together: structlog's own filter costs ten times more


class Reason(Enum):
    """Why a call never reached a servicer. Trouble of transport, so each door answers in its protocol's own way."""

    UNIMPLEMENTED = "unimplemented"
    EXHAUSTED = "exhausted"
    TIMED_OUT = "timed_out"
    UNAVAILABLE = "unavailable"


class Refused(Exception):
    """A call that is not worked on."""

    def __init__(self, reason: Reason, details: str) -> None:
        super().__init__(details)
        self.reason = reason
        self.details = details


class _Headers(NamedTuple):
    """What the metadata of a call says to the dispatcher."""

    request_id: str  # unique, with the caller's prefix if it sent one
    shown: Shown
    client: str  # x-clarifai-client


class _Held:
    """The room that one call takes."""

    __slots__ = ("_limits", "_refuse", "size")

    def __init__(self, limits: Limits, size: int, refuse: Callable[[Reason, str], Refused]) -> None:
        self._limits = limits
        self._refuse = refuse
        self.size = size

    def more(self, size: int) -> None:
        """See `Hold`."""
        if not self._limits.more(self.size, size):
            raise self._refuse(Reason.EXHAUSTED, _FULL)
        self.size += size


class _Route:
    """An RPC with its handler, its rule and its metrics, bound once."""

    __slots__ = (
        "calls",
        "create",
        "handler",
        "is_open",
        "method",
        "observe",
        "optional_app",
        "parse",
        "rule",
        "scope",
        "subject",
        "succeeded",
    )

    def __init__(self, method: Method, handler: Handler, metrics: Metrics) -> None:
        self.method = method
        self.handler = handler
        self.parse: Callable[[bytes], Any] = method.request.FromString
        self.scope = method.scope
        self.create = method.creates_app
        self.optional_app = method.optional_app
        self.rule = scopes.rule(method.name)
        self.is_open = self.rule.anybody and method.scope is Scope.NONE
        self.subject = audited.Subject(method)
        self.calls = metrics.calls
        self.succeeded = metrics.calls.labels(method.name, str(StatusCode.SUCCESS)).inc
        self.observe = metrics.seconds.labels(method.name).observe

    def count(self, code: int) -> None:
        """One more call that ended with this code."""
        if code == StatusCode.SUCCESS:
            self.succeeded()
        else:
            self.calls.labels(self.method.name, str(code)).inc()


class Dispatcher:
    """Calls RPCs by name. Thread-safe.

    Args:
        methods: Every RPC of the contract.
        handlers: RPC name to the servicer's method, for those that are built.
        access: Callers and apps.
        limits: Room for calls.
        metrics: Counters.
        trouble: The failure that the caller is told of for an exception that nobody expected, or None.
        note: Takes a line of the audit log for each call that writes, and for each that is turned away.
        rates: How often each caller may call; None for no limit.
    """

    def __init__(
        self,
        methods: Mapping[str, Method],
        handlers: Mapping[str, Handler],
        access: Access,
        limits: Limits,
        metrics: Metrics,
        trouble: Callable[[Exception], Failure | None] = failure_of,
        note: Callable[[audited.Entry], object] | None = None,
        rates: Rates | None = None,
    ) -> None:
        unknown = handlers.keys() - methods.keys()
        if unknown:
            raise ValueError(f"the contract has no RPC {', '.join(sorted(unknown))}")
        self._routes = {name: _Route(methods[name], handler, metrics) for name, handler in handlers.items()}
        self._access = access
        self._limits = limits
        self._trouble = trouble
        self._note = note
        self._rates = rates if rates is not None and rates.per_second else None
        self._refusals = metrics.refused
        self._open = True

    def admit(self, *, calls: bool) -> None:
        """Opens the gate, or closes it while the server starts: calls are then refused as UNAVAILABLE."""
        self._open = calls

    def call(
        self,
        method: str,
        request: Request,
        metadata: Metadata = (),
        deadline: float | None = None,
        active: Callable[[], bool] = lambda: True,
        peer: Peer = str,
        size: int = 0,
    ) -> bytes:
        """Runs one call to its end.

        Args:
            method: RPC name, for example "PostAnnotations".
            request: A serialized message, or what makes it once the caller is known; a Failure of that is the call's.
            metadata: Lower-case keys and values.
            deadline: `time.monotonic()` seconds by which the caller wants an answer, or None.
            active: False once the caller has gone.
            peer: Where it came from.
            size: Bytes that are held where the request is not bytes itself.

        Returns: The serialized response message; its `status` says how it went.

        Raises:
            Refused: The call was not worked on.
        """
        if (route := self._routes.get(method)) is None:
            raise self._refuse(Reason.UNIMPLEMENTED, f"{method} is not served by this version of Postil.")
        if not self._open:
            raise self._refuse(Reason.UNAVAILABLE, _STARTING)
        held = _Held(self._limits, len(request) if isinstance(request, bytes) else size, self._refuse)
        if not self._limits.enter(held.size):
            raise self._refuse(Reason.EXHAUSTED, _BUSY)
        try:
            started = time.monotonic()
            if not active() or (deadline is not None and deadline <= started):
                raise self._refuse(Reason.TIMED_OUT, _TOO_LATE)
            return self._run(route, request, held, metadata, deadline, active, peer, started)
        finally:
            self._limits.leave(held.size)

    def _run(
        self,
        route: _Route,
        request: Request,
        held: _Held,
        metadata: Metadata,
        deadline: float | None,
        active: Callable[[], bool],
        peer: Peer,
        started: float,
    ) -> bytes:
        headers = _read(metadata)
        request_id, caller, call, message = headers.request_id, None, None, None
        try:
            if route.is_open:
                caller = ANYBODY
            else:
                caller = self._access.caller(headers.shown)
                caller.check(route.method.name, route.rule)
            self._pace(caller, peer)
            message = _message(route, request, held)
            place = self._place(route, message, caller)
            call = Call(request_id, place.user_id, place.app, place.public, deadline, active, caller)
            code, body = _finish(route.handler(call, message), request_id)
            if len(body) > self._limits.answer:
                code, body = _failed(route, request_id, _too_large(route, self._limits.answer))
        except Refused:
            raise
        except Crowded as crowded:
            raise self._refuse(Reason.EXHAUSTED, crowded.details) from crowded
        except DecodeError as error:
            code, body = _failed(route, request_id, _undecodable(route, error))
        except Failure as failure:
            code, body = _failed(route, request_id, _status(failure, headers))
        except Exception as error:  # noqa: BLE001 - the last line of defence: one call fails, the server goes on
            code, body = _failed(route, request_id, self._explain(route, request_id, error))
        _record(route, request_id, code, time.monotonic() - started)
        if self._note is not None and (call is None or not route.method.reads):
            self._write_down(route, request_id, code, caller, message, peer)
        return body

    def _write_down(
        self, route: _Route, request_id: str, code: int, caller: Caller | None, message: Any, peer: Peer
    ) -> None:
        """A line of the audit log."""
        entry = audited.entry(route.method, request_id, code, caller, peer())
        if message is not None:
            entry["items"], entry["ids"] = route.subject.read(message)
            if route.scope is Scope.APP:
                entry["app"] = message.user_app_id.app_id or (caller.app_id if caller else "")
        if self._note is not None:
            self._note(entry)

    def _explain(self, route: _Route, request_id: str, error: Exception) -> Status:
        failure = self._trouble(error)
        if failure is None:
            return _unexpected(route, request_id, error)
        log.error("trouble", rpc=route.method.name, req_id=request_id, reason=failure.details)
        return statuses.of_failure(failure)

    def _place(self, route: _Route, message: Any, caller: Caller) -> Place:
        if route.scope is Scope.APP:
            return self._access.app(caller, message.user_app_id, create=route.create, optional=route.optional_app)
        return _NOWHERE if route.scope is Scope.NONE else self._access.user(caller, message.user_app_id)

    def _pace(self, caller: Caller, peer: Peer) -> None:
        if self._rates is not None and not self._rates.take(caller.key_id or _host(peer())):
            raise self._refuse(Reason.EXHAUSTED, _TOO_OFTEN.format(self._rates.per_second))

    def _refuse(self, reason: Reason, details: str) -> Refused:
        self._refusals.labels(reason.value).inc()
        return Refused(reason, details)


def _message(route: _Route, request: Request, held: _Held) -> Any:
    made = request if isinstance(request, bytes) else request(held.more)
    if isinstance(made, bytes):
        if len(made) > weights.SMALL:
            held.more(weights.of(made, route.method.request.DESCRIPTOR))
        made = route.parse(made)
    if held.size > weights.SMALL:
        weights.check_lists(made)
    return made


def _read(metadata: Metadata) -> _Headers:
    """The headers that matter here."""
    request_id, authorization, session, client = os.urandom(16).hex(), "", "", ""
    for key, value in metadata:
        if key == "authorization":
            # Two that differ are one that opens nothing, lest a proxy has looked at the other.
            authorization = f"{authorization}, {value!s}" if authorization not in {"", value} else str(value)
        elif key == _PREFIX_KEY:
            prefix = str(value)[:_PREFIX_LENGTH]
            request_id = f"{prefix}-{request_id}" if prefix.isprintable() else request_id
        elif key == SESSION_HEADER:
            session = str(value)
        elif key == "x-clarifai-client":
            client = str(value)
    return _Headers(request_id, Shown(authorization, session), client)


def _host(peer: str) -> str:
    """Of a peer such as "ipv4:192.0.2.1:4242" all but the port: connections are cheap."""
    return peer.rpartition(":")[0]


def _status(failure: Failure, headers: _Headers) -> Status:
    """The clients of 2016 to 2020 know a key that opens nothing under another code."""
    if failure.code == StatusCode.CONN_KEY_INVALID and old_clients.is_old(headers.client):
        return statuses.status(StatusCode.CONN_KEY_NOT_FOUND, failure.details)
    return statuses.of_failure(failure)


def _record(route: _Route, request_id: str, code: int, took: float) -> None:
    """Metrics always; a line in the log only for what did not go well or was slow, unless every call is wanted."""
    route.observe(took)
    route.count(code)
    level = logging.INFO if code != StatusCode.SUCCESS or took > _SLOW_S else logging.DEBUG
    if _level.isEnabledFor(level):
        log.log(level, "call", rpc=route.method.name, code=code, ms=round(took * 1e3, 2), req_id=request_id)


def _finish(answer: Any, request_id: str) -> tuple[int, bytes]:
    """Fills in what the servicer left open in `status`; its code and the message as bytes. Bytes are final."""
    if isinstance(answer, bytes):
        return int(StatusCode.SUCCESS), answer
    if not answer.HasField("status"):
        answer.status.CopyFrom(_OK)
    answer.status.req_id = request_id
    return answer.status.code, answer.SerializeToString()


def _failed(route: _Route, request_id: str, status: Status) -> tuple[int, bytes]:
    """An empty response of the RPC's own kind that carries the status."""
    status.req_id = request_id
    return status.code, route.method.response(status=status).SerializeToString()


def _too_large(route: _Route, most: int) -> Status:
    return statuses.of_failure(too_much(most, _ANSWER if route.method.reads else _DONE))


def _undecodable(route: _Route, error: DecodeError) -> Status:
    name = route.method.request.DESCRIPTOR.full_name
    details = f"The request is not a {name} message. Check that the client's stubs match this RPC."
    return statuses.status(StatusCode.CONN_BAD_REQUEST_FORMAT, details, str(error))


def _unexpected(route: _Route, request_id: str, error: Exception) -> Status:
    """Tells the caller nothing but where to look: internals belong in the log."""
    log.error("unexpected", rpc=route.method.name, req_id=request_id, exc_info=error)
    details = f"Something went wrong in the server. Its log tells more under the request id {request_id}."
    return statuses.status(StatusCode.INTERNAL_SERVER_ISSUE, details)
