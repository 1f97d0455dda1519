"""Frames a MultiSearchResponse from stored bytes: a hit's input and annotation never become Python objects.

Field numbers come from the descriptors; a test parses what is framed here and compares it with messages.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from postil.core import statuses
from postil.core.wire import framed, key, varint
from postil.store.base import AppRecord, HitRecord
from postil.v1.search_pb2 import Hit
from postil.v1.search_service_pb2 import MultiSearchResponse
from postil.v1.status_code_pb2 import StatusCode
from postil.v1.status_pb2 import Status

_RESPONSE = MultiSearchResponse.DESCRIPTOR
_HIT = Hit.DESCRIPTOR
_FIXED32 = 5  # wire type of a float

_STATUS_TAG = key(_RESPONSE, "status")
_ID_TAG = key(_RESPONSE, "id")
_HITS_TAG = key(_RESPONSE, "hits")
_REQ_ID_TAG = key(Status.DESCRIPTOR, "req_id")
_SCORE = struct.Struct("<1sf")  # the tag fits one byte
_SCORE_TAG = varint(_HIT.fields_by_name["score"].number << 3 | _FIXED32)
_INPUT_TAG = key(_HIT, "input")
_ANNOTATION_TAG = key(_HIT, "annotation")
_OK = statuses.status(StatusCode.SUCCESS).SerializeToString(deterministic=True)


def app_tail(app: AppRecord) -> bytes:
    """The end that every hit of an app shares: user_id and app_id."""
    return framed(key(_HIT, "user_id"), app.user_id.encode()) + framed(key(_HIT, "app_id"), app.id.encode())


def hit(score: float, record: HitRecord, tail: bytes) -> bytes:
    """One `hits` field of the response. The score is written even when it is 0."""
    inner = b"".join(
        (
            _SCORE.pack(_SCORE_TAG, score),
            _INPUT_TAG,
            varint(len(record.input_message)),
            record.input_message,
            _ANNOTATION_TAG,
            varint(len(record.annotation_message)),
            record.annotation_message,
            tail,
        )
    )
    return _HITS_TAG + varint(len(inner)) + inner


def response(request_id: str, search_id: str, hits: Iterable[bytes]) -> bytes:
    """The whole MultiSearchResponse, status SUCCESS."""
    status = _OK + framed(_REQ_ID_TAG, request_id.encode())
    return b"".join((framed(_STATUS_TAG, status), framed(_ID_TAG, search_id.encode()), *hits))
