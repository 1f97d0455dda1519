"""Reads `Filter` messages into tests that an app's catalog answers with sets of annotation rows.

A field that we do not honour is refused by name, never passed over: it would change the answer. What is present but
says nothing (an empty filter, an empty `annotation`) constrains nothing; `annotation.data` that is present but empty
asks for annotations about all of the input, without region, frame or time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias

from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct
from pyroaring import BitMap

from postil.core import geo_filters
from postil.core.refusals import invalid
from postil.core.times import microseconds
from postil.index.catalog import AppCatalog
from postil.index.marks import FRAME, INFO, LEVEL, MEDIA, METADATA, REGIONS, TEXT, TIME, TRACK, TRUSTED, WHOLE, Mark
from postil.v1.annotation_pb2 import Annotation
from postil.v1.common_pb2 import TimeRange
from postil.v1.concept_pb2 import Concept
from postil.v1.data_pb2 import Data, Frame, Region, TimeSegment
from postil.v1.input_pb2 import Input
from postil.v1.search_pb2 import Filter as FilterMessage

MAX_FILTERS = 1000  # of one search
MAX_JSON = 16 * 1024  # bytes of metadata in one filter; each key of it costs half a millisecond

Find: TypeAlias = Callable[[AppCatalog], BitMap]
"""Gives annotation rows; a set that must not be changed."""


class Lookup(Protocol):
    """What tests ask of the store before the catalog is asked."""

    def user(self, user_id: str) -> str:
        """The id, "me" resolved."""
        ...

    def concepts(self, concept: Concept, where: str) -> list[int]:
        """Concept rows that a concept of a filter means; empty when there is none."""
        ...

    def level(self, input_id: str) -> int | None:
        """The input-level annotation of an input."""
        ...

    def dataset(self, dataset_id: str, where: str) -> BitMap:
        """The input-level annotations of the inputs in a dataset. Not to be changed."""
        ...

    def posted_with(self, url: str) -> list[int]:
        """The input-level annotations of the inputs that were posted with this URL."""
        ...

    def containing(self, kind: str, wanted: Struct) -> Find:
        """The annotations whose metadata or annotation_info contains an object."""
        ...


Test: TypeAlias = Callable[[Lookup], Find]


class Filter(NamedTuple):
    """One filter, read. A hit passes when all `annotation` tests hold and any of the `input` tests does.

    Args:
        annotation: Tests of the annotation; all must hold.
        input: Tests of its input; one must hold, unless there are none.
        negate: The opposite.
        where: "searches[0].query.filters[1]", to begin sentences with.
    """

    annotation: tuple[Test, ...]
    input: tuple[Test, ...]
    negate: bool
    where: str


def read_filters(messages: Sequence[FilterMessage], where: str) -> tuple[Filter, ...]:
    """Those that constrain something. Raises Failure 40002."""
    if len(messages) > MAX_FILTERS:
        raise invalid(f"{where} has {len(messages)} items; use at most {MAX_FILTERS}")
    read = (_read(message, f"{where}[{i}]") for i, message in enumerate(messages))
    return tuple(one for one in read if one.annotation or one.input or one.negate)


def _read(message: FilterMessage, where: str) -> Filter:
    annotation = list(_annotation(message.annotation, f"{where}.annotation", negate=message.negate))
    if message.HasField("last_updated_time_range"):
        annotation += _times(message.last_updated_time_range, f"{where}.last_updated_time_range")
    found = tuple(_input(message.input, f"{where}.input", negate=message.negate))
    return Filter(tuple(annotation), found, message.negate, where)


def unsupported(where: str, remedy: str = "leave it out") -> Exception:
    """A part of a filter that we do not honour."""
    return invalid(f"{where} is not supported in a filter; {remedy}")


def marked(*marks: Mark) -> Test:
    """With any of these marks."""
    return lambda _: lambda catalog: catalog.any_of(marks)


def _annotation(message: Annotation, where: str, *, negate: bool) -> Iterator[Test]:
    for field, value in message.ListFields():
        name, at = field.name, f"{where}.{field.name}"
        if name == "data":
            yield from _data(value, at, negate=negate)
        elif name == "worker":
            yield _worker(value, at)
        elif name == "annotation_info":
            yield _json(INFO, value, at)
        elif name == "status":
            yield marked(("status", value.code))
        elif name in _BY_ID:
            yield _BY_ID[name](value)
        else:
            raise unsupported(at)


def _of_input(input_id: str) -> Test:
    def prepare(lookup: Lookup) -> Find:
        level = lookup.level(input_id)
        levels = BitMap() if level is None else BitMap([level])
        return lambda catalog: catalog.of_levels(levels)

    return prepare


def _of_datasets(dataset_ids: Sequence[str], where: str) -> Test:
    def prepare(lookup: Lookup) -> Find:
        levels = BitMap.union(*(lookup.dataset(one, f"{where}[{i}]") for i, one in enumerate(dataset_ids)))
        return lambda catalog: catalog.of_levels(levels)

    return prepare


def _of_user(user_id: str) -> Test:
    def prepare(lookup: Lookup) -> Find:
        mark: Mark = ("user", lookup.user(user_id))
        return lambda catalog: catalog.marked(mark)

    return prepare


_BY_ID: dict[str, Callable[[str], Test]] = {
    "id": lambda value: lambda _: lambda catalog: catalog.with_id(value),
    "input_id": _of_input,
    "user_id": _of_user,
    "model_version_id": lambda value: marked(("model", value)),
    "task_id": lambda value: marked(("task", value)),
    "trusted": lambda _: marked(TRUSTED),
    "input_level": lambda _: marked(LEVEL),
}


def _worker(worker: Message, where: str) -> Test:
    kind = worker.WhichOneof("worker")
    if kind == "user" and worker.user.id:  # type: ignore[attr-defined]
        return _of_user(worker.user.id)  # type: ignore[attr-defined]
    if kind == "model" and worker.model.model_version.id:  # type: ignore[attr-defined]
        return marked(("model", worker.model.model_version.id))  # type: ignore[attr-defined]
    if kind == "workflow" and worker.workflow.version.id:  # type: ignore[attr-defined]
        return marked(("workflow", worker.workflow.version.id))  # type: ignore[attr-defined]
    raise unsupported(where, "give worker.user.id, worker.model.model_version.id or worker.workflow.version.id")


def _data(data: Data, where: str, *, negate: bool) -> Iterator[Test]:
    fields = data.ListFields()
    if not fields:
        yield marked(WHOLE)
    for field, value in fields:
        at = f"{where}.{field.name}"
        if field.name == "concepts":
            yield _concepts(value, at, negate=negate)
        elif field.name in _PARTS:
            yield _PARTS[field.name](value, at)
        else:
            raise unsupported(at)


def _regions(regions: Sequence[Region], where: str) -> Test:
    return marked(*(mark for i, one in enumerate(regions) for mark in _region(one, f"{where}[{i}]")))


def _frames(frames: Sequence[Frame], where: str) -> Test:
    for i, one in enumerate(frames):
        _only(one, "frame_info", f"{where}[{i}]", Frame())
    return marked(FRAME)


def _segments(segments: Sequence[TimeSegment], where: str) -> Test:
    for i, one in enumerate(segments):
        _only(one, "time_info", f"{where}[{i}]", TimeSegment())
    return marked(TIME)


def _text(text: Message, where: str) -> Test:
    if text.ByteSize():
        raise unsupported(where, "an empty one asks for annotations with text")
    return marked(TEXT)


_PARTS: dict[str, Callable[[Any, str], Test]] = {
    "metadata": lambda value, where: _json(METADATA, value, where),
    "geo": geo_filters.read,
    "regions": _regions,
    "frames": _frames,
    "time_segments": _segments,
    "text": _text,
}


def _only(message: Message, name: str, where: str, allowed: Message) -> None:
    """Refuses all but the presence of one field."""
    if message.HasField(name):
        getattr(allowed, name).SetInParent()
    if message != allowed:
        raise unsupported(where, f"only that {name} is there can be asked for: send it empty")


def _region(region: Region, where: str) -> Iterator[Mark]:
    if region.id or region.value or region.HasField("data"):
        raise unsupported(where, "give region_info or track_id; concepts go into data.concepts")
    if region.track_id:
        yield TRACK
    shapes = [field.name for field, _ in region.region_info.ListFields()]
    for name in shapes:
        if name not in REGIONS or getattr(region.region_info, name).ByteSize():
            raise unsupported(f"{where}.region_info.{name}", f"ask for a kind by an empty one of {', '.join(REGIONS)}")
        yield ("region", name)
    if not shapes and not region.track_id:
        yield ("region",)


def _concepts(concepts: Sequence[Concept], where: str, *, negate: bool) -> Test:
    """Labelled with any of them; value 0 means labelled absent, but under `negate` what people mean is not present."""
    for i, concept in enumerate(concepts):
        if not concept.id and not concept.name:
            raise invalid(f"{where}[{i}] has neither id nor name; give one of them")
        if concept.value not in {0.0, 1.0}:
            raise invalid(f"{where}[{i}].value is {concept.value:g}; use 1 for labelled present, 0 for labelled absent")

    def prepare(lookup: Lookup) -> Find:
        marks: list[Mark] = []
        for i, concept in enumerate(concepts):
            kind = "present" if concept.value == 1.0 or negate else "absent"
            marks += [(kind, row) for row in lookup.concepts(concept, f"{where}[{i}]")]
        return lambda catalog: catalog.any_of(marks)

    return prepare


def _json(kind: str, wanted: Struct, where: str) -> Test:
    """Contains the value of any of the top-level keys; annotation_info: of all of them. Raises Failure 40002."""
    if wanted.ByteSize() > MAX_JSON:
        raise invalid(f"{where} has {wanted.ByteSize():,} bytes; ask for at most {MAX_JSON:,} in one filter")
    if kind == INFO or len(wanted.fields) <= 1:
        return lambda lookup: lookup.containing(kind, wanted)
    parts = []
    for key, value in wanted.fields.items():
        part = Struct()
        part.fields[key].CopyFrom(value)
        parts.append(part)

    def prepare(lookup: Lookup) -> Find:
        finds = [lookup.containing(kind, part) for part in parts]
        return lambda catalog: BitMap.union(*(find(catalog) for find in finds))

    return prepare


def _times(span: TimeRange, where: str) -> list[Test]:
    start = microseconds(span.start_time, f"{where}.start_time") if span.HasField("start_time") else None
    # A stored time has whole microseconds; an end between two of them includes the first.
    end = microseconds(span.end_time, f"{where}.end_time") if span.HasField("end_time") else None
    if start is not None and end is not None and end < start:
        raise invalid(f"{where} ends before it starts; swap start_time and end_time")
    if start is None and end is None:
        return []
    if start is not None and span.start_time.nanos % 1000:
        start += 1
    return [lambda _: lambda catalog: catalog.modified_between(start, end)]


def _input(message: Input, where: str, *, negate: bool) -> Iterator[Test]:
    for field, value in message.ListFields():
        at = f"{where}.{field.name}"
        if field.name == "id":
            yield _of_input(value)
        elif field.name == "status":
            yield marked(("input_status", value.code))
        elif field.name == "dataset_ids":
            yield _of_datasets(list(value), at)
        elif field.name == "data":
            yield from _input_data(value, at, negate=negate)
        else:
            raise unsupported(at)


def _input_data(data: Data, where: str, *, negate: bool) -> Iterator[Test]:
    for field, value in data.ListFields():
        at = f"{where}.{field.name}"
        if field.name in MEDIA:
            yield _medium(field.name, value, at)
        elif field.name == "concepts":
            yield of_level(_concepts(value, at, negate=negate))
        elif field.name == "metadata":
            yield of_level(_json(METADATA, value, at))
        elif field.name == "geo":
            yield of_level(geo_filters.read(value, at))
        else:
            raise unsupported(at)


def _medium(name: str, medium: Any, where: str) -> Test:
    """That the input is one of the kind, or the one that was posted with a URL."""
    said = [field.name for field, _ in medium.ListFields() if field.name != "url"]
    if said:
        raise unsupported(
            f"{where}.{said[0]}", "give the url it was posted with, or an empty one to ask for the medium"
        )
    if not medium.url:
        return marked(("medium", name))

    def prepare(lookup: Lookup) -> Find:
        levels = BitMap(lookup.posted_with(medium.url))
        return lambda catalog: catalog.of_levels(levels)

    return prepare


def of_level(test: Test) -> Test:
    """All annotations of the inputs whose input-level annotation passes."""

    def prepare(lookup: Lookup) -> Find:
        find = test(lookup)
        return lambda catalog: catalog.of_levels(find(catalog) & catalog.marked(LEVEL))

    return prepare
