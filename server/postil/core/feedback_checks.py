"""What feedback must say before it is kept: its event, what it is about, and nothing that contradicts itself."""

from __future__ import annotations

from collections.abc import Iterable

from postil.core import ids, regions
from postil.core.labels import check as concepts_problem
from postil.core.labels import concepts_in
from postil.errors import Failure
from postil.v1.concept_pb2 import Concept
from postil.v1.data_pb2 import Data
from postil.v1.input_pb2 import EventType, Input
from postil.v1.status_code_pb2 import StatusCode

MAX_TEXT = 256  # characters of the ids that applications choose
MAX_REGIONS = 1000
_ID_FIELDS = ("end_user_id", "session_id", "output_id", "search_id")


def check_click(given: Input) -> None:
    """Raises Failure SEARCH_INVALID_REQUEST."""
    _check(given, EventType.search_click, "search_id", StatusCode.SEARCH_INVALID_REQUEST)
    if not given.id:
        raise Failure(StatusCode.SEARCH_INVALID_REQUEST, "input.id is missing; give the id of the hit that was chosen.")


def check_annotation(given: Input) -> None:
    """Raises Failure PREDICT_INVALID_REQUEST."""
    code = StatusCode.PREDICT_INVALID_REQUEST
    _check(given, EventType.annotation, "output_id", code)
    if not (given.id or given.data.image.url or given.data.image.base64):
        raise Failure(code, "input names nothing; give input.id, or input.data.image.url.")
    if len(given.data.regions) > MAX_REGIONS:
        raise Failure(code, f"input.data.regions has {len(given.data.regions)} items; at most {MAX_REGIONS} are taken.")
    if problem := concepts_problem(concepts_in(given.data), "input.data"):
        raise Failure(code, f"{problem}.")
    _check_contradictions(given.data.concepts, "input.data.concepts")
    for position, region in enumerate(given.data.regions):
        where = ids.at("input.data.regions", position)
        _check_contradictions(region.data.concepts, f"{where}.data.concepts")
        if region.HasField("region_info") and region.region_info.HasField("bounding_box"):
            problem = regions.shape_problem(region.region_info)
            if problem:
                raise Failure(code, f"{where}.region_info: {problem}.")


def without_media(given: Input) -> Input:
    """A copy to keep: what was said, without the bytes of pictures, sounds and videos, and without vectors."""
    kept = Input()
    kept.CopyFrom(given)
    _strip(kept.data)
    return kept


def _strip(data: Data) -> None:
    for name in ("image", "video", "audio"):
        if data.HasField(name):
            getattr(data, name).ClearField("base64")
    data.ClearField("embeddings")
    for region in data.regions:
        _strip(region.data)


def _check(given: Input, event: EventType.ValueType, subject: str, code: StatusCode.ValueType) -> None:
    info = given.feedback_info
    wanted = EventType.Name(event)
    if info.event_type == EventType.undefined:
        raise Failure(code, f"input.feedback_info.event_type is missing; give {wanted!r}.")
    if info.event_type != event:
        known = EventType.Name(info.event_type) if info.event_type in EventType.values() else info.event_type
        raise Failure(code, f"input.feedback_info.event_type is {known!r}, which does not fit here; give {wanted!r}.")
    if not getattr(info, subject):
        raise Failure(code, f"input.feedback_info.{subject} is missing; give the id of the response it is about.")
    texts = {"id": given.id, **{f"feedback_info.{name}": getattr(info, name) for name in _ID_FIELDS}}
    for name, value in texts.items():
        if len(value) > MAX_TEXT:
            raise Failure(code, f"input.{name} has {len(value)} characters; at most {MAX_TEXT} are taken.")


def _check_contradictions(concepts: Iterable[Concept], where: str) -> None:
    said: dict[str, bool] = {}
    for concept in concepts:
        name, present = concept.id or concept.name, concept.value > 0.0
        if said.setdefault(name, present) != present:
            raise Failure(
                StatusCode.PREDICT_INVALID_REQUEST,
                f"{where} says both that {ids.shown(name)} is there and that it is not; say one of them.",
            )
