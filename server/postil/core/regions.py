"""Regions: where on an input an annotation points, checked, and the box whose pixels stand for it.

Coordinates are fractions of the picture, 0 at the top and left, 1 at the bottom and right. Characters of a text are
counted in code points from 0, the end exclusive.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from postil.v1.data_pb2 import BoundingBox, Data, Point, Region, RegionInfo

MIN_POLYGON_POINTS = 3


def region_of(data: Data) -> Region | None:
    """The annotation's one region: of the data, or of its frame."""
    if data.regions:
        return data.regions[0]
    if data.frames and data.frames[0].data.regions:
        return data.frames[0].data.regions[0]
    return None


def count_problem(data: Data) -> str:
    """Why this data cannot be one annotation's, or ""."""
    if len(data.frames) > 1:
        return f"it has {len(data.frames)} frames; an annotation holds one: send one annotation per frame"
    total = len(data.regions) + sum(len(frame.data.regions) for frame in data.frames)
    if total > 1:
        return f"it has {total} regions; an annotation holds one: send one annotation per region"
    if data.frames and data.regions:
        return "its region stands beside the frame; put it into frames[0].data.regions"
    return ""


def shape_problem(info: RegionInfo) -> str:
    """Why this is no region, or ""."""
    given = [name for name in ("bounding_box", "mask", "polygon", "point", "span", "token") if info.HasField(name)]
    if info.keypoint_locations:
        given.append("keypoint_locations")
    if not given:
        return "its region_info is empty; give a bounding_box, mask, polygon, point, span, token or keypoint_locations"
    for name in given:
        problem = _CHECKS[name](info)
        if problem:
            return problem
    return ""


def _box_problem(info: RegionInfo) -> str:
    box: BoundingBox = info.bounding_box
    sides = {"top_row": box.top_row, "left_col": box.left_col, "bottom_row": box.bottom_row, "right_col": box.right_col}
    for name, value in sides.items():
        if not 0.0 <= value <= 1.0:
            return f"bounding_box.{name} is {value:g}; coordinates are fractions from 0 to 1"
    if box.top_row >= box.bottom_row:
        return f"bounding_box is inside out: top_row {box.top_row:g} must be less than bottom_row {box.bottom_row:g}"
    if box.left_col >= box.right_col:
        return f"bounding_box is inside out: left_col {box.left_col:g} must be less than right_col {box.right_col:g}"
    return ""


def _points_problem(points: Iterable[Point], name: str) -> str:
    for position, point in enumerate(points):
        if not (0.0 <= point.row <= 1.0 and 0.0 <= point.col <= 1.0 and math.isfinite(point.z)):
            return f"{name} {position} is ({point.row:g}, {point.col:g}); row and col are fractions from 0 to 1"
    return ""


def _polygon_problem(info: RegionInfo) -> str:
    count = len(info.polygon.points)
    if count < MIN_POLYGON_POINTS:
        return f"its polygon has {count} points; it needs at least {MIN_POLYGON_POINTS}"
    return _points_problem(info.polygon.points, "polygon point")


def _mask_problem(info: RegionInfo) -> str:
    image = info.mask.image
    if not (image.url or image.base64):
        return "its mask has no picture; send mask.image.base64 or mask.image.url"
    return ""


def _span_problem(info: RegionInfo) -> str:
    for name in ("span", "token"):
        if info.HasField(name):
            part = getattr(info, name)
            if part.char_start >= part.char_end:
                return f"{name} runs from {part.char_start} to {part.char_end}; the end must be after the start"
    return ""


_CHECKS: dict[str, Callable[[RegionInfo], str]] = {
    "bounding_box": _box_problem,
    "mask": _mask_problem,
    "polygon": _polygon_problem,
    "point": lambda info: _points_problem([info.point], "point"),
    "span": _span_problem,
    "token": _span_problem,
    "keypoint_locations": lambda info: _points_problem(info.keypoint_locations, "keypoint"),
}


def box_of(info: RegionInfo) -> BoundingBox | None:
    """The smallest box around the region, for its crop; None when it covers no area of a picture."""
    if info.HasField("bounding_box"):
        return info.bounding_box
    points = list(info.polygon.points) if info.HasField("polygon") else list(info.keypoint_locations)
    if len(points) < 2:
        return None
    rows, cols = [point.row for point in points], [point.col for point in points]
    box = BoundingBox(top_row=min(rows), left_col=min(cols), bottom_row=max(rows), right_col=max(cols))
    return box if box.top_row < box.bottom_row and box.left_col < box.right_col else None


def text_of(info: RegionInfo, text: str) -> str | None:
    """The characters of a text that a span or token covers; None for other regions or beyond the text's end."""
    for name in ("span", "token"):
        if info.HasField(name):
            part = getattr(info, name)
            return text[part.char_start : part.char_end] or None
    return None
