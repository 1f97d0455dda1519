"""The second name of every RPC: the vendor's single service, for the clients that people already have.

Same handler, same bytes: our messages have the vendor's field numbers and types, only the names of packages and
services differ.
"""

from __future__ import annotations

from collections.abc import Mapping

from google.protobuf.descriptor_pb2 import FileDescriptorProto

from postil.doors.rpc.methods import FILES, Method

PACKAGE = "clarifai.api"
SERVICE = f"{PACKAGE}.V2"


def table(methods: Mapping[str, Method]) -> dict[str, Method]:
    """The vendor's path on the wire -> our method."""
    return {f"/{SERVICE}/{method.name}": method for method in methods.values()}


def file(methods: Mapping[str, Method]) -> FileDescriptorProto:
    """A .proto of the service over our messages, so that reflection can describe it."""
    proto = FileDescriptorProto(name="clarifai/api/service.proto", package=PACKAGE, syntax="proto3")
    proto.dependency.append("google/api/annotations.proto")
    proto.dependency.extend(descriptor.name for descriptor in FILES)
    needed = {m.descriptor.input_type.file.name for m in methods.values()}
    needed |= {m.descriptor.output_type.file.name for m in methods.values()}
    proto.dependency.extend(sorted(needed - set(proto.dependency)))
    service = proto.service.add(name=SERVICE.removeprefix(f"{PACKAGE}."))
    for method in table(methods).values():
        method.descriptor.CopyToProto(service.method.add())
    return proto
