"""Inputs: everything the Inputs service does. Adding is in `core/adding.py`, patching in `core/input_patches.py`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from postil.core import ids, pages, statuses, wire
from postil.core.adding import Adding, Intake
from postil.core.call import Call
from postil.core.input_patches import InputPatches
from postil.core.jobs import job_message
from postil.errors import Failure, invalid_request, missing
from postil.store.base import InputRecord, Store, Transaction
from postil.v1.input_pb2 import Input, InputCount
from postil.v1.input_service_pb2 import (
    CancelInputsAddJobRequest,
    DeleteInputRequest,
    DeleteInputsRequest,
    GetInputCountRequest,
    GetInputRequest,
    GetInputsAddJobRequest,
    ListInputsAddJobsRequest,
    ListInputsRequest,
    MultiInputResponse,
    MultiInputsAddJobResponse,
    PatchInputsRequest,
    PostInputsRequest,
    SingleInputCountResponse,
    SingleInputResponse,
    SingleInputsAddJobResponse,
    StreamInputsRequest,
)
from postil.v1.status_code_pb2 import StatusCode
from postil.v1.status_pb2 import BaseResponse

MAX_IDS = 128
_STREAM_PAGE = 20
_DELETED = 500  # inputs deleted in one op when all are

_ONE_STATUS = wire.key(SingleInputResponse.DESCRIPTOR, "status")
_ONE_INPUT = wire.key(SingleInputResponse.DESCRIPTOR, "input")
_MANY_STATUS = wire.key(MultiInputResponse.DESCRIPTOR, "status")
_MANY_INPUTS = wire.key(MultiInputResponse.DESCRIPTOR, "inputs")


class Inputs:
    """The verbs of inputs.

    Args:
        store: Where they live.
        intake: Takes their media in.
        wake: Tells the workers that inputs are pending, or are so no more.
        room: Waits until the index can take more, at most so many seconds.
        delete_all: One call may delete all inputs of an app.
    """

    def __init__(
        self,
        store: Store,
        intake: Intake,
        wake: Callable[[], None],
        room: Callable[[float], object],
        *,
        delete_all: bool = False,
    ) -> None:
        self._may_delete_all = delete_all
        self._store = store
        self._wake = wake
        self._adding = Adding(store, intake, wake, room)
        self._patches = InputPatches(store)

    def post(self, call: Call, request: PostInputsRequest) -> bytes:
        """PostInputs."""
        return self._adding.post(call, request)

    def patch(self, call: Call, request: PatchInputsRequest) -> bytes:
        """PatchInputs."""
        return self._patches.patch(call, request)

    def get(self, call: Call, request: GetInputRequest) -> bytes:
        """GetInput; 11101 when it is not there."""
        record = self._store.read().input(call.app.row, request.input_id)
        if record is None:
            raise missing(f"Input {ids.shown(request.input_id)} does not exist in app {call.app.id!r}.")
        return wire.framed(_ONE_STATUS, ok_bytes(call)) + wire.framed(_ONE_INPUT, record.message)

    def list(self, call: Call, request: ListInputsRequest) -> bytes:
        """ListInputs, newest first; a page past the end is empty."""
        page = pages.of_list(request.page, request.per_page)
        wanted = [request.status.code] if request.status.code else []
        return _many(call, self._store.read().list_inputs(call.app.row, request.ids, wanted, page.offset, page.limit))

    def stream(self, call: Call, request: StreamInputsRequest) -> bytes:
        """StreamInputs: the page after last_id, oldest first unless descending."""
        page = pages.of_list(1, request.per_page, default=_STREAM_PAGE)
        reads = self._store.read()
        if request.last_id and reads.input(call.app.row, request.last_id) is None:
            raise invalid_request(f"last_id {ids.shown(request.last_id)} does not exist; start again without it.")
        records = reads.stream_inputs(
            call.app.row, request.last_id, by_id=request.order_by_id, descending=request.descending, limit=page.limit
        )
        return _many(call, records)

    def count(self, call: Call, request: GetInputCountRequest) -> SingleInputCountResponse:
        """GetInputCount: by state of processing."""
        del request
        by_status = dict(self._store.read().count_inputs(call.app.row))
        counts = InputCount(
            processed=by_status.pop(StatusCode.INPUT_SUCCESS, 0),
            to_process=by_status.pop(StatusCode.INPUT_PENDING, 0),
            processing=by_status.pop(StatusCode.INPUT_IN_PROGRESS, 0),
            errors=sum(by_status.values()),
        )
        return SingleInputCountResponse(counts=counts)

    def delete_one(self, call: Call, request: DeleteInputRequest) -> BaseResponse:
        """DeleteInput; an id that is not there is no error."""
        return self._delete(call, [request.input_id])

    def delete_many(self, call: Call, request: DeleteInputsRequest) -> BaseResponse:
        """DeleteInputs: 1 to 128 ids, those that are not there are passed over; or all, where that is allowed."""
        if request.delete_all:
            return self._delete_all(call, request)
        if not 1 <= len(request.ids) <= MAX_IDS:
            raise Failure(
                StatusCode.INPUT_INVALID_ARGUMENT, f"ids holds {len(request.ids)} ids; send 1 to {MAX_IDS} in one call"
            )
        return self._delete(call, request.ids)

    def _delete_all(self, call: Call, request: DeleteInputsRequest) -> BaseResponse:
        if not self._may_delete_all:
            raise Failure(
                StatusCode.INPUT_INVALID_ARGUMENT,
                "delete_all is not obeyed by this server: name inputs in ids, or start it with --delete-all.",
            )
        if request.ids:
            raise Failure(StatusCode.INPUT_INVALID_ARGUMENT, "Give either ids or delete_all.")

        def run(tx: Transaction) -> bool:
            found = tx.stream_inputs(call.app.row, "", by_id=False, descending=False, limit=_DELETED)
            tx.delete_inputs(call.app.row, [record.row for record in found])
            return len(found) == _DELETED

        while self._store.write(run):  # other writes pass in between
            pass
        self._wake()
        return BaseResponse()

    def _delete(self, call: Call, input_ids: Sequence[str]) -> BaseResponse:
        def run(tx: Transaction) -> None:
            rows = [record.row for record in tx.inputs(call.app.row, input_ids).values()]
            if rows:
                tx.delete_inputs(call.app.row, rows)

        self._store.write(run)
        self._wake()
        return BaseResponse()

    def list_jobs(self, call: Call, request: ListInputsAddJobsRequest) -> MultiInputsAddJobResponse:
        """ListInputsAddJobs, newest first."""
        page = pages.of_list(request.page, request.per_page)
        jobs = self._store.read().jobs(call.app.row, page.offset, page.limit)
        return MultiInputsAddJobResponse(inputs_add_jobs=[job_message(job) for job in jobs])

    def get_job(self, call: Call, request: GetInputsAddJobRequest) -> SingleInputsAddJobResponse:
        """GetInputsAddJob; 11101 when no input was posted under it."""
        job = self._store.read().job(call.app.row, request.id)
        if job is None:
            raise missing(f"Inputs add job {ids.shown(request.id)} does not exist in app {call.app.id!r}.")
        return SingleInputsAddJobResponse(inputs_add_job=job_message(job))

    def cancel_job(self, call: Call, request: CancelInputsAddJobRequest) -> SingleInputsAddJobResponse:
        """CancelInputsAddJob: what is still pending under it fails; what is done stays."""

        def run(tx: Transaction) -> None:
            if tx.job(call.app.row, request.id) is None:
                raise missing(f"Inputs add job {ids.shown(request.id)} does not exist in app {call.app.id!r}.")
            for record in tx.pending_of_job(call.app.row, request.id):
                _cancel(tx, record, request.id)
            tx.cancel_job(call.app.row, request.id)

        self._store.write(run)
        self._wake()
        return self.get_job(call, GetInputsAddJobRequest(id=request.id))


def _cancel(tx: Transaction, record: InputRecord, job_id: str) -> None:
    message = Input.FromString(record.message)
    message.status.CopyFrom(statuses.status(StatusCode.INPUT_FAILED, f"The add job {job_id!r} was cancelled."))
    message.modified_at.FromMicroseconds(tx.now_us)
    tx.update_input(record.row, message.SerializeToString(), status=StatusCode.INPUT_FAILED)


def ok_bytes(call: Call) -> bytes:
    """SUCCESS with the call's request id, serialized."""
    status = statuses.status(StatusCode.SUCCESS)
    status.req_id = call.request_id
    return status.SerializeToString()


def _many(call: Call, records: Sequence[InputRecord]) -> bytes:
    return wire.framed(_MANY_STATUS, ok_bytes(call)) + wire.repeated(
        _MANY_INPUTS, [record.message for record in records]
    )
