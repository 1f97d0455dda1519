"""Translates the conditions of the older PostSearches (`Query.ands`) into filters and ranks. Pure: reads no store.

    And.input        Filter: on the input's own annotation and on the input
    And.annotation   Filter
    And.output       Rank: by concepts, or by the look of output.input

Whatever the engine supports works here too; what it refuses names `filters[1]`, which the caller never sent. So a
translation remembers where each of its parts came from, and `Translation.retold` puts that into the message.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct

from postil.core.ranks import invalid, is_empty
from postil.errors import Failure
from postil.v1.annotation_pb2 import Annotation
from postil.v1.data_pb2 import Data
from postil.v1.input_pb2 import Input
from postil.v1.output_pb2 import Output
from postil.v1.search_pb2 import And, Filter, Query, Rank

_MEDIA = ("image", "video", "audio", "text")
_PRESENT = ("video", "audio", "text")  # media that are a condition even without content
_OF_ANNOTATION = ("concepts", "metadata", "geo", "clusters")  # of And.input.data: said of the input's own annotation


@dataclass(frozen=True, slots=True)
class Translation:
    """A query in filters and ranks.

    Args:
        query: The query, without ands.
        sources: Where a part of it came from: "query.filters[1].annotation" -> "query.ands[2].input".
    """

    query: Query
    sources: dict[str, str] = field(default_factory=dict)

    def retold(self, failure: Failure) -> Failure:
        """The failure in terms of what was sent."""
        details = failure.details
        for part in sorted(self.sources, key=len, reverse=True):
            details = details.replace(part, self.sources[part])
        return Failure(failure.code, details, failure.notes)


def translate(query: Query, where: str, sent: str = "") -> Translation:
    """Filters and ranks that mean the same as the query, its own ones first.

    Args:
        query: As sent; stays as it is.
        where: How the engine names the translated query: "searches[0].query".
        sent: How the caller knows the query; `where` when empty.

    Raises:
        Failure: SEARCH_INVALID_REQUEST naming the part that cannot be said in filters and ranks.
    """
    made = Translation(copy.deepcopy(query))
    made.query.ClearField("ands")
    sent = sent or where
    if sent != where:
        made.sources[where] = sent
    for i, term in enumerate(query.ands):
        _Term(made, where, f"{sent}.ands[{i}]", negate=term.negate).read(term)
    return made


class _Term:
    """One And on its way into the translation."""

    def __init__(self, made: Translation, where: str, sent: str, *, negate: bool) -> None:
        self._made = made
        self._where = where
        self._sent = sent
        self._negate = negate

    def read(self, term: And) -> None:
        """Adds what it means."""
        said = [name for name, value in _parts(term) if name != "negate" and not _says_nothing(value)]
        if len(said) > 1:
            raise invalid(f"{self._sent} holds {' and '.join(said)}; send an and for each")
        if not said and self._negate:
            raise invalid(f"{self._sent} negates nothing; give input, output or annotation")
        if said == ["input"]:
            self._input(term.input)
        elif said == ["annotation"]:
            self._filter({"annotation": "annotation"}, Filter(annotation=term.annotation))
        elif said == ["output"]:
            self._output(term.output)

    def _filter(self, sources: dict[str, str], condition: Filter) -> None:
        condition.negate = self._negate
        self._add(f"filters[{len(self._made.query.filters)}]", sources)
        self._made.query.filters.append(condition)

    def _add(self, name: str, sources: dict[str, str]) -> None:
        """Remembers whence a part came, and whence parts of it did."""
        part = f"{self._where}.{name}"
        self._made.sources[part] = self._sent
        for inner, source in sources.items():
            self._made.sources[f"{part}.{inner}"] = f"{self._sent}.{source}"

    def _input(self, wanted: Input) -> None:
        """All that it says must hold, so what a single filter would take as alternatives becomes several filters."""
        self._check(wanted, ("id", "data", "dataset_ids", "status"), "input")
        self._check(wanted.data, (*_MEDIA, *_OF_ANNOTATION), "input.data")
        keys, states = _split(wanted.data.metadata), self._of_input(wanted)
        for several, name in ((keys, "input.data.metadata: several keys"), (states, "input: several conditions on it")):
            if self._negate and len(several) > 1:
                raise invalid(f"{self._sent}.{name} cannot be negated together; send an and for each")
        for i in range(max(1, len(keys), len(states))):
            condition, annotation = Filter(), Annotation() if i else _of_annotation(wanted)
            if i < len(keys):
                annotation.data.metadata.CopyFrom(keys[i])
            if not is_empty(annotation):
                condition.annotation.CopyFrom(annotation)
            if i < len(states):
                condition.input.CopyFrom(states[i])
            self._filter({"annotation.input_id": "input.id", "annotation": "input", "input": "input"}, condition)

    def _of_input(self, wanted: Input) -> list[Input]:
        """What it says of the input itself, each alone."""
        found = []
        if wanted.dataset_ids:
            found.append(Input(dataset_ids=wanted.dataset_ids))
        if wanted.status.code:
            found.append(Input(status=wanted.status))
        for name, medium in _parts(_without_noise(wanted.data)):
            if name not in _MEDIA:
                continue
            if "base64" in dict(_parts(medium)):
                raise invalid(
                    f"{self._sent}.input.data.{name}.base64: bytes are no condition; "
                    f"to rank by the look of them, put them into output.input.data.{name}"
                )
            found.append(Input())
            getattr(found[-1].data, name).CopyFrom(medium)
        return found

    def _output(self, wanted: Output) -> None:
        self._check(wanted, ("data", "input"), "output")
        self._check(wanted.input, ("id", "data"), "output.input")
        rank, sources = Rank(negate=self._negate), {"annotation": "output"}
        rank.annotation.data.CopyFrom(_without_noise(wanted.data))
        if wanted.HasField("input"):
            looks = _without_noise(wanted.input.data)
            sources |= {f"annotation.data.{name}": f"output.input.data.{name}" for name, _ in _parts(looks)}
            sources["annotation.input_id"] = "output.input.id"
            rank.annotation.data.MergeFrom(looks)
            rank.annotation.input_id = wanted.input.id
        if is_empty(rank.annotation.data):
            rank.annotation.ClearField("data")
        self._add(f"ranks[{len(self._made.query.ranks)}]", sources)
        self._made.query.ranks.append(rank)

    def _check(self, message: Message, known: tuple[str, ...], where: str) -> None:
        for name, _ in _parts(message):
            if name not in known:
                raise invalid(f"{self._sent}.{where}.{name} is not supported; leave it out")


def _of_annotation(wanted: Input) -> Annotation:
    """What an input says that its annotation is asked for, but for metadata."""
    annotation = Annotation(input_id=wanted.id)
    if wanted.data.concepts or wanted.data.clusters:
        annotation.data.concepts.extend(wanted.data.concepts)
        annotation.data.clusters.extend(wanted.data.clusters)
    if wanted.data.HasField("geo"):
        annotation.data.geo.CopyFrom(wanted.data.geo)
    return annotation


def _split(metadata: Struct) -> list[Struct]:
    """One object per key: old clients mean all of them, where a filter means any."""
    found = []
    for key in sorted(metadata.fields):
        one = Struct()
        one.fields[key].CopyFrom(metadata.fields[key])
        found.append(one)
    return found


def _without_noise(data: Data) -> Data:
    """The data without an image that has no content, which old clients send beside an id."""
    clean = copy.deepcopy(data)
    if is_empty(data.image):
        clean.ClearField("image")
    return clean


def _says_nothing(message: Message) -> bool:
    """Whether no leaf is set anywhere in it. That there is a text, a video or a sound says something by itself."""
    return all(
        isinstance(value, Message) and name not in _PRESENT and _says_nothing(value) for name, value in _parts(message)
    )


def _parts(message: Message) -> list[tuple[str, Any]]:
    """Name and value of every field that is set."""
    return [(descriptor.name, value) for descriptor, value in message.ListFields()]
