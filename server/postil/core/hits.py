"""Frames a MultiSearchResponse from stored bytes: a hit's input and annotation never become Python objects.

Field numbers come from the descriptors; a test parses what is framed here and compares it with messages.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from itertools import islice
from typing import NamedTuple, TypeVar

from postil.core import statuses
from postil.core.wire import framed, key, varint
from postil.store.base import AppRecord, HitRecord, TooMuch
from postil.v1.search_pb2 import Hit, SearchDebug
from postil.v1.search_service_pb2 import HitCount, MultiSearchResponse
from postil.v1.status_code_pb2 import StatusCode
from postil.v1.status_pb2 import Status

T = TypeVar("T")

_HIT_BITS = 21  # of 2 MiB, the most that a hit takes
_RESPONSE = MultiSearchResponse.DESCRIPTOR
_HIT = Hit.DESCRIPTOR
_FIXED32 = 5  # wire type of a float

_STATUS_TAG = key(_RESPONSE, "status")
_ID_TAG = key(_RESPONSE, "id")
_HITS_TAG = key(_RESPONSE, "hits")
_REQ_ID_TAG = key(Status.DESCRIPTOR, "req_id")
_DETAILS_TAG = key(Status.DESCRIPTOR, "details")
_SCORE = struct.Struct("<f")
_SCORE_TAG = varint(_HIT.fields_by_name["score"].number << 3 | _FIXED32)
_INPUT_TAG = key(_HIT, "input")
_ANNOTATION_TAG = key(_HIT, "annotation")
_LEARNED_TAG = varint(_HIT.fields_by_name["learned"].number << 3 | _FIXED32)
_DEBUG_TAG = key(_RESPONSE, "debug")
_USER_TAG = key(_HIT, "user_id")
_APP_TAG = key(_HIT, "app_id")
_OK = statuses.status(StatusCode.SUCCESS).SerializeToString(deterministic=True)

_LOST = (
    "Not searched: {} damaged vectors of this app. `postil verify` names the annotations; post their inputs or vectors"
    " again."
)


def app_tail(app: AppRecord) -> bytes:
    """The end that every hit of an app shares: user_id and app_id."""
    return framed(_USER_TAG, app.user_id.encode()) + framed(_APP_TAG, app.id.encode())


class Framed(NamedTuple):
    """A hit, framed but for its score: `head`, the score's four bytes, `rest`."""

    annotation: int  # row
    input: int  # row
    head: bytes
    rest: bytes
    anchor: int = 0  # row of the annotation whose vector stands for it


def frame(record: HitRecord, tail: bytes) -> Framed:
    """Frames a hit. `tail` is `app_tail` of its app."""
    rest = b"".join(
        (
            _INPUT_TAG,
            varint(len(record.input_message)),
            record.input_message,
            _ANNOTATION_TAG,
            varint(len(record.annotation_message)),
            record.annotation_message,
            tail,
        )
    )
    return Framed(record.annotation, record.input, _head(rest), rest, record.anchor)


def noted(hit: Framed, learned: float) -> Framed:
    """The hit with what learning added to its score."""
    rest = hit.rest + _LEARNED_TAG + _SCORE.pack(learned)
    return hit._replace(head=_head(rest), rest=rest)


def _head(rest: bytes) -> bytes:
    """What precedes the score of a hit."""
    return _HITS_TAG + varint(len(_SCORE_TAG) + _SCORE.size + len(rest)) + _SCORE_TAG


def within(room: int, hits: Iterable[T], framed: Callable[[T], Framed]) -> list[T]:
    """All of them, taken a few at a time. Raises TooMuch when they hold more than `room` bytes."""
    left, most = iter(hits), max(1, room >> _HIT_BITS)
    found = list(islice(left, most))
    if len(found) < most:  # they cannot be too much
        return found
    size, piece = 0, found
    while piece:
        size += sum([len(framed(one).rest) for one in piece])
        if size > room:
            raise TooMuch(len(found), room)
        piece = list(islice(left, most))
        found += piece
    return found


def response(
    request_id: str,
    search_id: str,
    hits: Iterable[tuple[float, Framed]],
    debug: Iterable[SearchDebug] = (),
    lost: int = 0,
) -> bytes:
    """The whole MultiSearchResponse, status SUCCESS. Scores are written even when they are 0.

    `lost`: vectors that could not be searched because they are damaged; the status says so.
    """
    status = _OK + framed(_REQ_ID_TAG, request_id.encode())
    if lost:
        status += framed(_DETAILS_TAG, _LOST.format(lost).encode())
    parts = [framed(_STATUS_TAG, status), framed(_ID_TAG, search_id.encode())]
    for score, hit in hits:
        parts += (hit.head, _SCORE.pack(score), hit.rest)
    parts += (framed(_DEBUG_TAG, told.SerializeToString()) for told in debug)
    return b"".join(parts)


def counted(request_id: str, search_id: str, counts: Iterable[int], debug: Iterable[SearchDebug] = ()) -> bytes:
    """The whole MultiSearchResponse of searches that only count."""
    answer = MultiSearchResponse(id=search_id, debug=debug)
    answer.hit_counts.extend(HitCount(estimated_total=count) for count in counts)
    answer.status.CopyFrom(statuses.status(StatusCode.SUCCESS))
    answer.status.req_id = request_id
    return answer.SerializeToString()
