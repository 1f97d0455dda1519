"""Reads the `geo` of a filter: a point with a limit, or a box, on the globe or refused."""

from __future__ import annotations

import math
from collections.abc import Callable

from pyroaring import BitMap

from postil.core.refusals import invalid
from postil.index.catalog import AppCatalog, radians_of_km
from postil.v1.data_pb2 import Geo, GeoPoint

_KM_PER_MILE = 1.609344  # international mile
_RADIANS: dict[str, Callable[[float], float]] = {
    "withinMiles": lambda value: radians_of_km(value * _KM_PER_MILE),
    "withinKilometers": radians_of_km,
    "withinDegrees": math.radians,
    "withinRadians": float,
}


def read(geo: Geo, where: str) -> Callable[[object], Callable[[AppCatalog], BitMap]]:
    """A test of an annotation's place. Raises Failure 40002."""
    if geo.geo_box and (geo.HasField("geo_point") or geo.HasField("geo_limit")):
        raise invalid(f"{where} has a box and a point; send one of them")
    if geo.geo_box:
        return _box(geo, f"{where}.geo_box")
    if not geo.HasField("geo_point"):
        raise invalid(f"{where} says no place; give geo_point with geo_limit, or geo_box")
    if not geo.HasField("geo_limit"):
        raise invalid(f"{where}.geo_limit is missing; say how far, as in type withinKilometers, value 10")
    latitude, longitude = _on_globe(geo.geo_point, f"{where}.geo_point")
    limit = geo.geo_limit
    if limit.type not in _RADIANS:
        raise invalid(f"{where}.geo_limit.type {limit.type[:80]!r} is unknown; use one of {', '.join(_RADIANS)}")
    if not (math.isfinite(limit.value) and limit.value >= 0.0):
        raise invalid(f"{where}.geo_limit.value is {limit.value:g}; use a distance of 0 or more")
    radians = _RADIANS[limit.type](limit.value)
    return lambda _: lambda catalog: catalog.within(latitude, longitude, radians)


def _box(geo: Geo, where: str) -> Callable[[object], Callable[[AppCatalog], BitMap]]:
    if len(geo.geo_box) != 2:
        raise invalid(f"{where} has {len(geo.geo_box)} corners; send two that lie opposite")
    corners = [_on_globe(one.geo_point, f"{where}[{i}].geo_point") for i, one in enumerate(geo.geo_box)]
    south, north = sorted(corner[0] for corner in corners)
    west, east = sorted(corner[1] for corner in corners)
    return lambda _: lambda catalog: catalog.in_box(south, north, west, east)


def _on_globe(point: GeoPoint, where: str) -> tuple[float, float]:
    """(latitude, longitude)"""
    for name, value, limit in (("latitude", point.latitude, 90), ("longitude", point.longitude, 180)):
        if not (math.isfinite(value) and -limit <= value <= limit):
            raise invalid(f"{where}.{name} is {value:g}; it runs from -{limit} to {limit}")
    return point.latitude, point.longitude
