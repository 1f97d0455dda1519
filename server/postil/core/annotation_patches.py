"""PatchAnnotations: read, patch, check, embed, then write what has not changed meanwhile.

Everything slow happens before the op. The op compares `modified_us` with what was read and has the patch prepared again
when somebody was faster, so that no patch is lost and no crop is embedded on the writer thread.
"""

from __future__ import annotations

from dataclasses import dataclass

from postil.core import creating, ids, patch, records, statuses
from postil.core.annotating import Annotating, answer, check_count
from postil.core.annotation_drafts import AnnotationDraft, author, body, check, refuse_impostor, refused
from postil.core.call import Call
from postil.core.labels import Names, StaleError, label_values
from postil.core.levels import store_level
from postil.core.regions import region_of
from postil.core.spaces import Spaces
from postil.errors import Failure
from postil.store.base import AnnotationRecord, Store, Transaction
from postil.v1.annotation_pb2 import Annotation
from postil.v1.annotation_service_pb2 import PatchAnnotationsRequest
from postil.v1.status_code_pb2 import StatusCode

_RETRIES = 8


@dataclass(slots=True)
class _Patched:
    """One item: what was read and what it becomes."""

    draft: AnnotationDraft
    before: AnnotationRecord | None = None
    moved: bool = False  # its region lies elsewhere than before
    delete: bool = False


class AnnotationPatches:
    """Patches annotations, one status per item."""

    def __init__(self, store: Store, annotating: Annotating) -> None:
        self._store = store
        self._annotating = annotating

    def patch(self, call: Call, request: PatchAnnotationsRequest) -> bytes:
        """1 to 128 annotations; actions merge (also when none is given), remove and overwrite."""
        check_count(len(request.annotations))
        action = patch.chosen(request.action)
        for _ in range(_RETRIES):
            items = self._prepare(call, request, action)
            concepts = [concept for item in items if item.draft.failure is None for concept in item.draft.concepts]
            names = Names(self._store.read(), call.app.row, call.app.id, concepts)
            names.fill(concepts)
            batch = _Batch(call, items, names)
            try:
                return self._store.write(batch.run)
            except StaleError:
                continue
        raise Failure(
            StatusCode.DATABASE_FAIL_TASK, "These annotations keep being changed by others; send the patch again."
        )

    def _prepare(self, call: Call, request: PatchAnnotationsRequest, action: str) -> list[_Patched]:
        pairs = [(item.input_id, item.id) for item in request.annotations]
        stored = self._store.read().annotations(call.app.row, pairs)
        items, seen = [], set()
        for position, change in enumerate(request.annotations):
            item = _apply(action, change, position, stored.get(pairs[position]))
            if pairs[position] in seen:
                item.draft.refuse("it stands twice in this request; send its changes in one item")
            seen.add(pairs[position])
            if request.delete_if_empty_data and action == "remove" and item.before is not None:
                item.delete = not item.before.input_level and not item.draft.message.data.ByteSize()
            if item.before is not None and item.draft.failure is None:
                refuse_impostor(item.draft, call, item.before.user_id)
            items.append(item)
        drafts = [item.draft for item in items]
        self._annotating.find_inputs(call, drafts)
        self._annotating.check_embedders(call, drafts)
        self._annotating.embed_regions(call, [item.draft for item in items if item.moved and not item.delete])
        return items


def _apply(action: str, change: Annotation, position: int, before: AnnotationRecord | None) -> _Patched:
    where = f"{ids.at('annotations', position)} ({ids.shown(change.id)} of input {ids.shown(change.input_id)})"
    made = AnnotationDraft(where, change, explicit_id=True)
    if before is None:
        made.refuse("it does not exist; give the input_id and id of one that does", StatusCode.CONN_DOES_NOT_EXIST)
        return _Patched(made)
    if before.predicted:
        made.refuse(
            "a model of the base workflow wrote it; say otherwise in an annotation of your own with PostAnnotations, "
            "or delete it",
            StatusCode.ANNOTATION_PERMISSION_DENIED,
        )
        return _Patched(made, before)
    current = Annotation.FromString(before.message)
    try:
        made.message = patch.annotation(action, current, change)
    except Failure as failure:
        made.refuse(failure.details, failure.code)
        return _Patched(made, before)
    if change.user_id and not change.HasField("worker"):
        made.message.worker.user.id = change.user_id
    check(made)
    if before.input_level and (made.region is not None or made.message.data.frames):
        made.refuse("it is input-level and speaks of the whole input; post another annotation for a region")
    old, new = region_of(current.data), made.region
    same = old is not None and new is not None and old.region_info == new.region_info
    embedder = current.embed_model_version_id != made.message.embed_model_version_id
    return _Patched(made, before, moved=(old is not None or new is not None) and (not same or embedder))


class _Batch:
    """One op: the request's sound patches."""

    def __init__(self, call: Call, items: list[_Patched], names: Names) -> None:
        self._call = call
        self._app = call.app.row
        self._items = items
        self._names = names

    def run(self, tx: Transaction) -> bytes:
        """Writes and answers; runs on the writer thread."""
        self._compare(tx)
        concepts = creating.concepts(tx, self._call, self._names.wanted)
        self._names.confirm(concepts)
        spaces = Spaces(tx, self._app)
        out, codes = [], []
        for item in self._items:
            draft, before = item.draft, item.before
            if draft.failure is None and (problem := spaces.problem(draft.vectors)):
                draft.refuse(problem)
            if draft.failure is not None or before is None:
                status = statuses.of_failure(draft.failure or Failure(StatusCode.CONN_DOES_NOT_EXIST, draft.where))
                out.append(refused(draft.message, status).SerializeToString())
                codes.append(status)
                continue
            rows = {name: record.row for name, record in concepts.items()}
            out.append(self._one(tx, item, before, rows, spaces))
            codes.append(statuses.status(StatusCode.ANNOTATION_SUCCESS))
        spaces.write()
        return answer(self._call, codes, out)

    def _compare(self, tx: Transaction) -> None:
        """Raises StaleError when an annotation is not what was patched."""
        read = [item.before for item in self._items if item.before is not None and item.draft.failure is None]
        now = tx.annotations_by_row([record.row for record in read])
        for record in read:
            if record.row not in now or now[record.row].modified_us != record.modified_us:
                raise StaleError(record.id)

    def _one(
        self, tx: Transaction, item: _Patched, before: AnnotationRecord, concepts: dict[str, int], spaces: Spaces
    ) -> bytes:
        made = item.draft
        if item.delete:
            tx.delete_annotations(self._app, [before.row])
            return made.message.SerializeToString()
        who = author(made.message, self._call.user_id)
        after = before._replace(
            status=made.status,
            trusted=made.message.trusted or before.trusted,
            user_id=who[0],
            model_version_id=who[1],
            workflow_version_id=who[2],
            modified_us=tx.now_us,
        )
        spaces.add(before.row, made.vectors)
        if made.blobs:
            tx.add_blobs(before.input, made.blobs)
        if before.input_level:
            record = tx.inputs_by_row([before.input])[before.input]
            start = Annotation.FromString(body(made))
            start.input_level = True
            return store_level(tx, self._call, record, after, start)[1]
        anchor = self._anchor(tx, item, before)
        message = body(made) + records.annotation_times(before.created_us, tx.now_us)
        labels = [(concepts[name], value) for name, value in label_values(made.concepts).items()]
        tx.update_annotation(after._replace(message=message, anchor=anchor), labels)
        return message

    def _anchor(self, tx: Transaction, item: _Patched, before: AnnotationRecord) -> int:
        """Itself when it has vectors of its own, else the input-level annotation."""
        if item.draft.vectors:
            return before.row
        if item.moved and before.anchor == before.row:
            tx.delete_vectors(self._app, [before.row])
            return tx.inputs_by_row([before.input])[before.input].anchor
        return before.anchor
