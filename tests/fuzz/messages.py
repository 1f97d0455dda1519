"""Random messages of any type, from its descriptor: mostly well formed, with the values that break programs."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from functools import cache
from io import BytesIO
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from PIL import Image

from support.photos import photo

DEPTH = 7  # of nesting that is drawn; deeper now and then
_MANY = (0, 1, 1, 1, 2, 3, 8, 200)
_INTEGERS = (0, 1, 2, 3, 7, 24, 128, 129, 1000, 1001, 10_000, 2**31 - 1, 2**31, 2**32 - 1, 2**53, 2**63 - 1, 2**64 - 1)
_FLOATS = (0.0, -0.0, 1.0, 0.5, -1.0, 1e-40, 1e38, 0.1, 2.0, 180.0, 91.0, float("inf"), float("-inf"), float("nan"))
_TEXTS = (
    "", "a", "me", "cat", "dog", "1", "-1", "nan", "true", "null", "*", "%", "%00", "../..", "a/b", "a b", "\t", "\x00",
    "\u202e", "ß", "犬", "🐈", "I\u0307", "e\u0301", "\ud7ff", "'", '"', "'; DROP TABLE apps; --", "{}", "[", "\\",
    "https://example.invalid/a.png", "http://127.0.0.1:1/a.png", "file:///etc/passwd", "http://[::1", "x" * 49,
    "x" * 48, "x" * 300, "x" * 3000, "merge", "overwrite", "remove", "brute_force", "nearest_neighbor", "General",
    "general-image-recognition", "aaa03c23b3724a16a56b629203edc62c", "ja", "en", "zh-TW", "hyponym",
)  # fmt: skip
_NAMES = tuple(f"n{number}" for number in range(12))  # ids that meet each other again
_VECTOR = 4  # numbers in the vectors of this campaign, mostly


class Maker:
    """Draws messages.

    Args:
        draw: Draws them.
        pin: Called with every message that was drawn, so that a campaign can keep it inside its own app.
    """

    def __init__(self, draw: random.Random, pin: Callable[[Message], None] = lambda _: None) -> None:
        self.random = draw
        self.pin = pin
        self._pictures = [photo(name) for name in ("rocket.jpg", "chelsea.png")]

    def message(self, descriptor: Descriptor) -> Message:
        """One message of that type."""
        made = self._message(descriptor, DEPTH)
        self.pin(made)
        return made

    def mangled(self, content: bytes) -> bytes:
        """The bytes with something changed, cut off, doubled or put in."""
        found = bytearray(content)
        for _ in range(self.random.choice((1, 1, 2, 5, 20))):
            at = self.random.randrange(len(found) + 1)
            match self.random.randrange(5):
                case 0 if found:
                    found[at % len(found)] = self.random.randrange(256)
                case 1:
                    del found[at : at + self.random.choice((1, 4, 100, 10_000))]
                case 2:
                    found[at:at] = self.random.randbytes(self.random.choice((1, 2, 4, 64)))
                case 3:
                    found[at:at] = found[at : at + 64]
                case _:
                    found[at : at + 4] = struct.pack(self.random.choice("<>") + "I", self.random.choice(_INTEGERS[:14]))
        return bytes(found)

    def _message(self, descriptor: Descriptor, depth: int) -> Message:
        made: Message = GetMessageClass(descriptor)()
        share = self.random.choice((0.0, 0.1, 0.25, 0.5, 0.9)) if depth < DEPTH else 0.6
        for field in descriptor.fields:
            if self.random.random() < share:
                self.fill(made, field, depth)
        return made

    def fill(self, made: Message, field: FieldDescriptor, depth: int) -> None:
        """Sets a field to something random, or adds to it."""
        inner = field.message_type
        if inner is not None and depth <= 0:
            return
        if inner is not None and inner.GetOptions().map_entry:
            self._fill_map(made, field, depth)
        elif field.is_repeated:
            count = self.random.choice(_MANY)
            if inner is not None:
                count = min(count, 3 if depth < DEPTH - 1 else 200)
                getattr(made, field.name).extend(self._message(inner, depth - 1) for _ in range(count))
            elif field.name == "vector":
                count = self.random.choice((0, 1, _VECTOR, _VECTOR, _VECTOR, 5, 3000))
                getattr(made, field.name).extend(self._number() for _ in range(count))
            else:
                getattr(made, field.name).extend(self._scalar(field) for _ in range(count))
        elif inner is not None:
            getattr(made, field.name).CopyFrom(self._message(inner, depth - 1))
        else:
            setattr(made, field.name, self._scalar(field))

    def _fill_map(self, made: Message, field: FieldDescriptor, depth: int) -> None:
        inner = field.message_type
        assert inner is not None
        key, value = inner.fields_by_name["key"], inner.fields_by_name["value"]
        entries = getattr(made, field.name)
        for _ in range(self.random.choice((0, 1, 3))):
            name = self._scalar(key)
            if value.message_type is not None:
                entries[name].CopyFrom(self._message(value.message_type, depth - 1))
            else:
                entries[name] = self._scalar(value)

    def _number(self) -> float:
        return self.random.gauss(0, 1) if self.random.random() < 0.97 else self.random.choice(_FLOATS)

    def _scalar(self, field: FieldDescriptor) -> Any:
        draw = self.random
        match field.cpp_type:
            case FieldDescriptor.CPPTYPE_STRING if field.type == FieldDescriptor.TYPE_BYTES:
                return self._content()
            case FieldDescriptor.CPPTYPE_STRING:
                return self._text(field.name)
            case FieldDescriptor.CPPTYPE_BOOL:
                return draw.random() < 0.5
            case FieldDescriptor.CPPTYPE_FLOAT | FieldDescriptor.CPPTYPE_DOUBLE:
                return draw.random() if draw.random() < 0.6 else draw.choice(_FLOATS)
            case FieldDescriptor.CPPTYPE_ENUM:
                assert field.enum_type is not None
                known = [value.number for value in field.enum_type.values]
                return draw.choice(known) if draw.random() < 0.9 else draw.choice((-1, 4711, 2**31 - 1))
            case kind:
                if field.name in {"page", "per_page", "count"} and draw.random() < 0.5:
                    return draw.randrange(1, 30)
                return _fitting(draw.choice(_INTEGERS) if draw.random() < 0.5 else draw.randrange(4), kind)

    def _text(self, name: str) -> str:
        draw = self.random
        if name == "action" and draw.random() < 0.9:
            return draw.choice(("overwrite", "merge", "remove"))
        if name.endswith(("id", "ids", "name")) and draw.random() < 0.8:
            return draw.choice(_NAMES)
        if draw.random() < 0.05:
            return "".join(chr(draw.randrange(1, 0xD800)) for _ in range(draw.choice((1, 5, 50))))
        return draw.choice(_TEXTS)

    def _content(self) -> bytes:
        draw = self.random
        match draw.randrange(5):
            case 0:
                return draw.randbytes(draw.choice((0, 1, 10, 1000)))
            case 1:
                return self.mangled(draw.choice(self._pictures)[: draw.choice((64, 1000, 20_000))])
            case 2:
                return self.mangled(draw.choice(self._pictures))
            case 3:
                return tiny_png(draw.randrange(1, 4))
            case _:
                return b""


def _fitting(number: int, kind: int) -> int:
    """The number as it fits a field of that kind."""
    bits, signed = {
        FieldDescriptor.CPPTYPE_INT32: (32, True),
        FieldDescriptor.CPPTYPE_INT64: (64, True),
        FieldDescriptor.CPPTYPE_UINT32: (32, False),
        FieldDescriptor.CPPTYPE_UINT64: (64, False),
    }[kind]
    number %= 1 << bits
    return number - (1 << bits) if signed and number >> (bits - 1) else number


@cache
def tiny_png(side: int) -> bytes:
    """A square of one colour."""
    out = BytesIO()
    Image.new("RGB", (side, side), (200, 30, 30)).save(out, "PNG")
    return out.getvalue()
