"""Hand-framed responses are the bytes of ordinary messages."""

from __future__ import annotations

import pytest

from postil.core import hits, statuses
from postil.store.base import AppRecord, HitRecord
from postil.v1.annotation_pb2 import Annotation
from postil.v1.input_pb2 import Input
from postil.v1.search_pb2 import Hit
from postil.v1.search_service_pb2 import MultiSearchResponse
from postil.v1.status_code_pb2 import StatusCode

APP = AppRecord(1, "mé", "photos", b"")


def record(number: int, size: int = 10) -> HitRecord:
    item = Input(id=f"input-{number}")
    item.data.image.url = "x" * size
    annotation = Annotation(id=f"annotation-{number}", input_id=item.id)
    annotation.data.concepts.add(id="cat", value=1)
    return HitRecord(number, number, number, item.SerializeToString(), annotation.SerializeToString())


def expected(scored: list[tuple[float, HitRecord]]) -> MultiSearchResponse:
    status = statuses.status(StatusCode.SUCCESS)
    status.req_id = "request"
    return MultiSearchResponse(
        status=status,
        id="search",
        hits=[
            Hit(
                score=score,
                input=Input.FromString(r.input_message),
                annotation=Annotation.FromString(r.annotation_message),
                user_id=APP.user_id,
                app_id=APP.id,
            )
            for score, r in scored
        ],
    )


@pytest.mark.parametrize("size", [1, 100, 127, 128, 20_000])
def test_framed_bytes_parse_to_what_messages_say(size: int) -> None:
    scored = [(1.0, record(1, size)), (0.25, record(2, size)), (0.0, record(3, size))]
    tail = hits.app_tail(APP)
    framed = hits.response("request", "search", [(score, hits.frame(r, tail)) for score, r in scored])
    assert MultiSearchResponse.FromString(framed) == expected(scored)


def test_no_hits_is_a_whole_response() -> None:
    assert MultiSearchResponse.FromString(hits.response("request", "search", [])) == expected([])


def test_framed_bytes_are_those_of_the_serializer() -> None:
    """But for a score of 0, which a serializer leaves out and we write."""
    scored = [(0.5, record(1)), (0.125, record(2))]
    tail = hits.app_tail(APP)
    framed = hits.response("request", "search", [(score, hits.frame(r, tail)) for score, r in scored])
    reparsed = MultiSearchResponse.FromString(framed)
    assert len(reparsed.SerializeToString()) == len(framed)
    assert b"\x0d\x00\x00\x00\x00" in hits.response("request", "search", [(0.0, hits.frame(record(3), tail))])
