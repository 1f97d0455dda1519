"""What people say of predictions becomes annotations that wait for review (ANNOTATION_PENDING), in their name.

Like all labels they decide at once where an input stands in a rank by concept, and they can be trained on:

- a concept that is there, or is not: a label on the input
- a region that a model found (accurate), whose place is corrected (misplaced), or that it missed (not_detected): a
  region with its labels
- a region that is none (false_positive): the region, labelled as lacking its concepts

Taking the feedback back takes those annotations away again, unless somebody has reviewed them by then.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from postil.core import creating, ids, records, wire
from postil.core.call import Call
from postil.core.labels import Names, StaleError, concepts_in, label_values
from postil.store.base import AnnotationRecord, InputRecord, Queries, Store, Transaction
from postil.v1.annotation_pb2 import Annotation
from postil.v1.data_pb2 import Data, RegionInfo
from postil.v1.input_pb2 import Input
from postil.v1.status_code_pb2 import StatusCode

_FALSE_POSITIVE = 3  # RegionInfoFeedback
_STATUS = wire.key(Annotation.DESCRIPTOR, "status")


class Drafts(NamedTuple):
    """Annotations to make, and what they were made for."""

    source: InputRecord | None
    user: str
    messages: list[Annotation]
    names: Names


class Pending:
    """Makes and takes back pending annotations."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def drafts(self, call: Call, given: Input) -> Drafts:
        """What a piece of feedback says, as annotations; none when the app has no such input."""
        queries, app = self._store.read(), call.app
        source = queries.input(app.row, given.id) if given.id else None
        user = given.feedback_info.end_user_id or call.user_id
        made = _messages(given.data, given.id, user) if source is not None else []
        return Drafts(source, user, made, _named(queries, call, made))

    def write(self, tx: Transaction, call: Call, drafts: Drafts) -> tuple[int, ...]:
        """Writes them within an op; gives their rows. None when the input is gone meanwhile."""
        app, source = call.app.row, drafts.source
        if source is None or not drafts.messages or tx.inputs_by_row([source.row]).get(source.row) is None:
            return ()
        concepts = creating.concepts(tx, call, drafts.names.wanted)
        try:
            drafts.names.confirm(concepts)
        except StaleError:  # renamed a moment ago
            _named(tx, call, drafts.messages)
        rows = list(tx.reserve_annotations(len(drafts.messages)))
        made, labels = [], []
        for row, message in zip(rows, drafts.messages, strict=True):
            made.append(_record(message, row, source, drafts.user, tx.now_us))
            values = label_values(concepts_in(message.data))
            labels += [(row, concepts[concept].row, value) for concept, value in values.items()]
        tx.add_annotations(app, made, labels)
        return tuple(rows)

    def take_back(self, tx: Transaction, app: int, rows: Sequence[int]) -> None:
        """Deletes those of the annotations that still wait for review."""
        found = tx.annotations_by_row(rows)
        waiting = [row for row, one in found.items() if one.status == StatusCode.ANNOTATION_PENDING]
        if waiting:
            tx.delete_annotations(app, waiting)


def _messages(data: Data, input_id: str, user: str) -> list[Annotation]:
    """One annotation for the input as a whole, and one for each region that says something."""
    made = []
    if data.concepts:
        made.append(_annotation(input_id, user))
        made[-1].data.concepts.extend(data.concepts)
    for region in data.regions:
        if not region.data.concepts:
            continue
        one = _annotation(input_id, user)
        place = one.data
        if region.HasField("region_info") and region.region_info.HasField("bounding_box"):
            where = one.data.regions.add(id=ids.new_id())
            where.region_info.CopyFrom(RegionInfo(bounding_box=region.region_info.bounding_box))
            place = where.data
        place.concepts.extend(region.data.concepts)
        if region.region_info.feedback == _FALSE_POSITIVE:
            for concept in place.concepts:
                concept.value = 0.0
        made.append(one)
    return made


def _annotation(input_id: str, user: str) -> Annotation:
    message = Annotation(id=ids.new_id(), input_id=input_id, user_id=user, trusted=True)
    message.worker.user.id = user
    return message


def _named(queries: Queries, call: Call, messages: Sequence[Annotation]) -> Names:
    """Gives every concept the name that the app knows it by."""
    concepts = [concept for message in messages for concept in concepts_in(message.data)]
    names = Names(queries, call.app.row, call.app.id, concepts)
    names.fill(concepts)
    return names


def _record(message: Annotation, row: int, source: InputRecord, user: str, now_us: int) -> AnnotationRecord:
    status = wire.framed(_STATUS, records.status_bytes(StatusCode.ANNOTATION_PENDING))
    return AnnotationRecord(
        row=row,
        id=message.id,
        input=source.row,
        anchor=source.anchor,
        message=message.SerializeToString() + status + records.annotation_times(now_us, now_us),
        status=StatusCode.ANNOTATION_PENDING,
        trusted=True,
        input_level=False,
        blank=False,
        user_id=user,
        model_version_id="",
        workflow_version_id="",
        task_id="",
        created_us=now_us,
        modified_us=now_us,
    )
