"""Every RPC of the contract as a row of one table, read from the descriptors."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from google.api import annotations_pb2
from google.protobuf.descriptor import FileDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from postil.v1 import (
    annotation_service_pb2,
    app_service_pb2,
    concept_service_pb2,
    dataset_service_pb2,
    evaluation_service_pb2,
    feedback_service_pb2,
    input_service_pb2,
    key_service_pb2,
    model_service_pb2,
    search_service_pb2,
    status_service_pb2,
    suggestion_service_pb2,
    user_service_pb2,
    workflow_service_pb2,
)

PACKAGE = "postil.v1"
FILES: tuple[FileDescriptor, ...] = (
    annotation_service_pb2.DESCRIPTOR,
    app_service_pb2.DESCRIPTOR,
    concept_service_pb2.DESCRIPTOR,
    dataset_service_pb2.DESCRIPTOR,
    evaluation_service_pb2.DESCRIPTOR,
    feedback_service_pb2.DESCRIPTOR,
    input_service_pb2.DESCRIPTOR,
    key_service_pb2.DESCRIPTOR,
    model_service_pb2.DESCRIPTOR,
    search_service_pb2.DESCRIPTOR,
    status_service_pb2.DESCRIPTOR,
    suggestion_service_pb2.DESCRIPTOR,
    user_service_pb2.DESCRIPTOR,
    workflow_service_pb2.DESCRIPTOR,
)

# These are about the app itself: to bring it into being just to change or drop it would be absurd.
_NEVER_CREATE = {"GetApp", "DeleteApp", "PatchApp"}


# These tell about the caller, and about the app only where one is named.
_WITHOUT_APP = {"MyScopes"}


class Scope(Enum):
    """What a call acts in."""

    NONE = "none"
    USER = "user"
    APP = "app"


@dataclass(frozen=True, slots=True)
class Method:
    """One RPC."""

    name: str  # "PostAnnotations"
    service: str  # "postil.v1.Annotations"
    scope: Scope
    creates_app: bool  # an app that does not exist yet may come into being
    optional_app: bool  # makes sense without an app too
    reads: bool  # changes nothing
    request: type[Message]
    response: type[Message]
    descriptor: MethodDescriptor

    @property
    def path(self) -> str:
        """The path on the wire: "/postil.v1.Annotations/PostAnnotations"."""
        return f"/{self.service}/{self.name}"


def _scope(paths: Iterable[str]) -> Scope:
    """Some HTTP binding names the user and the app when they matter."""
    every = " ".join(paths)
    if "{user_app_id.app_id}" in every:
        return Scope.APP
    return Scope.USER if "{user_app_id.user_id}" in every else Scope.NONE


def _method(service: str, descriptor: MethodDescriptor) -> Method:
    rule = descriptor.GetOptions().Extensions[annotations_pb2.http]
    verb = rule.WhichOneof("pattern") or "get"
    bindings = [rule, *rule.additional_bindings]
    scope = _scope(getattr(one, one.WhichOneof("pattern") or "get") for one in bindings)
    return Method(
        name=descriptor.name,
        service=service,
        scope=scope,
        creates_app=scope is Scope.APP and descriptor.name not in _NEVER_CREATE | _WITHOUT_APP,
        optional_app=descriptor.name in _WITHOUT_APP,
        reads=verb == "get" or (verb == "post" and descriptor.name.endswith(("Searches", "SearchesByID"))),
        request=GetMessageClass(descriptor.input_type),
        response=GetMessageClass(descriptor.output_type),
        descriptor=descriptor,
    )


def table() -> dict[str, Method]:
    """Name -> method. Names are unique over all services, as the vendor keeps them in a single one."""
    found: dict[str, Method] = {}
    for file in FILES:
        for service in file.services_by_name.values():
            for descriptor in service.methods:
                if descriptor.name in found:
                    raise ValueError(f"two RPCs are called {descriptor.name}")
                found[descriptor.name] = _method(service.full_name, descriptor)
    return found
