"""An input on its way in: checked, with its medium taken apart, not yet in the store.

The whole request is turned into drafts before anything is written, each either sound or with the Failure that its item
will report; see `core/intake.py` for pictures and `core/adding.py` for the write.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from postil.core import ids, labels
from postil.core.vectors import BadVector, SpaceVector, client_vector
from postil.errors import Failure
from postil.v1.data_pb2 import Data
from postil.v1.input_pb2 import Input
from postil.v1.status_code_pb2 import StatusCode

if TYPE_CHECKING:
    from concurrent.futures import Future

    from postil.embed.base import Outputs, Spec

MEDIA = ("image", "video", "audio", "text")
MAX_TEXT = 100_000  # characters
MAX_URL = 2_048
MAX_BYTES = 1 << 20  # of an input or an annotation as it is kept: lists of a thousand must stay readable


@dataclass(slots=True)
class Draft:
    """One input of a request.

    Args:
        where: "inputs[3]" or the input's id, to begin sentences about it with.
        message: What will be stored; without media bytes and vectors.
        level: Data of its input-level annotation.
        medium: "image", "video", "audio", "text", or "" for a bare vector.
        content: The medium's bytes, until they are in a blob.
        url: As the client gave it, trimmed; "" without one.
        vectors: Vectors to keep: the client's own, and the default embedder's once it is there.
        embedding: The default embedder's answer to come, for one content: what it is called, and its vector.
        sight: The general model's answer to come; often the same pass.
        values: What it says: (concept number, probability), likeliest first.
        blobs: Digests to keep.
        pending: Accepted, to be finished by a worker.
        failure: Why the item is refused.
    """

    where: str
    message: Input
    level: Data
    medium: str = ""
    content: bytes = b""
    url: str = ""
    allow_duplicate_url: bool = False
    vectors: list[SpaceVector] = field(default_factory=list)
    embedding: tuple[Spec, Future[Outputs]] | None = None
    sight: Future[Outputs] | None = None
    values: tuple[tuple[int, float], ...] = ()
    blobs: list[str] = field(default_factory=list)
    pending: bool = False
    failure: Failure | None = None


def draft(item: Input, position: int) -> Draft:
    """Checks one item of PostInputs and takes it apart. Never raises: a bad item carries its failure."""
    where = f"inputs[{position}]" + (f" ({ids.shown(item.id)})" if item.id else "")
    made = Draft(where, item, Data())
    try:
        if item.id:
            ids.check("input", item.id, where, StatusCode.INPUT_INVALID_ARGUMENT)
        else:
            item.id = ids.new_id()
        _take_medium(made)
        _take_vectors(made)
        _take_labels(made)
        if problem := size_problem(item.ByteSize()):
            raise _refuse(made, problem, StatusCode.INPUT_OVER_LIMIT)
    except Failure as failure:
        made.failure = failure
    return made


def _refuse(made: Draft, why: str, code: StatusCode.ValueType = StatusCode.INPUT_INVALID_ARGUMENT) -> Failure:
    return Failure(code, f"{made.where}: {why}")


def _take_medium(made: Draft) -> None:
    data = made.message.data
    given = [name for name in MEDIA if _has_content(getattr(data, name))]
    for name in MEDIA:
        if name not in given:
            data.ClearField(name)  # type: ignore[arg-type]
    if len(given) > 1:
        raise _refuse(made, f"it holds {' and '.join(given)}; an input holds one medium: post one input for each")
    if not given:
        if not data.embeddings:
            raise _refuse(made, "it is empty; give data.image, data.video, data.audio, data.text or data.embeddings")
        return
    if given[0] == "audio":
        why = "sounds are not supported by this server; post pictures, videos, texts or vectors"
        raise _refuse(made, why, StatusCode.INPUT_UNSUPPORTED_FORMAT)
    _take_content(made, given[0])


def _take_content(made: Draft, name: str) -> None:
    made.medium = name
    medium = getattr(made.message.data, name)
    made.url = medium.url.strip()
    made.allow_duplicate_url = medium.allow_duplicate_url
    content = medium.raw.encode() if made.medium == "text" else medium.base64
    if made.url and content:
        raise _refuse(made, f"its {made.medium} has both a url and content; send one of them")
    if made.url:
        _check_url(made)
        medium.url = made.url
        made.pending = True
    if made.medium == "text" and len(medium.raw) > MAX_TEXT:
        raise _refuse(
            made,
            f"its text has {len(medium.raw)} characters; at most {MAX_TEXT} are taken",
            StatusCode.INPUT_OVER_LIMIT,
        )
    made.content = content
    for owned in ("base64", "decoded_bytes", "hosted", "image_info", "video_info", "audio_info", "text_info"):
        if owned in medium.DESCRIPTOR.fields_by_name:
            medium.ClearField(owned)


def _has_content(medium: object) -> bool:
    return any(getattr(medium, name, b"") for name in ("url", "base64", "raw"))


def _check_url(made: Draft) -> None:
    if len(made.url) > MAX_URL:
        raise _refuse(
            made, f"its url has {len(made.url)} characters; at most {MAX_URL} are taken", StatusCode.INPUT_INVALID_URL
        )
    if not made.url.lower().startswith(("http://", "https://")):
        raise _refuse(made, f"its url {made.url[:80]!r} is neither http:// nor https://", StatusCode.INPUT_INVALID_URL)


def _take_vectors(made: Draft) -> None:
    data = made.message.data
    for position, embedding in enumerate(data.embeddings):
        try:
            vector = client_vector(embedding)
        except BadVector as problem:
            raise _refuse(made, f"embeddings[{position}] is no vector: {problem}") from problem
        if any(vector.space == other.space for other in made.vectors):
            raise _refuse(
                made, f"two vectors are for the space {vector.space!r}; name another in embeddings[{position}].space"
            )
        made.vectors.append(vector)
    data.ClearField("embeddings")


def _take_labels(made: Draft) -> None:
    data = made.message.data
    if data.regions or data.frames or data.time_segments or data.tracks:
        raise _refuse(
            made, "regions, frames, tracks and time segments are annotations: post the input, then PostAnnotations"
        )
    problem = labels.check(data.concepts, made.where)
    if problem:
        raise Failure(StatusCode.INPUT_INVALID_ARGUMENT, problem)
    problem = geo_problem(data)
    if problem:
        raise _refuse(made, problem)
    sync_level(data, made.level)


def size_problem(size: int) -> str:
    """Why a message of so many bytes is not kept, or ""."""
    if size <= MAX_BYTES:
        return ""
    return f"it has {size:,} bytes without media and vectors; at most {MAX_BYTES:,} are taken: shorten its metadata"


def geo_problem(data: Data) -> str:
    """Why the geo point is nowhere on the globe, or ""."""
    if not data.HasField("geo") or not data.geo.HasField("geo_point"):
        return ""
    point = data.geo.geo_point
    if not (math.isfinite(point.latitude) and -90 <= point.latitude <= 90):
        return f"geo_point.latitude is {point.latitude:g}; it runs from -90 to 90"
    if not (math.isfinite(point.longitude) and -180 <= point.longitude <= 180):
        return f"geo_point.longitude is {point.longitude:g}; it runs from -180 to 180"
    return ""


def sync_level(source: Data, target: Data) -> None:
    """Copies what an input shares with its input-level annotation: concepts, metadata, geo."""
    for name in ("concepts", "metadata", "geo"):
        target.ClearField(name)
    target.concepts.extend(source.concepts)
    if source.HasField("metadata"):
        target.metadata.CopyFrom(source.metadata)
    if source.HasField("geo"):
        target.geo.CopyFrom(source.geo)


def is_blank(level: Data) -> bool:
    """Whether an input-level annotation says nothing."""
    return not (level.concepts or level.HasField("geo") or (level.HasField("metadata") and level.metadata.fields))
