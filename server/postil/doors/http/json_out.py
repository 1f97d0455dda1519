"""Messages to JSON, as the published clients read it.

protobuf's own mapping, with these differences: names stay snake_case; status codes are numbers; fields marked
`show_if_empty` are written even when they are zero or empty; whole numbers in a Struct are written without a point.

A function is compiled for each message type from its descriptor, which makes this some ten times faster than
`json_format`; orjson then writes the text, and the shortest digits of each 32-bit float.
"""

from __future__ import annotations

import base64
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
import orjson
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from postil.v1 import options_pb2, status_code_pb2

Convert: TypeAlias = Callable[[Any], Any]

_STATUS_CODE = status_code_pb2.StatusCode.DESCRIPTOR.full_name
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST, _LAST = -62_135_596_800, 253_402_300_799  # seconds of the years 1 to 9999
_EXACT = 2.0**53  # whole doubles up to here are exact
_WRAPPERS = frozenset(
    f"google.protobuf.{kind}Value"
    for kind in ("Bool", "Bytes", "Double", "Float", "Int32", "Int64", "String", "UInt32", "UInt64")
)  # fmt: skip


class Printer:
    """Writes messages as JSON. Thread-safe."""

    def __init__(self) -> None:
        self._writers: dict[str, Convert] = {}  # whole ones
        self._drafts: dict[str, Convert] = {}  # those that are being compiled, and what they refer to
        self._compiling = threading.RLock()

    def text(self, message: Any) -> bytes:
        """The message as JSON text."""
        return dumps(self.value(message))

    def value(self, message: Any) -> dict[str, Any]:
        """The message as plain values for `dumps`."""
        value: dict[str, Any] = self.writer(message.DESCRIPTOR)(message)
        return value

    def writer(self, descriptor: Descriptor) -> Convert:
        """The function that turns messages of this type into plain values."""
        name = descriptor.full_name
        known = _KNOWN.get(name) or self._writers.get(name)
        return known if known is not None else self._draft(descriptor)

    def _draft(self, descriptor: Descriptor) -> Convert:
        """Compiles a type and all that it refers to, which other threads see once all of them are whole."""
        name = descriptor.full_name
        with self._compiling:
            known = self._writers.get(name) or self._drafts.get(name)
            if known is not None:
                return known
            outermost = not self._drafts
            try:
                made = self._drafts[name] = self._compile(descriptor)
                if outermost:
                    self._writers.update(self._drafts)
            finally:
                if outermost:
                    self._drafts = {}
            return made

    def _compile(self, descriptor: Descriptor) -> Convert:
        if descriptor.full_name in _WRAPPERS:
            inner = self._single(descriptor.fields_by_name["value"])
            return lambda message: message.value if inner is None else inner(message.value)
        table: dict[int, tuple[str, Convert | None]] = {}
        write = _writer(table, [(field.name, _empty(field)) for field in descriptor.fields if _always(field)])
        self._drafts[descriptor.full_name] = write  # before the fields, for types that contain themselves
        table.update({field.number: (field.name, self._field(field)) for field in descriptor.fields})
        return write

    def _field(self, field: FieldDescriptor) -> Convert | None:
        if not field.is_repeated:
            return self._single(field)
        if field.message_type is not None and _is_map(field):
            return self._map(field.message_type)
        if field.type == FieldDescriptor.TYPE_FLOAT:
            return _floats
        one = self._single(field)
        return list if one is None else lambda values: [one(value) for value in values]

    def _map(self, entry: Descriptor) -> Convert:
        one = self._single(entry.fields_by_name["value"])
        is_bool = entry.fields_by_name["key"].type == FieldDescriptor.TYPE_BOOL
        name: Convert = (lambda key: str(key).lower()) if is_bool else str
        return lambda values: {name(key): values[key] if one is None else one(values[key]) for key in values}

    def _single(self, field: FieldDescriptor) -> Convert | None:
        if field.message_type is not None:
            return self.writer(field.message_type)
        if field.enum_type is not None:
            return None if _is_status_code(field) else _names(field.enum_type)
        return _SCALARS.get(field.type)


def _writer(table: Mapping[int, tuple[str, Convert | None]], always: Sequence[tuple[str, Any]]) -> Convert:
    def write(message: Any) -> dict[str, Any]:
        out = {}
        for field, value in message.ListFields():
            name, convert = table[field.number]
            out[name] = value if convert is None else convert(value)
        for name, empty in always:
            if name not in out:
                out[name] = empty
        return out

    return write


def dumps(value: Any) -> bytes:
    """Plain values, and numpy's where they stand for 32-bit floats, as JSON text."""
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)


def _always(field: FieldDescriptor) -> bool:
    if _is_status_code(field):
        return True
    marked = field.GetOptions().Extensions[options_pb2.show_if_empty]
    return bool(marked) and (field.is_repeated or not field.has_presence)


def _empty(field: FieldDescriptor) -> Any:
    if field.is_repeated:
        return {} if _is_map(field) else []
    if field.enum_type is not None and not _is_status_code(field):
        return field.enum_type.values_by_number[0].name
    convert = _SCALARS.get(field.type)
    return field.default_value if convert is None else convert(field.default_value)


def _is_status_code(field: FieldDescriptor) -> bool:
    return field.enum_type is not None and field.enum_type.full_name == _STATUS_CODE


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)


def _names(enum: EnumDescriptor) -> Convert:
    names = {number: value.name for number, value in enum.values_by_number.items()}
    return lambda number: names.get(number, number)


# From here on a 32-bit float is written as a 64-bit one: the shortest digits of the very largest are rounded up, and
# protobuf's own reader in Python takes them for too large.
_LARGE = 3.4028234e38


def _float(value: float) -> Any:
    """A 32-bit float: numpy's type tells orjson to write no more digits than such a number has."""
    return np.float32(value) if -_LARGE < value < _LARGE else _double(value)


def _double(value: float) -> Any:
    return value if value - value == 0.0 else _not_finite(value)


def _floats(values: Any) -> Any:
    numbers = np.fromiter(values, np.float32, len(values))
    return numbers if (np.abs(numbers) < _LARGE).all() else [_float(value) for value in values]


def _not_finite(value: float) -> str:
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _timestamp(message: Any) -> str:
    return _moment(message.seconds, message.nanos)


@lru_cache(4096)
def _moment(seconds: int, nanos: int) -> str:
    """RFC 3339 with 0, 3, 6 or 9 digits behind the second. What clients stored may be no time; JSON has none such
    (protobuf/timestamp.proto), so it is shown as the nearest there is."""
    seconds, nanos = min(max(seconds, _FIRST), _LAST), min(max(nanos, 0), 999_999_999)
    text = (_EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text:0>19}{_fraction(nanos)}Z"


def _fraction(nanos: int) -> str:
    digits = f"{nanos:09d}"
    while digits.endswith("000"):
        digits = digits[:-3]
    return f".{digits}" if digits else ""


def _duration(message: Any) -> str:
    sign = "-" if message.seconds < 0 or message.nanos < 0 else ""
    return f"{sign}{abs(message.seconds)}{_fraction(abs(message.nanos))}s"


def _struct(message: Any) -> dict[str, Any]:
    fields = message.fields
    return {key: _value(fields[key]) for key in fields}


def _list(message: Any) -> list[Any]:
    return [_value(value) for value in message.values]


def _value(message: Any) -> Any:
    kind = message.WhichOneof("kind")
    if kind == "struct_value":
        return _struct(message.struct_value)
    if kind == "list_value":
        return _list(message.list_value)
    if kind == "number_value":
        number = message.number_value
        whole = number.is_integer() and abs(number) <= _EXACT and (number or math.copysign(1, number) > 0)
        return int(number) if whole else _double(number)  # -0.0 has no whole number to stand for it
    return None if kind in {None, "null_value"} else getattr(message, kind)


_KNOWN: dict[str, Convert] = {
    "google.protobuf.Duration": _duration,
    "google.protobuf.ListValue": _list,
    "google.protobuf.Struct": _struct,
    "google.protobuf.Timestamp": _timestamp,
    "google.protobuf.Value": _value,
}
_SCALARS: dict[int, Convert] = {
    FieldDescriptor.TYPE_BYTES: _base64,
    FieldDescriptor.TYPE_DOUBLE: _double,
    FieldDescriptor.TYPE_FLOAT: _float,
    FieldDescriptor.TYPE_INT64: str,  # JavaScript's numbers are too small
    FieldDescriptor.TYPE_UINT64: str,
    FieldDescriptor.TYPE_SINT64: str,
    FieldDescriptor.TYPE_FIXED64: str,
    FieldDescriptor.TYPE_SFIXED64: str,
}
