"""Reads `Rank` messages: what to order by, without touching the store. What is not built is refused, never ignored.

A rank names one thing or several: concepts, a picture, a text, vectors, an input whose vectors to use. Each becomes a
`Rank` here, with its weight in the geometric mean that is a hit's score: ranks count alike, and so do the things in one
of them. `negate` turns each of its things round.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from google.protobuf.message import Message
from numpy.typing import NDArray

from postil.core.refusals import invalid
from postil.core.vectors import BadVector, read_vector
from postil.errors import Failure
from postil.v1.annotation_pb2 import Annotation
from postil.v1.concept_pb2 import Concept
from postil.v1.data_pb2 import Data, Embedding
from postil.v1.image_pb2 import Image
from postil.v1.search_pb2 import Rank as RankMessage

_SUBJECTS = ("concepts", "embeddings", "image", "text")


@dataclass(frozen=True, slots=True)
class ByVector:
    """Near to a vector that the client sends."""

    vector: NDArray[np.float32]  # [dim], finite, not zero
    space: str  # a client's own, or ""


@dataclass(frozen=True, slots=True)
class ByPicture:
    """Looks like a picture."""

    image: Image  # url or base64 is set


@dataclass(frozen=True, slots=True)
class ByText:
    """Means the same as a text."""

    raw: str


@dataclass(frozen=True, slots=True)
class ByInput:
    """Near to the mean of an input's vectors."""

    input_id: str


@dataclass(frozen=True, slots=True)
class ByConcept:
    """Shows a concept: by label first, else near to what is labelled with it."""

    id: str
    name: str
    language: str
    app_id: str


__all__ = ["ByConcept", "ByInput", "ByPicture", "ByText", "ByVector", "Rank", "Subject", "invalid", "read_ranks"]

Subject: TypeAlias = ByVector | ByPicture | ByText | ByInput | ByConcept


@dataclass(frozen=True, slots=True)
class Rank:
    """One rank, read.

    Args:
        subject: What to order by.
        flip: Farthest first: every score s becomes 1 - s.
        space: `embed_model_version_id` to search in; "" lets the subject decide.
        version: `model_version_id` whose head or predictions say how much a concept shows; "" lets the concept decide.
        where: "searches[0].query.ranks[1]", to begin sentences with.
        weight: Its power in the score; those of all ranks together make 1.
    """

    subject: Subject
    flip: bool
    space: str
    where: str
    weight: float = 1.0
    version: str = ""


MAX_RANKS = 32  # things to rank by in one search


def read_ranks(messages: Sequence[RankMessage], where: str) -> tuple[Rank, ...]:
    """Everything to rank by. Empty ranks constrain nothing. Raises Failure 40002."""
    groups = [found for i, message in enumerate(messages) if (found := _read(message, f"{where}[{i}]"))]
    total = sum(map(len, groups))
    if total > MAX_RANKS:
        raise invalid(f"{where} name {total} things to rank by; use at most {MAX_RANKS}")
    return tuple(replace(rank, weight=1.0 / len(groups) / len(group)) for group in groups for rank in group)


def _read(message: RankMessage, where: str) -> list[Rank]:
    annotation = message.annotation
    subjects = _subjects(annotation, where)
    if not subjects:
        if message.negate or annotation.embed_model_version_id or annotation.model_version_id:
            raise invalid(f"{where} names nothing to rank by; give a concept, image, text, embedding or input_id")
        return []
    space, version = annotation.embed_model_version_id, annotation.model_version_id
    if version and not all(isinstance(subject, ByConcept) for subject, _ in subjects):
        raise _unsupported(f"{where}.annotation.model_version_id", "give it beside data.concepts alone")
    return [Rank(subject, flip != message.negate, space, where, version=version) for subject, flip in subjects]


def _subjects(annotation: Annotation, where: str) -> list[tuple[Subject, bool]]:
    """Everything that the annotation could be ranked by, each with whether it is flipped."""
    found: list[tuple[Subject, bool]] = []
    for field, value in annotation.ListFields():
        if field.name == "input_id":
            found.append((ByInput(value), False))
        elif field.name == "data":
            found.extend(_in_data(value, f"{where}.annotation.data", alone=not annotation.input_id))
        elif field.name not in {"embed_model_version_id", "model_version_id"}:
            raise _unsupported(f"{where}.annotation.{field.name}")
    return found


def _in_data(data: Data, where: str, *, alone: bool) -> list[tuple[Subject, bool]]:
    found: list[tuple[Subject, bool]] = []
    fields = data.ListFields()
    for field, value in fields:
        if field.name not in _SUBJECTS:
            raise _unsupported(f"{where}.{field.name}")
        if field.name == "concepts":
            found.extend(_concept(c, f"{where}.concepts[{i}]") for i, c in enumerate(value))
        elif field.name == "embeddings":
            found.extend((_vector(e, f"{where}.embeddings[{i}]"), False) for i, e in enumerate(value))
        elif field.name == "image" and (value.url or value.base64):
            found.append((ByPicture(value), False))
        elif field.name == "text" and value.url:
            raise _unsupported(f"{where}.text.url", "send the text itself in text.raw")
        elif field.name == "text" and value.raw:
            found.append((ByText(value.raw), False))
    if fields and not found and alone:  # a medium without content next to an id is noise that old clients send
        raise invalid(f"{where}.{fields[0][0].name} is empty; {_REMEDIES[fields[0][0].name]}")
    return found


_REMEDIES = {"image": "give image.url or image.base64", "text": "give text.raw"}


def _concept(concept: Concept, where: str) -> tuple[Subject, bool]:
    if not concept.id and not concept.name:
        raise invalid(f"{where} has neither id nor name; give one of them")
    if concept.value not in {0.0, 1.0}:
        raise invalid(f"{where}.value is {concept.value:g}; use 1 for pictures that show it, 0 for those that do not")
    subject = ByConcept(concept.id, concept.name, concept.language, concept.app_id)
    return subject, concept.value == 0.0


def _vector(embedding: Embedding, where: str) -> ByVector:
    try:
        return ByVector(read_vector(embedding), embedding.space)
    except BadVector as problem:
        raise invalid(f"{where} is no vector to search by: {problem}") from problem


def _unsupported(where: str, remedy: str = "leave it out") -> Failure:
    return invalid(f"{where} is not supported in a rank; {remedy}")


def is_empty(message: Message) -> bool:
    """Whether nothing at all is set, not even an empty sub-message."""
    return message.ByteSize() == 0
