"""An input and its input-level annotation, kept saying the same: patching either is the same write."""

from __future__ import annotations

from postil.core import creating, records, statuses
from postil.core.call import Call
from postil.core.drafts import is_blank, sync_level
from postil.core.labels import Names, concepts_in, label_values
from postil.store.base import AnnotationRecord, InputRecord, Transaction
from postil.v1.annotation_pb2 import Annotation
from postil.v1.input_pb2 import Input
from postil.v1.status_code_pb2 import StatusCode


def store_level(
    tx: Transaction, call: Call, record: InputRecord, level: AnnotationRecord, annotation: Annotation
) -> tuple[bytes, bytes]:
    """Writes an input-level annotation and what its input shares with it.

    Args:
        tx: The op.
        call: Whose app it is.
        record: The input.
        level: Its input-level annotation's row, with the columns to store.
        annotation: The new message, without times.

    Returns:
        The stored input and the stored annotation.
    """
    names = Names(tx, call.app.row, call.app.id, list(concepts_in(annotation.data)))
    names.fill(concepts_in(annotation.data))
    concepts = creating.concepts(tx, call, names.wanted)
    message = Input.FromString(record.message)
    sync_level(annotation.data, message.data)
    message.modified_at.FromMicroseconds(tx.now_us)
    stored_input = message.SerializeToString()
    tx.update_input(record.row, stored_input)
    for name in ("created_at", "modified_at"):
        annotation.ClearField(name)
    stored_level = annotation.SerializeToString() + records.annotation_times(level.created_us, tx.now_us)
    tx.update_annotation(
        level._replace(message=stored_level, blank=is_blank(annotation.data), modified_us=tx.now_us),
        [(concepts[name].row, value) for name, value in label_values(annotation.data.concepts).items()],
    )
    return stored_input, stored_level


def patched_level(current: AnnotationRecord, message: Input) -> Annotation:
    """The input-level annotation that follows from a patched input."""
    annotation = Annotation.FromString(current.message)
    sync_level(message.data, annotation.data)
    if not annotation.HasField("status"):
        annotation.status.CopyFrom(statuses.status(StatusCode.ANNOTATION_SUCCESS))
    return annotation
