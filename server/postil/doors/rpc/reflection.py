"""Server reflection: lists and describes both names of every RPC, so that grpcurl needs no files."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health, health_pb2
from grpc_reflection.v1alpha import reflection, reflection_pb2

from postil.doors.rpc import vendor
from postil.doors.rpc.methods import FILES, Method

# v1 is v1alpha under its final name: the messages are the same on the wire, and newer tools ask for v1 first.
_NAMES = ("grpc.reflection.v1alpha.ServerReflection", "grpc.reflection.v1.ServerReflection")
# A stream holds its thread while the tool keeps it open; never one of the RPCs' threads. There are no more streams than
# threads: those that waited would take the places of calls.
_STREAMS = 16
_STREAM_S = 60.0  # tools ask and go; what stays longer is ended


def pool(methods: Mapping[str, Method]) -> DescriptorPool:
    """A pool of its own, because the vendor's package may be registered in the default one by the vendor's client."""
    own = DescriptorPool()
    added: set[str] = set()
    roots: tuple[Any, ...] = (*FILES, health_pb2.DESCRIPTOR, reflection_pb2.DESCRIPTOR)
    for file in roots:
        _add(own, file, added)
    own.Add(vendor.file(methods))
    return own


def _add(own: DescriptorPool, file: FileDescriptor, added: set[str]) -> None:
    if file.name in added:
        return
    added.add(file.name)
    for dependency in file.dependencies:
        _add(own, dependency, added)
    proto = FileDescriptorProto()
    file.CopyToProto(proto)
    own.Add(proto)


class _MethodsToo:
    """A pool that finds the file of a method as well, which protobuf's native pool does not; tools ask for it."""

    def __init__(self, own: DescriptorPool) -> None:
        self._own = own

    def __getattr__(self, name: str) -> Any:
        return getattr(self._own, name)

    def FindFileContainingSymbol(self, symbol: str) -> FileDescriptor:
        """The file that declares a symbol. Raises KeyError."""
        try:
            return self._own.FindFileContainingSymbol(symbol)
        except KeyError:
            service, _, method = symbol.rpartition(".")
            return self._own.FindServiceByName(service).FindMethodByName(method).containing_service.file


class Reflection(grpc.GenericRpcHandler):
    """Answers under both names of the reflection service; what is too much is refused at once.

    Args:
        methods: Every RPC of the contract.
    """

    def __init__(self, methods: Mapping[str, Method]) -> None:
        self._paths = {f"/{name}/ServerReflectionInfo" for name in _NAMES}
        self._lock = threading.Lock()
        self._open = 0
        self._answer = _handler(self._bounded(_behaviour(methods)), _STREAMS)
        self._refuse = _handler(_refuse, 1)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """The handler of a stream that begins, None for other services."""
        if handler_call_details.method not in self._paths:
            return None
        with self._lock:
            if self._open >= _STREAMS:
                return self._refuse
            self._open += 1
        return self._answer

    def _bounded(self, behaviour: Any) -> Any:
        def bounded(requests: Any, context: Any) -> Any:
            timer = threading.Timer(_STREAM_S, context.cancel)
            timer.daemon = True

            def over() -> None:
                timer.cancel()
                with self._lock:
                    self._open -= 1

            timer.start()
            if not context.add_callback(over):
                over()
            return behaviour(requests, context)

        return bounded


def _refuse(_requests: Any, context: Any) -> None:
    details = f"{_STREAMS} streams of server reflection are open already. Try again in a moment."
    context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, details)


def _behaviour(methods: Mapping[str, Method]) -> Any:
    own = {method.service for method in methods.values()}
    names = sorted({*own, vendor.SERVICE, health.SERVICE_NAME, *_NAMES})
    servicer = reflection.ReflectionServicer(names, pool=_MethodsToo(pool(methods)))

    def behaviour(requests: Any, context: Any) -> Any:
        return servicer.ServerReflectionInfo(requests, context)

    return behaviour


def _handler(behaviour: Any, threads: int) -> Any:
    def run(requests: Any, context: Any) -> Any:
        return behaviour(requests, context)

    # grpcio looks for this attribute and runs the behaviour there.
    run.experimental_thread_pool = ThreadPoolExecutor(threads, "reflection")  # type: ignore[attr-defined]
    return grpc.stream_stream_rpc_method_handler(
        run,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
