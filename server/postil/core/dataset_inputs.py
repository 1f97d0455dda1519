"""The inputs of a dataset: added by name or by a search, listed, taken out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from postil.core import ids, pages, statuses
from postil.core.call import Call
from postil.core.datasets import check_count, find, ok
from postil.errors import invalid_request, missing
from postil.store.base import Member, Store, Transaction
from postil.v1.dataset_pb2 import DatasetInput
from postil.v1.dataset_service_pb2 import (
    DeleteDatasetInputsRequest,
    GetDatasetInputRequest,
    ListDatasetInputsRequest,
    MultiDatasetInputResponse,
    PostDatasetInputsRequest,
    SingleDatasetInputResponse,
)
from postil.v1.search_pb2 import Search
from postil.v1.status_code_pb2 import StatusCode
from postil.v1.status_pb2 import BaseResponse, Status

MAX_INPUTS = 1000  # listed in one call
_FIELD = "dataset_inputs"


class Finds(Protocol):
    """What is needed of `core.search.Searches`."""

    def every(self, call: Call, search: Search, where: str) -> Sequence[int]:
        """An annotation (row) of each input that a search finds."""
        ...


class DatasetInputs:
    """Which inputs are in which dataset. Thread-safe.

    Args:
        store: Where that is kept.
        searches: Finds inputs to add.
    """

    def __init__(self, store: Store, searches: Finds) -> None:
        self._store = store
        self._searches = searches

    def post(self, call: Call, request: PostDatasetInputsRequest) -> MultiDatasetInputResponse:
        """Adds what is listed, a status per item, or all that a search finds.

        Raises:
            Failure: CONN_DOES_NOT_EXIST when the dataset is not there; CONN_INVALID_REQUEST for a list and a search in
                one call, or neither; SEARCH_INVALID_REQUEST for a search that cannot be run.
        """
        find(self._store.read(), call, request.dataset_id)
        if request.HasField("search"):
            if request.dataset_inputs:
                raise invalid_request(f"{_FIELD} and search are both there; send one of them.")
            return self._found(call, request)
        check_count(request.dataset_inputs, _FIELD, MAX_INPUTS)
        return self._store.write(lambda tx: _add(tx, call, request))

    def _found(self, call: Call, request: PostDatasetInputsRequest) -> MultiDatasetInputResponse:
        hits = self._searches.every(call, request.search, "search")
        rows = self._store.read().inputs_of_annotations(hits)
        dataset_id = request.dataset_id
        added = self._store.write(lambda tx: tx.add_members(find(tx, call, dataset_id).row, rows))
        return MultiDatasetInputResponse(status=ok(), added=added)

    def list(self, call: Call, request: ListDatasetInputsRequest) -> MultiDatasetInputResponse:
        """In the order in which they were posted. Raises Failure CONN_DOES_NOT_EXIST."""
        page, queries = pages.of_list(request.page, request.per_page), self._store.read()
        members = queries.members(find(queries, call, request.dataset_id).row, page.offset, page.limit)
        return MultiDatasetInputResponse(status=ok(), dataset_inputs=[_message(member) for member in members])

    def get(self, call: Call, request: GetDatasetInputRequest) -> SingleDatasetInputResponse:
        """Raises Failure CONN_DOES_NOT_EXIST."""
        queries = self._store.read()
        dataset, record = find(queries, call, request.dataset_id), queries.input(call.app.row, request.input_id)
        member = queries.members_among(dataset.row, [record.row]).get(record.row) if record else None
        if member is None:
            raise missing(f"Input {ids.shown(request.input_id)} is not in dataset {dataset.id!r}.")
        return SingleDatasetInputResponse(status=ok(), dataset_input=_message(member))

    def delete(self, call: Call, request: DeleteDatasetInputsRequest) -> BaseResponse:
        """Those that are not in it are passed over. Raises Failure CONN_DOES_NOT_EXIST when the dataset is not."""
        check_count(request.input_ids, "input_ids", MAX_INPUTS)

        def op(tx: Transaction) -> None:
            dataset = find(tx, call, request.dataset_id)
            there = tx.inputs(call.app.row, request.input_ids)
            tx.remove_members(dataset.row, [record.row for record in there.values()])

        self._store.write(op)
        return BaseResponse(status=ok())


def _add(tx: Transaction, call: Call, request: PostDatasetInputsRequest) -> MultiDatasetInputResponse:
    dataset = find(tx, call, request.dataset_id)
    wanted = [item.input.id for item in request.dataset_inputs]
    there = tx.inputs(call.app.row, wanted)
    members = tx.members_among(dataset.row, [record.row for record in there.values()])
    seen: set[str] = set()
    answer = MultiDatasetInputResponse()
    for i, input_id in enumerate(wanted):
        where = ids.at(_FIELD, i)
        if input_id not in there:
            status = _refused(StatusCode.CONN_DOES_NOT_EXIST, f"{where}: the app has no input {ids.shown(input_id)}.")
        elif input_id in seen or there[input_id].row in members:
            status = _refused(
                StatusCode.DATASET_INPUT_DUPLICATE, f"{where}: input {input_id!r} is in the dataset already."
            )
        else:
            status = statuses.status(StatusCode.DATASET_INPUT_SUCCESS)
        seen.add(input_id)
        item = answer.dataset_inputs.add()
        item.input.id = ids.echoed(input_id)
        item.input.status.CopyFrom(status)
        if status.code == StatusCode.DATASET_INPUT_SUCCESS:
            item.created_at.FromMicroseconds(tx.now_us)
    tx.add_members(dataset.row, [record.row for record in there.values()])
    answer.status.CopyFrom(statuses.summary(item.input.status for item in answer.dataset_inputs))
    return answer


def _refused(code: StatusCode.ValueType, details: str) -> Status:
    return statuses.status(code, details)


def _message(member: Member) -> DatasetInput:
    message = DatasetInput()
    message.created_at.FromMicroseconds(member.added_us)
    message.input.ParseFromString(member.message)
    return message
