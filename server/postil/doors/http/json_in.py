"""Plain JSON values to messages, as the published clients send them.

protobuf's own mapping, with these differences: unknown keys and nulls are ignored; an absent key of a field marked
`default_float` takes that value (`Concept.value` is then 1); booleans count as numbers in float fields; base64 may be
wrapped and unpadded; texts count as numbers and flags, because query parameters are texts.

A function is compiled for each message type from its descriptor, as for printing.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeAlias

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from postil.errors import Failure
from postil.v1 import options_pb2
from postil.v1.status_code_pb2 import StatusCode

Fill: TypeAlias = Callable[[Any, Any, int], None]  # (message, JSON value, depth)
Put: TypeAlias = Callable[[Any, Any, int], None]  # the same, for one field of the message
Scalar: TypeAlias = Callable[[Any], Any]

_ANY_VALUE = "google.protobuf.Value"  # of which null is one

MAX_DEPTH = 100  # of messages in messages; protobuf refuses more
_TRUE, _FALSE = {"true", "True", "1"}, {"false", "False", "0"}
_SHOWN = 40  # characters of a wrong value that are quoted


class _Wrong(Exception):
    """A value that does not fit; the path to it grows on the way out."""

    def __init__(self, expected: str, value: Any) -> None:
        super().__init__(expected)
        self.expected = expected
        self.shown = repr(value) if len(repr(value)) <= _SHOWN else f"{repr(value)[:_SHOWN]}…"
        self.path = ""

    def within(self, step: str) -> _Wrong:
        """The same, seen from one level up."""
        self.path = step + ("" if self.path.startswith("[") or not self.path else ".") + self.path
        return self


class Reader:
    """Fills messages from JSON. Thread-safe once compiled; compiling twice does no harm."""

    def __init__(self) -> None:
        self._fillers: dict[str, Fill] = {}

    def read(self, tree: Mapping[str, Any], message: Any) -> None:
        """Adds what `tree` says to the message.

        Raises:
            Failure: CONN_BAD_REQUEST_FORMAT with the path to the value that does not fit.
        """
        try:
            self.filler(message.DESCRIPTOR)(message, tree, 1)
        except _Wrong as wrong:
            where = f"{wrong.path}: " if wrong.path else ""
            details = f"{where}expected {wrong.expected}, got {wrong.shown}."
            raise Failure(StatusCode.CONN_BAD_REQUEST_FORMAT, details) from None

    def filler(self, descriptor: Descriptor) -> Fill:
        """The function that fills messages of this type."""
        name = descriptor.full_name
        known = _KNOWN.get(name) or self._fillers.get(name)
        return known or self._compile(descriptor)

    def _compile(self, descriptor: Descriptor) -> Fill:
        if descriptor.full_name.startswith("google.protobuf.") and "value" in descriptor.fields_by_name:
            return self._field(descriptor.fields_by_name["value"])  # a wrapper is written as what it wraps
        puts: dict[str, Put] = {}
        nullable: set[str] = set()
        fill = _filler(puts, nullable, _defaults(descriptor))
        self._fillers[descriptor.full_name] = fill  # before the fields, for types that contain themselves
        for field in descriptor.fields:
            puts[field.json_name] = puts[field.name] = self._field(field)
            if field.message_type is not None and field.message_type.full_name == _ANY_VALUE and not field.is_repeated:
                nullable |= {field.name, field.json_name}
        return fill

    def _field(self, field: FieldDescriptor) -> Put:
        if field.is_repeated:
            if field.message_type is None:
                return _scalars(field.name, _scalar(field), plain=field.cpp_type in _FLOATING)
            if field.message_type.GetOptions().map_entry:
                return self._map(field.name, field.message_type)
            return _messages(field.name, self.filler(field.message_type))
        if field.message_type is None:
            return _one(field.name, _scalar(field))
        return _message(field.name, self.filler(field.message_type))

    def _map(self, name: str, entry: Descriptor) -> Put:
        key, value = entry.fields_by_name["key"], entry.fields_by_name["value"]
        read_key = _scalar(key)
        fill = self.filler(value.message_type) if value.message_type else None
        read = _scalar(value) if fill is None else None

        def put(message: Any, tree: Any, depth: int) -> None:
            if not isinstance(tree, dict):
                raise _Wrong("an object", tree)
            entries = getattr(message, name)
            for text, one in tree.items():
                if fill is not None:
                    fill(entries[read_key(text)], one, depth + 1)
                elif read is not None:
                    entries[read_key(text)] = read(one)

        return put


def _defaults(descriptor: Descriptor) -> list[tuple[str, str, float]]:
    """Name, JSON name and value of the fields that are not zero when they are absent."""
    option = options_pb2.default_float
    options = [(field, field.GetOptions()) for field in descriptor.fields]
    return [(one.name, one.json_name, its.Extensions[option]) for one, its in options if its.HasExtension(option)]


def _filler(puts: Mapping[str, Put], nullable: Collection[str], defaults: Sequence[tuple[str, str, float]]) -> Fill:
    def fill(message: Any, tree: Any, depth: int) -> None:
        if not isinstance(tree, dict):
            raise _Wrong("an object", tree)
        if depth > MAX_DEPTH:
            raise _Wrong(f"at most {MAX_DEPTH} levels", "more")
        for key, value in tree.items():
            put = puts.get(key)
            if put is not None and (value is not None or key in nullable):
                try:
                    put(message, value, depth)
                except _Wrong as wrong:
                    raise wrong.within(key) from None
        for name, json_name, default in defaults:
            if tree.get(name) is None and tree.get(json_name) is None:
                setattr(message, name, default)

    return fill


def _one(name: str, read: Scalar) -> Put:
    def put(message: Any, value: Any, _depth: int) -> None:
        setattr(message, name, read(value))

    return put


def _message(name: str, fill: Fill) -> Put:
    def put(message: Any, value: Any, depth: int) -> None:
        inner = getattr(message, name)
        inner.SetInParent()
        fill(inner, value, depth + 1)

    return put


def _messages(name: str, fill: Fill) -> Put:
    def put(message: Any, values: Any, depth: int) -> None:
        inner = getattr(message, name)
        for place, value in enumerate(_list(values)):
            try:
                fill(inner.add(), value, depth + 1)
            except _Wrong as wrong:
                raise wrong.within(f"[{place}]") from None

    return put


def _scalars(name: str, read: Scalar, *, plain: bool) -> Put:
    def put(message: Any, values: Any, _depth: int) -> None:
        inner = getattr(message, name)
        if plain:
            try:
                inner.extend(_list(values))  # numbers as they are, in native code
            except (TypeError, OverflowError):
                pass
            else:
                return
        for place, value in enumerate(_list(values)):
            try:
                inner.append(read(value))
            except _Wrong as wrong:
                raise wrong.within(f"[{place}]") from None

    return put


def _list(values: Any) -> list[Any]:
    if not isinstance(values, list):
        raise _Wrong("an array", values)
    return values


def _scalar(field: FieldDescriptor) -> Scalar:
    if field.enum_type is not None:
        return _enum(field.enum_type)
    if field.type == FieldDescriptor.TYPE_STRING:
        return _text
    if field.type == FieldDescriptor.TYPE_BYTES:
        return _bytes
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return _flag
    return _number if field.cpp_type in _FLOATING else _whole(*_RANGES[field.cpp_type])


def _text(value: Any) -> str:
    if type(value) is not str:
        raise _Wrong("a string", value)
    try:
        value.encode()
    except UnicodeEncodeError:
        raise _Wrong("text without lone surrogates", value) from None
    return value


def _flag(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if str(value) not in _TRUE | _FALSE:
        raise _Wrong("true or false", value)
    return str(value) in _TRUE


def _number(value: Any) -> float:
    if isinstance(value, float | int):  # a bool is an int
        return _float(value)
    try:
        return float(value) if isinstance(value, str) and "_" not in value else _float(value)
    except ValueError:
        raise _Wrong("a number", value) from None


def _float(value: Any) -> float:
    if not isinstance(value, float | int):
        raise _Wrong("a number", value)
    try:
        return float(value)
    except OverflowError:
        raise _Wrong("a number of ordinary size", "a larger one") from None


def _whole(lowest: int, highest: int) -> Scalar:
    def read(value: Any) -> int:
        number = _number(value) if isinstance(value, float | str) and not _decimal(value) else value
        if isinstance(number, float) and number.is_integer():
            number = int(number)
        if isinstance(number, str):
            number = int(number)
        if type(number) is not int or not lowest <= number <= highest:
            raise _Wrong(f"a whole number from {lowest} to {highest}", value)
        return number

    return read


def _decimal(value: Any) -> bool:
    """Whether a text is short decimal digits, which must not take the way over a float."""
    return isinstance(value, str) and len(value) <= 20 and value.removeprefix("-").isdecimal() and value.isascii()


def _bytes(value: Any) -> bytes:
    if not isinstance(value, str):
        raise _Wrong("base64 text", value)
    try:
        plain = value.encode("ascii")
        try:
            return base64.b64decode(plain, validate=True)
        except binascii.Error:
            tidy = b"".join(plain.split()).rstrip(b"=").translate(bytes.maketrans(b"-_", b"+/"))
            return base64.b64decode(tidy + b"=" * (-len(tidy) % 4), validate=True)
    except (UnicodeEncodeError, binascii.Error):
        raise _Wrong("base64 text", value) from None


def _enum(enum: EnumDescriptor) -> Scalar:
    numbers = {name: value.number for name, value in enum.values_by_name.items()}
    whole = _whole(-(2**31), 2**31 - 1)

    def read(value: Any) -> int:
        number = numbers.get(value) if isinstance(value, str) else None
        if number is not None:
            return number
        try:
            return int(whole(value))
        except _Wrong:
            raise _Wrong(f"a number or one of {', '.join(list(numbers)[:20])}", value) from None

    return read


def _moment(message: Any, value: Any, _depth: int) -> None:
    try:
        message.FromJsonString(value)
    except (AttributeError, TypeError, ValueError, OverflowError):
        raise _Wrong('a time such as "2026-11-20T18:30:00Z"', value) from None


def _duration(message: Any, value: Any, _depth: int) -> None:
    try:
        message.FromJsonString(value)
    except (AttributeError, TypeError, ValueError, OverflowError):
        raise _Wrong('a duration such as "1.5s"', value) from None


def _struct(message: Any, tree: Any, depth: int) -> None:
    if not isinstance(tree, dict):
        raise _Wrong("an object", tree)
    for key, value in tree.items():
        try:
            _value(message.fields[_text(key)], value, depth + 2)
        except _Wrong as wrong:
            raise wrong.within(key) from None


def _values(message: Any, values: Any, depth: int) -> None:
    for value in _list(values):
        _value(message.values.add(), value, depth + 1)


def _value(message: Any, value: Any, depth: int) -> None:
    if depth >= MAX_DEPTH:
        raise _Wrong(f"fewer levels: {MAX_DEPTH} in all, three for each object in metadata", "more")
    if value is None:
        message.null_value = 0
    elif isinstance(value, bool):
        message.bool_value = value
    elif isinstance(value, str):
        message.string_value = _text(value)
    elif isinstance(value, dict):
        message.struct_value.SetInParent()
        _struct(message.struct_value, value, depth + 1)
    elif isinstance(value, list):
        message.list_value.SetInParent()
        _values(message.list_value, value, depth + 1)
    elif math.isfinite(_float(value)):
        message.number_value = value
    else:
        raise _Wrong("a finite number", value)


_FLOATING = {FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE}
_RANGES = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}
_KNOWN: dict[str, Fill] = {
    "google.protobuf.Duration": _duration,
    "google.protobuf.ListValue": _values,
    "google.protobuf.Struct": _struct,
    "google.protobuf.Timestamp": _moment,
    _ANY_VALUE: _value,
}
