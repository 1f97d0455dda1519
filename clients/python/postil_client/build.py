"""Makes the messages that people send most. Pure functions; anything else is built from `postil.v1` directly.

Places are fractions of the picture's height and width, from the top left corner: 0 to 1.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from postil.v1 import annotation_pb2, concept_pb2, data_pb2, image_pb2, input_pb2, search_pb2

Picture: TypeAlias = str | bytes | Path  # a URL that the server fetches, the bytes of a file, or a file's path


def new_id() -> str:
    """32 hex digits. Ids given by the client make a retried call harmless: the server keeps an id once."""
    return uuid.uuid4().hex


def image(picture: Picture) -> image_pb2.Image:
    """A picture as the server takes it: by URL, or with its bytes."""
    if isinstance(picture, Path):
        return image_pb2.Image(base64=picture.read_bytes())
    if isinstance(picture, bytes):
        return image_pb2.Image(base64=picture)
    return image_pb2.Image(url=picture)


def concepts(present: Iterable[str] = (), absent: Iterable[str] = ()) -> list[concept_pb2.Concept]:
    """Labels by concept id: what is there (value 1) and what certainly is not (value 0)."""
    return [concept_pb2.Concept(id=name, value=1.0) for name in present] + [
        concept_pb2.Concept(id=name, value=0.0) for name in absent
    ]


def embedding(vector: Sequence[float], space: str = "") -> data_pb2.Embedding:
    """A vector of the client's own; `space` keeps vectors of different models apart (empty: the server's default)."""
    return data_pb2.Embedding(vector=vector, num_dimensions=len(vector), space=space)


def make_input(  # noqa: PLR0913 - one keyword for each thing that an input may carry
    input_id: str = "",
    *,
    picture: Picture | None = None,
    text: str | None = None,
    vector: Sequence[float] | None = None,
    space: str = "",
    labels: Iterable[str] = (),
    not_labels: Iterable[str] = (),
    metadata: Mapping[str, Any] | None = None,
    geo: tuple[float, float] | None = None,
) -> input_pb2.Input:
    """An input: a picture, a text, a vector, or a vector with either; with what is known about it.

    Args:
        input_id: 1 to 48 characters without a slash; a new id when empty.
        picture: See `Picture`.
        text: The text itself.
        vector: Finite numbers; the first vector of a space fixes its dimension.
        space: The space of `vector`.
        labels: Ids of concepts that are present.
        not_labels: Ids of concepts that are absent.
        metadata: JSON values by name, to filter by.
        geo: Longitude and latitude in degrees (WGS 84).
    """
    data = data_pb2.Data(concepts=concepts(labels, not_labels))
    if picture is not None:
        data.image.CopyFrom(image(picture))
    if text is not None:
        data.text.raw = text
    if vector is not None:
        data.embeddings.append(embedding(vector, space))
    if metadata:
        data.metadata.update(dict(metadata))
    if geo is not None:
        data.geo.geo_point.longitude, data.geo.geo_point.latitude = geo
    return input_pb2.Input(id=input_id or new_id(), data=data)


def box(top: float, left: float, bottom: float, right: float) -> data_pb2.Region:
    """A rectangle; top < bottom and left < right."""
    bounds = data_pb2.BoundingBox(top_row=top, left_col=left, bottom_row=bottom, right_col=right)
    return data_pb2.Region(region_info=data_pb2.RegionInfo(bounding_box=bounds))


def polygon(points: Iterable[tuple[float, float]]) -> data_pb2.Region:
    """A closed outline of three or more (row, column) points; the last joins the first."""
    outline = data_pb2.Polygon(points=[data_pb2.Point(row=row, col=col) for row, col in points])
    return data_pb2.Region(region_info=data_pb2.RegionInfo(polygon=outline))


def point(row: float, col: float) -> data_pb2.Region:
    """One point."""
    return data_pb2.Region(region_info=data_pb2.RegionInfo(point=data_pb2.Point(row=row, col=col)))


def mask(picture: Picture) -> data_pb2.Region:
    """A mask the shape of the picture: pixels other than black belong to the region."""
    return data_pb2.Region(region_info=data_pb2.RegionInfo(mask=data_pb2.Mask(image=image(picture))))


def span(start: int, end: int) -> data_pb2.Region:
    """Characters `start` up to, not including, `end` of a text."""
    return data_pb2.Region(region_info=data_pb2.RegionInfo(span=data_pb2.Span(char_start=start, char_end=end)))


def make_annotation(
    input_id: str,
    present: Iterable[str] = (),
    absent: Iterable[str] = (),
    *,
    region: data_pb2.Region | None = None,
    frame_ms: int | None = None,
    annotation_id: str = "",
    metadata: Mapping[str, Any] | None = None,
) -> annotation_pb2.Annotation:
    """An annotation: concepts on an input, or on one region of it, or on one frame of a video.

    Args:
        input_id: The input that it is about.
        present: Ids of concepts that are there.
        absent: Ids of concepts that are not.
        region: What `box`, `polygon`, `point`, `mask` or `span` made; without one the whole input is meant.
        frame_ms: Time of the video frame in milliseconds; the region then lies in that frame.
        annotation_id: A new id when empty.
        metadata: JSON values by name.
    """
    data = data_pb2.Data()
    place = data
    if frame_ms is not None:
        place = data.frames.add(frame_info=data_pb2.FrameInfo(time=frame_ms)).data
    if region is not None:
        place.regions.append(region)
        place = place.regions[0].data
    place.concepts.extend(concepts(present, absent))
    if metadata:
        data.metadata.update(dict(metadata))
    return annotation_pb2.Annotation(id=annotation_id or new_id(), input_id=input_id, data=data)


def rank(*, negate: bool = False, input_id: str = "", data: data_pb2.Data | None = None) -> search_pb2.Rank:
    """Orders hits by likeness to `data` (one of its parts) or to a stored input; `negate` turns the order round."""
    return search_pb2.Rank(negate=negate, annotation=annotation_pb2.Annotation(input_id=input_id, data=data))


def labelled(*names: str, negate: bool = False) -> search_pb2.Filter:
    """Keeps what is labelled with any of the concepts; with `negate` what is labelled with none of them."""
    data = data_pb2.Data(concepts=concepts(names))
    return search_pb2.Filter(negate=negate, annotation=annotation_pb2.Annotation(data=data))


def with_metadata(values: Mapping[str, Any]) -> search_pb2.Filter:
    """Keeps what carries any of these top-level metadata values; nested values must all be there."""
    data = data_pb2.Data()
    data.metadata.update(dict(values))
    return search_pb2.Filter(annotation=annotation_pb2.Annotation(data=data))
