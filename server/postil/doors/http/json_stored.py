"""Responses to JSON without decoding what the store keeps: inputs and annotations reach a response as the bytes that
are stored, so their JSON is remembered under those bytes, and a page of known hits is put together from ready pieces.

A hit is remembered without its score, which differs from search to search.

To get at those bytes, responses are read with a copy of the schema in which the fields that hold a stored message are
declared as `bytes`; on the wire both look the same (https://protobuf.dev/programming-guides/encoding/#length-types).
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np
import orjson
from google.protobuf.descriptor import Descriptor, FieldDescriptor, FileDescriptor
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from postil.core.trouble import too_much
from postil.doors.http.json_out import Convert, Printer, dumps
from postil.doors.rpc.methods import FILES
from postil.v1.annotation_pb2 import Annotation
from postil.v1.input_pb2 import Input
from postil.v1.search_pb2 import Hit

_KEPT: tuple[type[Message], ...] = (Input, Annotation, Hit)
_HIT = Hit.DESCRIPTOR.full_name
_SCORE = Hit.DESCRIPTOR.fields_by_name["score"]
_SCORE_BYTE = bytes([_SCORE.number << 3 | 5])  # what stands before a 32-bit float
_SCORE_END = 5  # where the score's bytes end in a hit that begins with it
_BEGIN = b'[{"score":'
_COST = 200  # bytes of what a piece is kept in: two objects and their place in a table
_MOST = 256  # times the bytes of a message: more than its JSON can have
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


def _text(kind: type[Message], printer: Printer, message: bytes) -> bytes:
    return printer.text(kind.FromString(message))


def _with_score(hit: bytes) -> bytes:
    """A hit whose first field is its score, which may be zero."""
    if hit[:1] == _SCORE_BYTE:
        return hit
    whole = Hit.FromString(hit)
    score = whole.score
    whole.ClearField("score")
    return _SCORE_BYTE + np.float32(score).tobytes() + whole.SerializeToString()


class Remembered:
    """JSON of messages of one type by their bytes, those last used, bounded. Thread-safe.

    Two generations: when the younger is full it becomes the older, and what nobody asked for since is forgotten.

    Args:
        text: Writes those that are not known.
        capacity: Bytes of messages and texts together.
    """

    def __init__(self, text: Callable[[bytes], bytes], capacity: int) -> None:
        self._text = text
        self._half = capacity // 2
        self._young: dict[bytes, bytes] = {}
        self._old: dict[bytes, bytes] = {}
        self._size = 0

    def json(self, message: bytes) -> orjson.Fragment:
        """A message as a piece of JSON for `dumps`."""
        return orjson.Fragment(self.text(message))

    def text(self, message: bytes) -> bytes:
        """A message as JSON."""
        known = self._young.get(message)
        if known is not None:
            return known
        piece = self._old.get(message) or self._text(message)
        if len(message) <= _LARGEST:
            self._keep(message, piece)
        return piece

    def _keep(self, message: bytes, piece: bytes) -> None:
        # Two threads may turn the generations at once: then some pieces are forgotten early, and nothing worse.
        if self._size > self._half:
            self._old, self._young, self._size = self._young, {}, 0
        self._young[message] = piece
        self._size += _COST + len(message) + len(piece)


class StoredPrinter(Printer):
    """Writes serialized responses as JSON. Thread-safe.

    Args:
        capacity: Bytes to remember pieces in, for each type of stored message.
        room: Bytes of JSON that one response may have.
    """

    def __init__(self, capacity: int, room: int = sys.maxsize) -> None:
        super().__init__()
        self.room = room
        plain = Printer()
        self._pieces = {
            name: Remembered(partial(_text, kind, plain), capacity)
            for name, kind in ((kind.DESCRIPTOR.full_name, kind) for kind in _KEPT)
        }
        self._pieces[_HIT] = Remembered(self._rest_of_hit, capacity)
        self._opaque: dict[str, str] = {}  # field that is read as bytes -> type of what it holds
        self._pool = DescriptorPool()
        for file in _in_order(FILES):
            self._pool.Add(self._with_bytes(file))
        # All of them, for good: a class that nothing but protobuf's own cache refers to is collected after each use,
        # and a thread that is given one while the collector takes it apart brings the process down.
        self._classes: dict[str, type[Message]] = {}
        for file in _in_order(FILES):
            self._hold(file.message_types_by_name.values())

    def read(self, response: type[Message], wire: bytes) -> Any:
        """A response with the stored messages left as bytes, for `value`."""
        return self._classes[response.DESCRIPTOR.full_name].FromString(wire)

    def _hold(self, types: Iterable[Descriptor]) -> None:
        for one in types:
            self._classes[one.full_name] = GetMessageClass(self._pool.FindMessageTypeByName(one.full_name))
            self._hold(one.nested_types)

    def _field(self, field: FieldDescriptor) -> Convert | None:
        kept = self._opaque.get(field.full_name) if field.is_repeated else None
        if kept == _HIT:
            return self._hits
        if kept is not None:
            text = self._pieces[kept].text
            return lambda messages: [orjson.Fragment(piece) for piece in self._texts(messages, text)]
        return super()._field(field)

    def _texts(self, messages: Sequence[bytes], text: Callable[[bytes], bytes]) -> list[bytes]:
        """The JSON of each. Raises Failure as soon as they are too much for one response."""
        if _MOST * sum(map(len, messages)) <= self.room:
            return [text(message) for message in messages]
        size, texts = 0, []
        for message in messages:
            texts.append(text(message))
            size += len(texts[-1])
            if size > self.room:
                raise too_much(self.room, f"The first {len(texts):,} of {len(messages):,} items, in JSON,")
        return texts

    def _hits(self, hits: Sequence[bytes]) -> Any:
        """A list of hits, put together from what is remembered of each and its score."""
        if not hits:
            return []
        if not all(hit[:1] == _SCORE_BYTE for hit in hits):  # a score of zero is not on the wire
            hits = [_with_score(hit) for hit in hits]
        numbers = np.frombuffer(b"".join([hit[1:_SCORE_END] for hit in hits]), np.dtype("<f4"))
        if not np.isfinite(numbers).all():
            return [self.value(self._classes[_HIT].FromString(hit)) for hit in hits]
        scores = dumps(numbers)[1:-1].split(b",")
        rest = self._pieces[_HIT].text
        known = self._texts([hit[_SCORE_END:] for hit in hits], rest)
        texts = map(operator.add, scores, known)
        return orjson.Fragment(_BEGIN + (b"}," + _BEGIN[1:]).join(texts) + b"}]")

    def _rest_of_hit(self, message: bytes) -> bytes:
        """What follows the score in the JSON of a hit, from what follows it on the wire."""
        value = self.value(self._classes[_HIT].FromString(message))
        value.pop(_SCORE.name, None)
        return b"," + dumps(value)[1:-1] if value else b""

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
