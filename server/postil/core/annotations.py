"""Annotations: everything the Annotations service does. Adding is in `core/annotating.py`, patching beside it."""

from __future__ import annotations

from collections.abc import Iterable

from postil.core import ids, pages, wire
from postil.core.annotating import ANNOTATIONS, MAX_ITEMS, STATUS, Annotating
from postil.core.annotation_patches import AnnotationPatches
from postil.core.call import Call
from postil.core.crops import Crops
from postil.core.hosting import Hosting
from postil.core.inputs import ok_bytes
from postil.core.masks import Masks
from postil.core.opening import Opening
from postil.embed.base import Embedders
from postil.errors import Failure, missing
from postil.store.base import AnnotationListing, AnnotationRecord, Store, Transaction
from postil.v1.annotation_service_pb2 import (
    DeleteAnnotationRequest,
    DeleteAnnotationsRequest,
    GetAnnotationRequest,
    ListAnnotationsRequest,
    ListAnnotationWorkersRequest,
    MultiWorkerResponse,
    PatchAnnotationsRequest,
    PostAnnotationsRequest,
    SingleAnnotationResponse,
)
from postil.v1.status_code_pb2 import StatusCode
from postil.v1.status_pb2 import BaseResponse
from postil.v1.worker_pb2 import Worker

_ONE_STATUS = wire.key(SingleAnnotationResponse.DESCRIPTOR, "status")
_ONE = wire.key(SingleAnnotationResponse.DESCRIPTOR, "annotation")


class Annotations:
    """The verbs of annotations."""

    def __init__(self, store: Store, embedders: Embedders, hosting: Hosting, opening: Opening) -> None:
        self._store = store
        crops, masks = Crops(store.blobs, embedders, opening), Masks(store.blobs, hosting, opening)
        self._annotating = Annotating(store, embedders, crops, masks)
        self._patches = AnnotationPatches(store, self._annotating)

    def post(self, call: Call, request: PostAnnotationsRequest) -> bytes:
        """PostAnnotations."""
        return self._annotating.post(call, request)

    def patch(self, call: Call, request: PatchAnnotationsRequest) -> bytes:
        """PatchAnnotations."""
        return self._patches.patch(call, request)

    def get(self, call: Call, request: GetAnnotationRequest) -> bytes:
        """GetAnnotation; 11101 when it is not there."""
        record = self._store.read().annotation(call.app.row, request.input_id, request.annotation_id)
        if record is None:
            raise missing(
                f"Annotation {ids.shown(request.annotation_id)} of input {ids.shown(request.input_id)} does not exist "
                f"in app {call.app.id!r}."
            )
        return wire.framed(_ONE_STATUS, ok_bytes(call)) + wire.framed(_ONE, record.message)

    def list(self, call: Call, request: ListAnnotationsRequest) -> bytes:
        """ListAnnotations, oldest first, without label-less input-level ones unless they are named."""
        page = pages.of_list(request.page, request.per_page)
        records = self._store.read().list_annotations(call.app.row, _listing(request), page.offset, page.limit)
        return wire.framed(STATUS, ok_bytes(call)) + wire.repeated(ANNOTATIONS, [record.message for record in records])

    def delete_one(self, call: Call, request: DeleteAnnotationRequest) -> BaseResponse:
        """DeleteAnnotation; one that is not there is no error."""
        return self._delete(call, AnnotationListing(pairs=((request.input_id, request.annotation_id),)))

    def delete_many(self, call: Call, request: DeleteAnnotationsRequest) -> BaseResponse:
        """DeleteAnnotations: pairs of ids, or all of the given inputs' but the input-level ones."""
        count = max(len(request.ids), len(request.input_ids))
        if not request.input_ids:
            raise Failure(
                StatusCode.ANNOTATION_INVALID_ARGUMENT, "input_ids is empty; name the inputs whose annotations shall go"
            )
        if count > MAX_ITEMS:
            raise Failure(
                StatusCode.ANNOTATION_INVALID_ARGUMENT, f"{count} ids were given; send at most {MAX_ITEMS} in one call"
            )
        if request.ids:
            return self._delete(call, AnnotationListing(pairs=_pairs(request.ids, request.input_ids)))
        return self._delete(call, AnnotationListing(input_ids=tuple(request.input_ids)))

    def _delete(self, call: Call, listing: AnnotationListing) -> BaseResponse:
        app = call.app.row

        def run(tx: Transaction) -> None:
            records: Iterable[AnnotationRecord]
            if listing.pairs:
                records = tx.annotations(app, listing.pairs).values()
                for record in records:
                    if record.input_level:
                        raise Failure(
                            StatusCode.ANNOTATION_INVALID_ARGUMENT,
                            f"annotation {record.id!r} is input-level; it goes when its input is deleted",
                        )
            else:
                inputs = [record.row for record in tx.inputs(app, listing.input_ids).values()]
                records = [record for record in tx.annotations_of_inputs(inputs) if not record.input_level]
            rows = [record.row for record in records]
            if rows:
                tx.delete_annotations(app, rows)

        self._store.write(run)
        return BaseResponse()

    def workers(self, call: Call, request: ListAnnotationWorkersRequest) -> MultiWorkerResponse:
        """ListAnnotationWorkers: who has annotated in the app."""
        page = pages.of_list(request.page, request.per_page)
        found = self._store.read().annotation_workers(call.app.row, request.trusted_only)
        response = MultiWorkerResponse()
        for user, model_version, workflow_version in found[page.offset : page.offset + page.limit]:
            worker = Worker()
            if user:
                worker.user.id = user
            elif model_version:
                worker.model.model_version.id = model_version
            else:
                worker.workflow.version.id = workflow_version
            response.workers.append(worker)
        return response


def _pairs(annotation_ids: Iterable[str], input_ids: Iterable[str]) -> tuple[tuple[str, str], ...]:
    mine, theirs = list(annotation_ids), list(input_ids)
    if len(mine) != len(theirs):
        raise Failure(
            StatusCode.ANNOTATION_INVALID_ARGUMENT,
            f"{len(mine)} ids and {len(theirs)} input_ids were given; give each annotation id its input's id",
        )
    return tuple(zip(theirs, mine, strict=True))


def _listing(request: ListAnnotationsRequest) -> AnnotationListing:
    if request.ids:
        return AnnotationListing(pairs=_pairs(request.ids, request.input_ids), trusted_only=False, blanks=True)
    by_author = bool(request.user_ids or request.model_version_ids or request.workflow_version_ids)
    return AnnotationListing(
        input_ids=tuple(request.input_ids),
        user_ids=tuple(request.user_ids),
        model_version_ids=tuple(request.model_version_ids),
        workflow_version_ids=tuple(request.workflow_version_ids),
        statuses=tuple(status.code for status in request.statuses),
        task_id=request.task_id,
        trusted_only=not (request.list_all_annotations or by_author),
        predicted=True,
    )
