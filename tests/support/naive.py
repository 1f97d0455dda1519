"""Search as the contract states it, by looking at every annotation: what the engine is compared with.

It reads the store's rows and nothing that is derived from them, and shares no code with the engine.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from google.protobuf.json_format import MessageToDict
from numpy.typing import NDArray

from postil.store.base import Queries
from postil.v1.annotation_pb2 import Annotation
from postil.v1.data_pb2 import Geo
from postil.v1.input_pb2 import Input
from postil.v1.search_pb2 import Filter, Search

_EARTH_KM = 6371.0088
_KM = {"withinKilometers": 1.0, "withinMiles": 1.609344, "withinDegrees": math.pi / 180 * _EARTH_KM}
_KM["withinRadians"] = _EARTH_KM
_MEDIA = ("image", "video", "text", "audio")


class Known(NamedTuple):
    """One annotation with all that decides about it."""

    row: int
    input: int
    level: int
    anchor: int
    created_us: int
    modified_us: int
    message: Annotation
    of: Input
    status: int
    input_status: int
    labels: dict[str, float]
    datasets: frozenset[str]


class Spaces(NamedTuple):
    """The vectors of one space."""

    unit: bool
    vectors: dict[int, NDArray[np.float64]]


class Scored(NamedTuple):
    """A hit, with what it scores and its turn among equals."""

    score: float
    turn: int
    known: Known


class Naive:
    """Everything of one app, read once."""

    def __init__(self, queries: Queries, app: int) -> None:
        concepts = {record.row: record.id for record in queries.list_concepts(app, "", 0, 1000)}
        facts = queries.scan_facts(0, 1 << 20).get(app)
        records = [] if facts is None else facts.annotations
        inputs = {fact.row: fact for fact in (() if facts is None else facts.inputs)}
        datasets = {
            record.id: set(queries.member_rows(record.row).tolist()) for record in queries.list_datasets(app, 0, 100)
        }
        self.all = [
            Known(
                fact.record.row,
                fact.record.input,
                inputs[fact.record.input].anchor,
                fact.record.anchor,
                fact.record.created_us,
                fact.record.modified_us,
                Annotation.FromString(fact.record.message),
                Input.FromString(inputs[fact.record.input].message),
                fact.record.status,
                inputs[fact.record.input].status,
                {concepts[row]: value for row, value in fact.labels},
                frozenset(name for name, members in datasets.items() if fact.record.input in members),
            )
            for fact in records
        ]
        self.scored: dict[int, Scored] = {}  # of the last search, by row, also where an input has better ones
        self.spaces: dict[str, Spaces] = {}
        for space in queries.spaces(app):
            held = queries.scan_vectors(space.row, 0, 1 << 20)
            rows = dict(zip(held.rows.tolist(), held.matrix.astype(np.float64), strict=True))
            self.spaces[space.id] = Spaces(space.unit, rows)

    def search(self, search: Search, *, by_input: bool) -> list[Scored]:
        """Every hit, in order."""
        passed = self._by_input(search) if by_input else self._by_annotation(search)
        hits = [scored for known in passed if (scored := self._score(known, search)) is not None]
        hits = [hit for hit in hits if hit.score >= search.min_value]
        hits.sort(key=lambda hit: (-hit.score, hit.turn, hit.known.row))
        self.scored = {hit.known.row: hit for hit in hits}
        if not by_input:
            return hits
        best: dict[int, Scored] = {}
        for hit in hits:
            best.setdefault(hit.known.input, hit)
        found = list(best.values())
        if not self._criteria(search):
            found.sort(key=lambda hit: hit.known.level)
        return found

    def unlabelled(self, search: Search) -> bool:
        """Whether it ranks by a concept that nothing is labelled with: then there is nothing to rank by."""
        wanted = {c.id for rank in search.query.ranks for c in rank.annotation.data.concepts}
        return bool(wanted - {name for known in self.all for name, value in known.labels.items() if value > 0.0})

    # filters

    def _then(self, search: Search) -> list[Known]:
        if not search.HasField("as_of"):
            return self.all
        return [known for known in self.all if known.created_us <= search.as_of.ToMicroseconds()]

    def _by_annotation(self, search: Search) -> list[Known]:
        filters = search.query.filters
        return [k for k in self._then(search) if all(passes(k, one) != one.negate for one in filters)]

    def _by_input(self, search: Search) -> list[Known]:
        everything = self._then(search)
        inputs = {known.input for known in everything}
        reasons: list[set[int]] = []
        for one in search.query.filters:
            rows = {known.row for known in everything if passes(known, one)}
            holding = {known.input for known in everything if known.row in rows}
            inputs = inputs - holding if one.negate else inputs & holding
            says = one.annotation.ByteSize() or one.HasField("last_updated_time_range")
            if says and not one.negate:
                reasons.append(rows)
        shown = [known for known in everything if known.input in inputs]
        return [known for known in shown if not reasons or any(known.row in rows for rows in reasons)]

    # ranks

    @staticmethod
    def _criteria(search: Search) -> list[tuple[float, str, Any, bool]]:
        """(weight, kind, what, flip)"""
        groups = []
        for rank in search.query.ranks:
            annotation = rank.annotation
            group: list[tuple[str, Any, bool]] = []
            group += [("concept", c.id, (c.value == 0.0) != rank.negate) for c in annotation.data.concepts]
            group += [("vector", e, rank.negate) for e in annotation.data.embeddings]
            group += [("input", annotation.input_id, rank.negate)] if annotation.input_id else []
            groups += [group] if group else []
        return [(1 / len(groups) / len(g), kind, what, flip) for g in groups for kind, what, flip in g]

    def _score(self, known: Known, search: Search) -> Scored | None:
        total, decided = 1.0, True
        criteria = self._criteria(search)
        cosine = search.metric == Search.COSINE_DISTANCE
        for weight, kind, what, flip in criteria:
            label = known.labels.get(what) if kind == "concept" else None
            if label is not None:
                score = float((label > 0.0) != flip)
            else:
                decided = False
                found = self._evidence(kind, what, known, cosine=cosine)
                if found is None:
                    return None
                score = 1.0 - found if flip else found
            total *= score**weight
        turn = (0 if total else 2) if decided else 1
        return Scored(total, turn, known)

    def _evidence(self, kind: str, what: Any, known: Known, *, cosine: bool) -> float | None:
        target = self._target(kind, what)
        if target is None:
            return None
        space, point = target
        vector = self.spaces[space].vectors.get(known.anchor)
        if vector is None:
            return None
        if self.spaces[space].unit:
            return float(np.clip(1.0 - ((point / np.linalg.norm(point) - vector) ** 2).sum() / 4.0, 0.0, 1.0))
        if cosine:
            return float((1.0 + point @ vector / np.linalg.norm(point) / np.linalg.norm(vector)) / 2.0)
        return float(1.0 / (1.0 + np.sqrt(((point - vector) ** 2).sum())))

    def _target(self, kind: str, what: Any) -> tuple[str, NDArray[np.float64]] | None:
        if kind == "vector":
            return what.space, np.array(what.vector, np.float64)
        if kind == "input":
            anchors = {k.row for k in self.all if k.of.id == what}
        else:
            anchors = {k.anchor for k in self.all if k.labels.get(what, 0.0) > 0.0}
        counts = {name: [s.vectors[a] for a in anchors if a in s.vectors] for name, s in self.spaces.items()}
        if kind == "input":
            name = next(name for name, found in counts.items() if found)
        else:
            name = max(counts, key=lambda one: len(counts[one]))
        return (name, np.mean(counts[name], axis=0)) if counts[name] else None


def passes(known: Known, one: Filter) -> bool:
    """Whether an annotation passes a filter, `negate` aside."""
    tests = list(_annotation(known, one.annotation, negate=one.negate))
    if one.HasField("last_updated_time_range"):
        span = one.last_updated_time_range
        tests.append(not span.HasField("start_time") or known.modified_us >= span.start_time.ToMicroseconds())
        tests.append(not span.HasField("end_time") or known.modified_us <= span.end_time.ToMicroseconds())
    any_of = [known.of.data.HasField(name) for name in _MEDIA if one.input.data.HasField(name)]  # type: ignore[arg-type]
    if one.input.HasField("status"):
        any_of.append(known.input_status == one.input.status.code)
    if one.input.id:
        any_of.append(known.of.id == one.input.id)
    if one.input.dataset_ids:
        any_of.append(not known.datasets.isdisjoint(one.input.dataset_ids))
    return all(tests) and (not any_of or any(any_of))


def _annotation(known: Known, wanted: Annotation, *, negate: bool) -> Iterable[bool]:
    for name in ("id", "input_id", "user_id", "model_version_id", "trusted", "input_level"):
        if getattr(wanted, name):
            yield getattr(known.message, name) == getattr(wanted, name)
    if wanted.worker.user.id:
        yield known.message.user_id == wanted.worker.user.id
    if wanted.HasField("status"):
        yield known.status == wanted.status.code
    if wanted.HasField("annotation_info"):
        yield contains(MessageToDict(known.message.annotation_info), MessageToDict(wanted.annotation_info))
    if wanted.HasField("data"):
        yield from _data(known, wanted, negate=negate)


def _data(known: Known, wanted: Annotation, *, negate: bool) -> Iterable[bool]:
    data, stored = wanted.data, known.message.data
    if not data.ListFields():
        yield not (stored.regions or stored.frames or stored.time_segments)
    if data.concepts:
        found = ((known.labels.get(c.id), c.value == 1.0 or negate) for c in data.concepts)
        yield any(value is not None and (value > 0.0) == present for value, present in found)
    if data.HasField("metadata"):
        have, want = MessageToDict(stored.metadata), MessageToDict(data.metadata)
        yield not want or any(contains(have, {key: value}) for key, value in want.items())
    if data.HasField("geo"):
        yield stored.HasField("geo") and _near(stored.geo, data.geo)
    if data.regions:
        regions = [*stored.regions, *(region for frame in stored.frames for region in frame.data.regions)]
        yield any(_alike(region, one) for region in regions for one in data.regions)
    if data.frames:
        yield bool(stored.frames)
    if data.time_segments:
        yield bool(stored.time_segments)


def _alike(region: Any, wanted: Any) -> bool:
    shapes = [field.name for field, _ in wanted.region_info.ListFields()]
    return not shapes or any(region.region_info.HasField(name) for name in shapes)


def _near(have: Geo, want: Geo) -> bool:
    point = have.geo_point
    if want.geo_box:
        corners = [box.geo_point for box in want.geo_box]
        lats, lons = sorted(c.latitude for c in corners), sorted(c.longitude for c in corners)
        return lats[0] <= point.latitude <= lats[1] and lons[0] <= point.longitude <= lons[1]
    a, b = (_direction(p.latitude, p.longitude) for p in (point, want.geo_point))
    angle = math.atan2(float(np.linalg.norm(np.cross(a, b))), float(a @ b))
    return angle * _EARTH_KM <= want.geo_limit.value * _KM[want.geo_limit.type]


def _direction(latitude: float, longitude: float) -> NDArray[np.float64]:
    lat, lon = math.radians(latitude), math.radians(longitude)
    return np.array([math.cos(lat) * math.cos(lon), math.cos(lat) * math.sin(lon), math.sin(lat)])


def contains(have: Any, want: Any) -> bool:
    """jsonb's `@>`."""
    if isinstance(want, dict):
        return isinstance(have, dict) and all(key in have and contains(have[key], value) for key, value in want.items())
    if isinstance(want, list):
        return isinstance(have, list) and all(any(contains(one, value) for one in have) for value in want)
    return type(have) is type(want) and bool(have == want)


def problem(
    found: Sequence[tuple[int, float]], expected: Sequence[Scored], scored: dict[int, Scored], *, whole: bool
) -> str:
    """Why a list of (row, score) is not the beginning of what is expected, or ""; `whole`: not all of it.

    Scores closer than rounding may change places.
    """
    if len({row for row, _ in found}) < len(found):
        return "a hit is there twice"
    if len(found) > len(expected) or (whole and len(found) < len(expected)):
        return f"{len(found)} hits, expected {len(expected)}"
    for place, (row, score) in enumerate(found):
        wanted = expected[place]
        if not _alike_scores(score, wanted.score):
            return f"hit {place} scores {score}, expected {wanted.score}"
        other = scored.get(row)
        if other is None or not _alike_scores(other.score, score):
            return f"hit {place} is row {row} which is {other}, not {score}"
        if other.known.input == wanted.known.input:
            continue  # another annotation of it that scores as much, within rounding
        alone = not any(_alike_scores(hit.score, wanted.score) for hit in _around(expected, place))
        if (alone or wanted.turn != 1) and row != wanted.known.row and _settled(expected, place):
            return f"hit {place} is row {row}, expected {wanted.known.row}"
    return ""


def _around(expected: Sequence[Scored], place: int) -> list[Scored]:
    return [expected[at] for at in (place - 1, place + 1) if 0 <= at < len(expected)]


def _settled(expected: Sequence[Scored], place: int) -> bool:
    """Nothing of another turn is as good within rounding."""
    mine = expected[place]
    return all(not _alike_scores(hit.score, mine.score) or hit.turn == mine.turn for hit in expected)


def _alike_scores(one: float, other: float) -> bool:
    """Equal but for the rounding of distances to float32, which roots magnify near 0."""
    return abs(one - other) <= 2e-5 or max(one, other) < 0.1
