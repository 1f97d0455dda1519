"""From an annotation to the marks that filters look for.

A *mark* is a small tuple, such as ("status", 24150) or ("region", "bounding_box"); the catalog keeps a bitmap of
annotation rows for each. JSON (metadata, annotation_info) becomes *tokens*, 64-bit numbers of a path and what is
there. Containment as PostgreSQL's jsonb `@>` has it (https://www.postgresql.org/docs/current/datatype-json.html)
needs every token of the wanted value; where no lists are wanted, it needs nothing more.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from google.protobuf.struct_pb2 import ListValue, Struct, Value

from postil.store.base import AnnotationRecord
from postil.v1.annotation_pb2 import Annotation
from postil.v1.data_pb2 import Data, Region
from postil.v1.input_pb2 import Input

Mark = tuple[str | int, ...]

TRUSTED: Mark = ("trusted",)
LEVEL: Mark = ("level",)  # the annotation is its input's input-level one
OWN: Mark = ("own",)  # it has a vector of its own, or is input-level: it is its own anchor
GEO: Mark = ("geo",)
FRAME: Mark = ("frame",)
TRACK: Mark = ("track",)
TIME: Mark = ("time",)
TEXT: Mark = ("text",)
WHOLE: Mark = ("whole",)  # no region, frame, time segment: about all of the input

REGIONS = ("bounding_box", "mask", "polygon", "point", "span", "token")
MEDIA = ("image", "video", "text", "audio")
METADATA, INFO = "metadata", "info"  # which JSON a token is of

_SHORT = 200  # characters of a token whose number is remembered


class Said(NamedTuple):
    """What an annotation says, in the catalog's terms."""

    marks: tuple[Mark, ...]
    tokens: tuple[int, ...]
    place: tuple[float, float] | None  # latitude, longitude in degrees


def present(concept: int) -> Mark:
    """Labelled with a concept (row)."""
    return ("present", concept)


def absent(concept: int) -> Mark:
    """Labelled as lacking a concept (row)."""
    return ("absent", concept)


def said(record: AnnotationRecord) -> Said:
    """Reads an annotation."""
    marks: list[Mark] = [("status", record.status)]
    for name, value in (
        ("user", record.user_id),
        ("model", record.model_version_id),
        ("workflow", record.workflow_version_id),
        ("task", record.task_id),
    ):
        if value:
            marks.append((name, value))
    for mark, holds in ((TRUSTED, record.trusted), (LEVEL, record.input_level), (OWN, record.anchor == record.row)):
        if holds:
            marks.append(mark)
    if record.blank:  # an input-level annotation that says nothing: not worth parsing
        return Said((*marks, WHOLE), (), None)
    message = Annotation.FromString(record.message)
    data = message.data
    marks += _shape(data)
    tokens: list[int] = []
    if data.HasField("metadata"):
        tokens += json_tokens(METADATA, data.metadata)
    if message.HasField("annotation_info"):
        tokens += json_tokens(INFO, message.annotation_info)
    place = None
    if data.HasField("geo") and data.geo.HasField("geo_point"):
        marks.append(GEO)
        place = (data.geo.geo_point.latitude, data.geo.geo_point.longitude)
    return Said(tuple(marks), tuple(dict.fromkeys(tokens)), place)


def _shape(data: Data) -> Iterator[Mark]:
    """Regions, frames, time and text; WHOLE when there is none of the first three."""
    regions = [*data.regions, *(region for frame in data.frames for region in frame.data.regions)]
    found = dict.fromkeys(mark for region in regions for mark in _region(region))
    yield from found
    if data.frames:
        yield FRAME
    if data.time_segments:
        yield TIME
    if data.HasField("text"):
        yield TEXT
    if not (regions or data.frames or data.time_segments):
        yield WHOLE


def _region(region: Region) -> Iterator[Mark]:
    yield ("region",)
    if region.track_id:
        yield TRACK
    for name in REGIONS:
        if region.region_info.HasField(name):  # type: ignore[arg-type]
            yield ("region", name)


def of_input(status: int, message: bytes) -> tuple[Mark, ...]:
    """Marks of an input, which all its annotations carry."""
    data = Input.FromString(message).data
    return (("input_status", status), *(("medium", name) for name in MEDIA if data.HasField(name)))  # type: ignore[arg-type]


def token(kind: str, path: tuple[str, ...], leaf: str) -> int:
    """The number of a path and what is there. Keys are told apart from list steps and types by their first letter."""
    text = "\x1f".join((kind, *path, leaf))
    return _repeated(text) if len(text) <= _SHORT else _digest(text)


@lru_cache(maxsize=4096)  # what many items say; long texts would be many megabytes together
def _repeated(text: str) -> int:
    return _digest(text)


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def id_number(annotation_id: str) -> int:
    """A 64-bit number for an annotation's id."""
    return _digest(annotation_id)


def json_tokens(kind: str, value: Struct) -> Iterator[int]:
    """The tokens of an object; that it is an object goes without saying."""
    for key, inner in value.fields.items():
        yield from _tokens(kind, ("k" + _quoted(key),), inner)


def _quoted(key: str) -> str:
    return key.replace("\x1e", "\x1e\x1e").replace("\x1f", "\x1e_")  # no key may look like two


def _tokens(kind: str, path: tuple[str, ...], value: Value) -> Iterator[int]:
    match value.WhichOneof("kind"):
        case "struct_value":
            yield token(kind, path, "o")
            for key, inner in value.struct_value.fields.items():
                yield from _tokens(kind, (*path, "k" + _quoted(key)), inner)
        case "list_value":
            yield token(kind, path, "l")
            for inner in value.list_value.values:
                yield from _tokens(kind, (*path, "e"), inner)
        case "string_value":
            yield token(kind, path, "s" + value.string_value)
        case "number_value":
            yield token(kind, path, f"n{value.number_value + 0.0!r}")
        case "bool_value":
            yield token(kind, path, f"b{value.bool_value}")
        case _:
            yield token(kind, path, "z")


def has_lists(value: Value) -> bool:
    """Whether a list lies in it, so that tokens alone do not tell containment."""
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        return any(has_lists(inner) for inner in value.struct_value.fields.values())
    return kind == "list_value"


def contains(stored: Value, wanted: Value) -> bool:
    """Whether a stored value contains a wanted one: objects by key, lists element by element, leaves equal."""
    kind = wanted.WhichOneof("kind")
    if stored.WhichOneof("kind") != kind:
        return False
    if kind == "struct_value":
        return contains_object(stored.struct_value, wanted.struct_value)
    if kind == "list_value":
        return _contains_list(stored.list_value, wanted.list_value)
    return kind is None or bool(getattr(stored, kind) == getattr(wanted, kind))  # as numbers: -0 is 0


def contains_object(stored: Struct, wanted: Struct) -> bool:
    """Whether every wanted key is there with a value that contains the wanted one."""
    return all(key in stored.fields and contains(stored.fields[key], value) for key, value in wanted.fields.items())


def _contains_list(stored: ListValue, wanted: ListValue) -> bool:
    return all(any(contains(one, value) for one in stored.values) for value in wanted.values)
