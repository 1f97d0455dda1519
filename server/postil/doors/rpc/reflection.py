"""Server reflection: lists and describes both names of every RPC, so that grpcurl needs no files."""

from __future__ import annotations

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
_THREADS = 4  # a reflection stream holds its thread while the tool keeps it open; never one of the RPCs' threads


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


def handlers(methods: Mapping[str, Method]) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
    """Path -> handler of the reflection service under both its names."""
    own = {method.service for method in methods.values()}
    names = sorted({*own, vendor.SERVICE, health.SERVICE_NAME, *_NAMES})
    servicer = reflection.ReflectionServicer(names, pool=_MethodsToo(pool(methods)))

    def behaviour(requests: Any, context: Any) -> Any:
        return servicer.ServerReflectionInfo(requests, context)

    # grpcio looks for this attribute and runs the behaviour there.
    behaviour.experimental_thread_pool = ThreadPoolExecutor(_THREADS, "reflection")  # type: ignore[attr-defined]
    handler = grpc.stream_stream_rpc_method_handler(
        behaviour,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    return {f"/{name}/ServerReflectionInfo": handler for name in _NAMES}
