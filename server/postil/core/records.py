"""Messages as they are stored: the server's own fields filled in, times appended when the op runs.

`created_at`, `modified_at` and `status` are appended as framed bytes, so that nothing is serialized twice and nothing
but cheap concatenation happens on the writer thread.
"""

from __future__ import annotations

from functools import cache

from postil.core import statuses, wire
from postil.core.drafts import Draft, is_blank
from postil.store.base import AnnotationRecord
from postil.v1.annotation_pb2 import Annotation
from postil.v1.input_pb2 import Input
from postil.v1.status_code_pb2 import StatusCode

INPUT_CREATED = wire.key(Input.DESCRIPTOR, "created_at")
INPUT_MODIFIED = wire.key(Input.DESCRIPTOR, "modified_at")
INPUT_STATUS = wire.key(Input.DESCRIPTOR, "status")
ANNOTATION_CREATED = wire.key(Annotation.DESCRIPTOR, "created_at")
ANNOTATION_MODIFIED = wire.key(Annotation.DESCRIPTOR, "modified_at")

_SERVER_FIELDS = ("created_at", "modified_at", "status", "feedback_info", "dataset_ids")


@cache
def status_bytes(code: StatusCode.ValueType) -> bytes:
    """A serialized Status without details."""
    return statuses.status(code).SerializeToString()


def input_body(message: Input) -> bytes:
    """An Input without times and status."""
    for name in _SERVER_FIELDS:
        message.ClearField(name)  # type: ignore[arg-type]
    return message.SerializeToString()


def input_message(body: bytes, code: StatusCode.ValueType, created_us: int, modified_us: int) -> bytes:
    """The Input as GetInput returns it."""
    return (
        body
        + wire.framed(INPUT_CREATED, wire.timestamp(created_us))
        + wire.framed(INPUT_MODIFIED, wire.timestamp(modified_us))
        + wire.framed(INPUT_STATUS, status_bytes(code))
    )


def annotation_times(created_us: int, modified_us: int) -> bytes:
    """The tail that completes an annotation's body."""
    return wire.framed(ANNOTATION_CREATED, wire.timestamp(created_us)) + wire.framed(
        ANNOTATION_MODIFIED, wire.timestamp(modified_us)
    )


def level_body(draft: Draft, annotation_id: str, user_id: str) -> bytes:
    """The input-level annotation of a draft, without times."""
    message = Annotation(
        id=annotation_id,
        input_id=draft.message.id,
        data=draft.level,
        user_id=user_id,
        trusted=True,
        input_level=True,
        status=statuses.status(StatusCode.ANNOTATION_SUCCESS),
    )
    message.worker.user.id = user_id
    return message.SerializeToString()


def level_record(
    draft: Draft, row: int, input_row: int, annotation_id: str, body: bytes, user: str, now_us: int
) -> AnnotationRecord:
    """The row of a draft's input-level annotation."""
    return AnnotationRecord(
        row=row,
        id=annotation_id,
        input=input_row,
        anchor=row,
        message=body + annotation_times(now_us, now_us),
        status=StatusCode.ANNOTATION_SUCCESS,
        trusted=True,
        input_level=True,
        blank=is_blank(draft.level),
        user_id=user,
        model_version_id="",
        workflow_version_id="",
        task_id="",
        created_us=now_us,
        modified_us=now_us,
    )
