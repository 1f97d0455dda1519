"""Servicers for grpc_testing: the same objects as behind the doors, with the (request, context) methods that it wants.

    server = grpc_testing.server_from_dictionary(adaptors(dispatcher), grpc_testing.strict_real_time())

Calls go through the real dispatcher, so that access, limits and errors are those of the product.
"""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message

from postil.doors.rpc.dispatcher import Dispatcher
from postil.doors.rpc.methods import FILES
from support.doors import METHODS


class Adaptor:
    """One service: its RPCs as methods that take and give messages."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher

    def __getattr__(self, rpc: str) -> Any:
        if rpc not in METHODS:
            raise AttributeError(rpc)

        def behaviour(request: Message, context: Any) -> Message:
            body = self._dispatcher.call(rpc, request.SerializeToString(), context.invocation_metadata() or ())
            return METHODS[rpc].response.FromString(body)

        return behaviour


def adaptors(dispatcher: Dispatcher) -> dict[ServiceDescriptor, Adaptor]:
    """Every service of the contract, for `grpc_testing.server_from_dictionary`."""
    return {service: Adaptor(dispatcher) for file in FILES for service in file.services_by_name.values()}
