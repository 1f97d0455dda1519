"""The gRPC listener, assembled in one function: generic handlers that take and give bytes, both names of each RPC,
reflection, health. A pool of threads works on calls; docs/adr/0003-grpc-server-kind.md says why.

Handlers are declared as if many requests could come, though one does: so they run before it is received, and it is
received only when the dispatcher knows who asks (docs/adr/0023-weighed-requests.md).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from postil.config import Address, CannotListen
from postil.doors import sockets
from postil.doors.rpc import reflection, vendor
from postil.doors.rpc.dispatcher import Dispatcher, Handler, Reason, Refused
from postil.doors.rpc.limits import Room
from postil.doors.rpc.methods import Method
from postil.doors.rpc.pool import Pool
from postil.doors.rpc.receiving import Receipts
from postil.doors.rpc.sending import Answers

_CODES = {
    Reason.UNIMPLEMENTED: grpc.StatusCode.UNIMPLEMENTED,
    Reason.EXHAUSTED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.TIMED_OUT: grpc.StatusCode.DEADLINE_EXCEEDED,
    Reason.UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
}
_PLAIN, _GZIP = 1 << 0, 1 << 2  # grpc_compression_algorithm
_CANCEL_S = 0.5  # for cancelled calls to notice
_NO_DEADLINE_S = 1e9  # grpcio tells the largest time there is when the caller set none
_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@dataclass(frozen=True, slots=True)
class Limits:
    """What the listener accepts."""

    threads: int  # calls worked on at once: as many that read, and as many that write
    calls: int  # calls accepted at once, waiting ones included; fewer while they wait long
    message_bytes: int  # one request or response
    growth_bytes: int = 1 << 30  # of the process while requests are being received
    unread_bytes: int = 1 << 28  # answers that their clients do not take
    connections: int = 1024  # the next one is hung up on at once
    eager: int | None = None  # of the threads that read, those that take calls as they come; None for all


def handlers(servicers: Iterable[object], methods: Mapping[str, Method]) -> dict[str, Handler]:
    """RPC name -> servicer's method, for the RPCs that are built."""
    return {name: getattr(one, name) for one in servicers for name in methods if hasattr(one, name)}


class RpcDoor:
    """A gRPC server with its health service. Built by `build`."""

    def __init__(
        self, server: grpc.Server, report: health.HealthServicer, names: Iterable[str], pools: Iterable[Pool]
    ) -> None:
        self._server = server
        self._pools = tuple(pools)
        self._health = report
        self._names = ("", *names)
        self.set_ready(ready=False)

    def listen(self, address: Address, tls: grpc.ServerCredentials | None = None) -> int:
        """Binds and starts; health says NOT_SERVING until `set_ready`.

        Args:
            address: Where.
            tls: Credentials of its connections, None for plain text.

        Returns:
            The port, which the system chose if `address` had port 0.

        Raises:
            CannotListen: The address is taken, or not this machine's.
        """
        # gRPC would print its own lines about a port that is taken, so it is tried first.
        sockets.listen(address).close()
        try:
            if tls is None:
                port: int = self._server.add_insecure_port(str(address))
            else:
                port = self._server.add_secure_port(str(address), tls)
        except RuntimeError:
            port = 0
        if not port:
            raise CannotListen(f"cannot listen on {address}: the address was taken a moment ago")
        self._server.start()
        return port

    def set_ready(self, *, ready: bool) -> None:
        """Tells health checks whether calls are welcome."""
        for name in self._names:
            self._health.set(name, _SERVING if ready else _NOT_SERVING)

    def stop(self, drain_s: float) -> None:
        """Says NOT_SERVING, takes no new calls, gives the running ones `drain_s` seconds, then cancels them."""
        self._health.enter_graceful_shutdown()
        # grpcio also waits for threads whose calls it has cancelled; a handler that does not look must not hold us up.
        self._server.stop(drain_s).wait(drain_s + _CANCEL_S)
        for pool in self._pools:
            pool.shutdown(wait=False)


def build(dispatcher: Dispatcher, methods: Mapping[str, Method], limits: Limits) -> RpcDoor:
    """Everything that answers on the gRPC port."""
    pool, readers = Pool(limits.threads, "rpc"), Pool(limits.threads, "rpc-read", limits.eager)
    room = Room(limits.calls, 2 * limits.threads, lambda: readers.waited)
    receipts = Receipts(
        limits.message_bytes,
        max(1, limits.threads // 2),
        limits.growth_bytes,
        wanted=lambda: pool.waiting + readers.waiting > 0,
    )
    answers = Answers(limits.unread_bytes)
    table: dict[str, Any] = {}
    for method in methods.values():
        handler: Any = grpc.stream_unary_rpc_method_handler(_behaviour(dispatcher, method, receipts, answers, readers))
        table[method.path] = handler
        table |= dict.fromkeys(vendor.table({method.name: method}), handler)
    server = grpc.server(
        pool,
        handlers=[_Handlers(table), reflection.Reflection(methods)],
        options=_options(limits),
        maximum_concurrent_rpcs=cast("int", room),  # gRPC does nothing but compare it with a number
    )
    report = health.HealthServicer(
        experimental_non_blocking=True, experimental_thread_pool=ThreadPoolExecutor(1, "health")
    )
    health_pb2_grpc.add_HealthServicer_to_server(report, server)
    names = sorted({method.service for method in methods.values()} | {vendor.SERVICE})
    return RpcDoor(server, report, names, (pool, readers))


class _Handlers(grpc.GenericRpcHandler):
    """One look-up by path for all RPCs."""

    def __init__(self, table: Mapping[str, Any]) -> None:
        self._table = table

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        return self._table.get(handler_call_details.method)


def _behaviour(
    dispatcher: Dispatcher, method: Method, receipts: Receipts, answers: Answers, readers: ThreadPoolExecutor
) -> Callable[[Iterator[bytes], Any], bytes]:
    name, call, receive = method.name, dispatcher.call, receipts.receive

    def behaviour(requests: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
        remaining = context.time_remaining()
        deadline = time.monotonic() + remaining if remaining < _NO_DEADLINE_S else None
        try:
            request = partial(receive, requests, context)
            answer = call(name, request, context.invocation_metadata(), deadline, context.is_active, context.peer)
        except Refused as refused:
            context.abort(_CODES[refused.reason], refused.details)
        return answers.send(context, answer)

    if method.reads:
        # grpcio looks for this attribute. Reads have threads of their own, so that they never wait behind calls that
        # wait for a commit or for an embedding.
        behaviour.experimental_thread_pool = readers  # type: ignore[attr-defined]
    return behaviour


def _options(limits: Limits) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", limits.message_bytes),
        ("grpc.max_send_message_length", limits.message_bytes),
        ("grpc.max_concurrent_streams", limits.calls),
        ("grpc.max_allowed_incoming_connections", limits.connections),
        ("grpc.per_message_decompression", 0),  # a hundred bytes may become a hundred thousand: they are weighed first
        ("grpc.compression_enabled_algorithms_bitset", _PLAIN | _GZIP),
        ("grpc.so_reuseport", 0),  # a second server on the same port must fail, not share the connections
        ("grpc.keepalive_time_ms", 60_000),  # finds clients that vanished
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),  # and lets them look after us as often
        ("grpc.http2.max_ping_strikes", 2),  # who does it more often than that is cut off
        ("grpc.max_connection_idle_ms", 600_000),  # without a call; channels come back by themselves
        ("grpc.server_handshake_timeout_ms", 20_000),
        ("grpc.max_metadata_size", 16 * 1024),
        ("grpc.absolute_max_metadata_size", 32 * 1024),
    ]
