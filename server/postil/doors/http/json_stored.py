"""Responses to JSON without decoding what the store keeps: inputs and annotations reach a response as the bytes that
are stored, so their JSON is remembered under those bytes, and a page of known hits is put together from ready pieces.

To get at those bytes, responses are read with a copy of the schema in which the fields that hold a stored message are
declared as `bytes`; on the wire both look the same (https://protobuf.dev/programming-guides/encoding/#length-types).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson
from google.protobuf.descriptor import FieldDescriptor, FileDescriptor
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from postil.doors.http.json_out import Convert, Printer
from postil.doors.rpc.methods import FILES
from postil.v1.annotation_pb2 import Annotation
from postil.v1.input_pb2 import Input

_KEPT: tuple[type[Message], ...] = (Input, Annotation)
_COST = 4  # bytes kept for each byte of a message: itself and its JSON, which is about three times as long
_LARGEST = 64 * 1024  # bytes of a message worth remembering


def _in_order(files: Iterable[FileDescriptor]) -> Iterable[FileDescriptor]:
    """The files and all that they import, each after what it imports."""
    found: dict[str, FileDescriptor] = {}

    def visit(file: FileDescriptor) -> None:
        if file.name not in found:
            for other in file.dependencies:
                visit(other)
            found[file.name] = file

    for file in files:
        visit(file)
    return found.values()


class Remembered:
    """JSON of messages of one type by their bytes, those last used, bounded. Thread-safe.

    Two generations: when the younger is full it becomes the older, and what nobody asked for since is forgotten.

    Args:
        kind: Their type.
        printer: Writes those that are not known.
        capacity: Bytes of messages and texts together, roughly.
    """

    def __init__(self, kind: type[Message], printer: Printer, capacity: int) -> None:
        self._kind = kind
        self._printer = printer
        self._half = capacity // 2
        self._young: dict[bytes, orjson.Fragment] = {}
        self._old: dict[bytes, orjson.Fragment] = {}
        self._size = 0

    def json(self, message: bytes) -> orjson.Fragment:
        """A message as a piece of JSON for `dumps`."""
        known = self._young.get(message)
        if known is not None:
            return known
        piece = self._old.get(message) or orjson.Fragment(self._printer.text(self._kind.FromString(message)))
        if len(message) <= _LARGEST:
            self._keep(message, piece)
        return piece

    def _keep(self, message: bytes, piece: orjson.Fragment) -> None:
        # Two threads may turn the generations at once: then some pieces are forgotten early, and nothing worse.
        if self._size > self._half:
            self._old, self._young, self._size = self._young, {}, 0
        self._young[message] = piece
        self._size += _COST * len(message)


class StoredPrinter(Printer):
    """Writes serialized responses as JSON. Thread-safe.

    Args:
        capacity: Bytes to remember pieces in, for each type of stored message.
    """

    def __init__(self, capacity: int) -> None:
        super().__init__()
        plain = Printer()
        self._pieces = {kind.DESCRIPTOR.full_name: Remembered(kind, plain, capacity) for kind in _KEPT}
        self._opaque: dict[str, str] = {}  # field that is read as bytes -> type of what it holds
        self._pool = DescriptorPool()
        for file in _in_order(FILES):
            self._pool.Add(self._with_bytes(file))
        self._classes: dict[str, type[Message]] = {}

    def read(self, response: type[Message], wire: bytes) -> Any:
        """A response with the stored messages left as bytes, for `value`."""
        name = response.DESCRIPTOR.full_name
        kind = self._classes.get(name)
        if kind is None:
            kind = self._classes[name] = GetMessageClass(self._pool.FindMessageTypeByName(name))
        return kind.FromString(wire)

    def _single(self, field: FieldDescriptor) -> Convert | None:
        kept = self._opaque.get(field.full_name)
        return super()._single(field) if kept is None else self._pieces[kept].json

    def _with_bytes(self, file: FileDescriptor) -> FileDescriptorProto:
        proto = FileDescriptorProto()
        file.CopyToProto(proto)
        for message in proto.message_type:
            self._make_opaque(message, proto.package)
        return proto

    def _make_opaque(self, message: DescriptorProto, scope: str) -> None:
        for field in message.field:
            kept = field.type_name.removeprefix(".")
            if kept in self._pieces:
                field.type = FieldDescriptorProto.TYPE_BYTES
                field.ClearField("type_name")
                if field.label != FieldDescriptorProto.LABEL_REPEATED and not field.HasField("oneof_index"):
                    field.oneof_index, field.proto3_optional = len(message.oneof_decl), True  # an empty one is there
                    message.oneof_decl.add(name=f"_{field.name}")
                self._opaque[f"{scope}.{message.name}.{field.name}"] = kept
        for nested in message.nested_type:
            self._make_opaque(nested, f"{scope}.{message.name}")
