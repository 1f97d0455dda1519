"""PatchInputs: labels, metadata, geo and client vectors of inputs that are there. The medium stays."""

from __future__ import annotations

from dataclasses import dataclass, field

from postil.core import ids, labels, patch, statuses, wire
from postil.core.call import Call
from postil.core.drafts import geo_problem, size_problem
from postil.core.levels import patched_level, store_level
from postil.core.spaces import Spaces
from postil.core.vectors import BadVector, SpaceVector, client_vector
from postil.errors import Failure
from postil.store.base import Store, Transaction
from postil.v1.input_pb2 import Input
from postil.v1.input_service_pb2 import MultiInputResponse, PatchInputsRequest
from postil.v1.status_code_pb2 import StatusCode
from postil.v1.status_pb2 import Status

MAX_ITEMS = 128
_STATUS = wire.key(MultiInputResponse.DESCRIPTOR, "status")
_INPUTS = wire.key(MultiInputResponse.DESCRIPTOR, "inputs")


@dataclass(slots=True)
class _Change:
    """One item of the request."""

    where: str
    item: Input
    vectors: list[SpaceVector] = field(default_factory=list)
    failure: Failure | None = None

    def refuse(self, why: str, code: StatusCode.ValueType = StatusCode.INPUT_INVALID_ARGUMENT) -> None:
        if self.failure is None:
            self.failure = Failure(code, f"{self.where}: {why}")


class InputPatches:
    """Patches inputs, one status per item."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def patch(self, call: Call, request: PatchInputsRequest) -> bytes:
        """1 to 128 inputs; actions merge (also when none is given), remove and overwrite."""
        count = len(request.inputs)
        if not 1 <= count <= MAX_ITEMS:
            raise Failure(
                StatusCode.INPUT_INVALID_ARGUMENT, f"inputs holds {count} items; send 1 to {MAX_ITEMS} in one call"
            )
        action = patch.chosen(request.action)
        changes = [_change(item, position) for position, item in enumerate(request.inputs)]
        items, codes = self._store.write(lambda tx: _run(tx, call, action, changes))
        summary = statuses.summary(codes)
        summary.req_id = call.request_id
        return wire.framed(_STATUS, summary.SerializeToString()) + wire.repeated(_INPUTS, items)


def _change(item: Input, position: int) -> _Change:
    change = _Change(f"{ids.at('inputs', position)} ({ids.shown(item.id)})", item)
    data = item.data
    if data.regions or data.frames or data.time_segments or data.tracks:
        change.refuse("regions, frames, tracks and time segments are annotations: patch those with PatchAnnotations")
    for number, embedding in enumerate(data.embeddings):
        try:
            change.vectors.append(client_vector(embedding))
        except BadVector as problem:
            change.refuse(f"embeddings[{number}] is no vector: {problem}")
    data.ClearField("embeddings")
    return change


def _run(tx: Transaction, call: Call, action: str, changes: list[_Change]) -> tuple[list[bytes], list[Status]]:
    items, codes = [], []
    for change in changes:
        if change.failure is None:
            stored = _one(tx, call, action, change)
        if change.failure is None:
            items.append(stored)
            codes.append(statuses.status(StatusCode.INPUT_SUCCESS))
        else:
            status = statuses.of_failure(change.failure)
            items.append(Input(id=ids.echoed(change.item.id), status=status).SerializeToString())
            codes.append(status)
    return items, codes


def _one(tx: Transaction, call: Call, action: str, change: _Change) -> bytes:
    """Patches one input. Refuses before it writes anything, so that a failed item leaves nothing behind."""
    record = tx.input(call.app.row, change.item.id)  # read here: an earlier item may have patched the same input
    if record is None:
        change.refuse("it does not exist; post it first", StatusCode.INPUT_DOES_NOT_EXIST)
        return b""
    message = Input.FromString(record.message)
    try:
        message.data.CopyFrom(patch.input_data(action, message.data, change.item.data))
    except Failure as failure:
        change.failure = Failure(failure.code, f"{change.where}: {failure.details}")
        return b""
    spaces = Spaces(tx, call.app.row)
    if problem := size_problem(message.ByteSize()):
        change.refuse(problem, StatusCode.INPUT_OVER_LIMIT)
    elif problem := labels.check(message.data.concepts, change.where):
        change.failure = Failure(StatusCode.INPUT_INVALID_ARGUMENT, problem)
    elif problem := geo_problem(message.data) or spaces.problem(change.vectors):
        change.refuse(problem)
    if change.failure is not None:
        return b""
    level = tx.annotations_by_row([record.anchor])[record.anchor]
    stored, _ = store_level(tx, call, record, level, patched_level(level, message))
    spaces.add(record.anchor, change.vectors)
    spaces.write()
    return stored
