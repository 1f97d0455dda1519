"""PostInputs: from drafts to rows, one status per item, nothing kept of an item that fails."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from postil.core import base_workflow, creating, ids, predictions, records, statuses, wire
from postil.core.base_workflow import BaseWorkflow
from postil.core.call import Call, Gone
from postil.core.drafts import Draft, draft
from postil.core.intake import forget, settle
from postil.core.jobs import job_message
from postil.core.labels import Names, StaleError, label_values
from postil.core.spaces import Spaces
from postil.errors import Failure
from postil.store.base import NewInput, Store, Transaction
from postil.v1.input_pb2 import Input, InputIDConflictResolution
from postil.v1.input_service_pb2 import MultiInputResponse, PostInputsRequest
from postil.v1.status_code_pb2 import StatusCode
from postil.v1.status_pb2 import Status

MAX_ITEMS = 128
SYNC_SECONDS = 3.0  # what takes longer is accepted as pending and finished by a worker
ROOM_SECONDS = 2.0
_RETRIES = 5
_SUFFIXES = 9

_STATUS = wire.key(MultiInputResponse.DESCRIPTOR, "status")
_INPUTS = wire.key(MultiInputResponse.DESCRIPTOR, "inputs")
_JOB = wire.key(MultiInputResponse.DESCRIPTOR, "inputs_add_job")


class Intake(Protocol):
    """Takes the media of drafts in: see `core/intake.py`."""

    def take(self, drafts: Sequence[Draft], workflow: BaseWorkflow, check: Callable[[], None]) -> None: ...


class Adding:
    """Adds inputs.

    Args:
        store: Where to.
        intake: Turns media into blobs and vectors.
        wake: Called after a commit that left inputs pending.
        room: Waits at most so many seconds until the index can take more; a load that outruns it slows down here,
            so that searches beside it stay fast.
    """

    def __init__(self, store: Store, intake: Intake, wake: Callable[[], None], room: Callable[[float], object]) -> None:
        self._store = store
        self._intake = intake
        self._wake = wake
        self._room = room

    def post(self, call: Call, request: PostInputsRequest) -> bytes:
        """1 to 128 inputs; 30104 for another number of them, else a status per item (semantics of PostInputs)."""
        count = len(request.inputs)
        if not 1 <= count <= MAX_ITEMS:
            raise Failure(
                StatusCode.INPUT_INVALID_ARGUMENT, f"inputs holds {count} items; send 1 to {MAX_ITEMS} in one call"
            )
        if request.inputs_add_job_id:
            ids.check(
                "inputs_add_job", request.inputs_add_job_id, "inputs_add_job_id", StatusCode.INPUT_INVALID_ARGUMENT
            )
        drafts = [draft(item, position) for position, item in enumerate(request.inputs)]
        workflow = base_workflow.of_app(self._store.read(), call.app)
        try:
            self._take(call, drafts, workflow)
        except Gone:
            forget(drafts)
            raise
        answer = self._write(call, request, drafts)
        if any(made.pending and made.failure is None for made in drafts):
            self._wake()
        return answer

    def _take(self, call: Call, drafts: list[Draft], workflow: BaseWorkflow) -> None:
        """Opens and embeds. Raises Gone when the caller leaves before anything is written."""
        self._intake.take([made for made in drafts if made.failure is None], workflow, call.check)
        # Half the time that is left: what becomes pending is to be answered in time, too.
        deadline = time.monotonic() + min(SYNC_SECONDS, call.remaining() / 2)
        for made in drafts:
            settle(made, deadline)
        forget([made for made in drafts if made.pending])  # a worker begins again; twice would be half as fast
        self._room(min(ROOM_SECONDS, call.remaining() / 2))
        call.check()

    def _write(self, call: Call, request: PostInputsRequest, drafts: list[Draft]) -> bytes:
        concepts = [concept for made in drafts if made.failure is None for concept in made.level.concepts]
        for _ in range(_RETRIES):
            names = Names(self._store.read(), call.app.row, call.app.id, concepts)
            batch = _Batch(call, request, drafts, names)
            try:
                return self._store.write(batch.run)
            except StaleError:
                continue
        raise Failure(StatusCode.DATABASE_FAIL_TASK, "The concepts of this request keep being renamed; send it again.")


class _Batch:
    """One op: the request's sound drafts become rows together."""

    def __init__(self, call: Call, request: PostInputsRequest, drafts: list[Draft], names: Names) -> None:
        self._call = call
        self._app = call.app.row
        self._drafts = drafts
        self._names = names
        self._job = request.inputs_add_job_id
        self._suffix = request.input_id_conflict_resolution == InputIDConflictResolution.SUFFIX
        for made in drafts:
            if made.failure is None:
                names.fill(made.level.concepts)
                made.message.data.ClearField("concepts")  # the same ones, which may have come without an id
                made.message.data.concepts.extend(made.level.concepts)

    def run(self, tx: Transaction) -> bytes:
        """Writes and answers; runs on the writer thread."""
        self._refuse_duplicates(tx)
        datasets = self._datasets(tx)
        spaces = Spaces(tx, self._app)
        for made in self._sound():
            problem = spaces.problem(made.vectors)
            if problem:
                made.failure = Failure(StatusCode.INPUT_INVALID_ARGUMENT, f"{made.where}: {problem}")
        stored = self._insert(tx, spaces, datasets)
        job = self._count(tx)
        return self._answer(stored, job)

    def _sound(self) -> list[Draft]:
        return [made for made in self._drafts if made.failure is None]

    def _refuse_duplicates(self, tx: Transaction) -> None:
        sound = self._sound()
        taken = set(tx.inputs(self._app, [made.message.id for made in sound]))
        urls = tx.inputs_by_url(self._app, [made.url for made in sound if made.url and not made.allow_duplicate_url])
        mine: set[str] = set()
        for made in sound:
            input_id = made.message.id
            if input_id in mine:
                made.failure = Failure(
                    StatusCode.INPUT_DUPLICATE,
                    "Input has a duplicate ID.",
                    f"{made.where}: the id stands twice in this request.",
                )
            elif input_id in taken and not (self._suffix and self._rename(tx, made, mine)):
                made.failure = Failure(
                    StatusCode.INPUT_DUPLICATE,
                    "Input has a duplicate ID.",
                    f"{made.where}: choose another id, or input_id_conflict_resolution SUFFIX.",
                )
            elif made.url and not made.allow_duplicate_url and made.url in urls:
                made.failure = Failure(
                    StatusCode.INPUT_DUPLICATE,
                    f"{made.where}: the url was posted before as input {urls[made.url]!r}; "
                    "set allow_duplicate_url to post it again.",
                )
            else:
                mine.add(made.message.id)
                if made.url:
                    urls.setdefault(made.url, made.message.id)

    def _rename(self, tx: Transaction, made: Draft, mine: set[str]) -> bool:
        """Gives the draft the first free id among -1 to -9, then one with a random end."""
        stem = made.message.id[: ids.MAX_LENGTH - 9]
        candidates = [f"{stem}-{number}" for number in range(1, _SUFFIXES + 1)] + [f"{stem}-{secrets.token_hex(4)}"]
        taken = set(tx.inputs(self._app, candidates)) | mine
        free = [candidate for candidate in candidates if candidate not in taken]
        if free:
            made.message.id = free[0]
        return bool(free)

    def _datasets(self, tx: Transaction) -> dict[str, int]:
        """The rows of the datasets that sound drafts name; one that is not there fails the draft."""
        wanted = {name for made in self._sound() for name in made.message.dataset_ids}
        if not wanted:
            return {}
        there = {name: record.row for name, record in tx.datasets(self._app, sorted(wanted)).items()}
        for made in self._sound():
            absent = [ids.shown(name) for name in made.message.dataset_ids if name not in there]
            if absent:
                made.failure = Failure(
                    StatusCode.INPUT_INVALID_ARGUMENT,
                    f"{made.where}: the app has no dataset {', '.join(absent)}; make it with PostDatasets first.",
                )
        return there

    def _insert(self, tx: Transaction, spaces: Spaces, datasets: dict[str, int]) -> dict[int, bytes]:
        """Adds the sound drafts; their stored messages by draft identity."""
        sound = self._sound()
        if not sound:
            return {}
        concepts = creating.concepts(tx, self._call, self._names.wanted)
        self._names.confirm(concepts)
        rows, anchors = tx.reserve_inputs(len(sound)), tx.reserve_annotations(len(sound))
        user, now = self._call.user_id, tx.now_us
        inputs, levels, labels, stored = [], [], [], {}
        members: dict[int, list[int]] = {dataset: [] for dataset in datasets.values()}
        for made, row, anchor in zip(sound, rows, anchors, strict=True):
            for name in set(made.message.dataset_ids):
                members[datasets[name]].append(row)
            code = StatusCode.INPUT_PENDING if made.pending else StatusCode.INPUT_SUCCESS
            message = records.input_message(records.input_body(made.message), code, now, now)
            inputs.append(
                NewInput(row, made.message.id, code, anchor, message, now, made.url, self._job, tuple(made.blobs))
            )
            level_id = ids.new_id()
            body = records.level_body(made, level_id, user)
            levels.append(records.level_record(made, anchor, row, level_id, body, user, now))
            labels += [(anchor, concepts[name].row, value) for name, value in label_values(made.level.concepts).items()]
            spaces.add(anchor, made.vectors)
            stored[id(made)] = message
        tx.add_inputs(self._app, inputs)
        tx.add_annotations(self._app, levels, labels)
        for dataset, rows_in in members.items():
            tx.add_members(dataset, rows_in)
        self._predict(tx, rows, anchors)
        spaces.write()
        return stored

    def _predict(self, tx: Transaction, rows: Sequence[int], anchors: Sequence[int]) -> None:
        """Adds what the general model says of the sound drafts."""
        seen = [place for place in zip(self._sound(), rows, anchors, strict=True) if place[0].values]
        if not seen:
            return
        tx.add_predictions(
            self._app,
            [
                predictions.new_prediction(number, row, made.message.id, anchor, made.values, tx.now_us)
                for number, (made, row, anchor) in zip(tx.reserve_annotations(len(seen)), seen, strict=True)
            ],
        )

    def _count(self, tx: Transaction) -> bytes:
        if not self._job:
            return b""
        tx.put_job(self._app, self._job)
        sound = self._sound()
        pending = sum(made.pending for made in sound)
        tx.count_job(
            self._app, self._job, pending=pending, success=len(sound) - pending, failed=len(self._drafts) - len(sound)
        )
        job = tx.job(self._app, self._job)
        return job_message(job).SerializeToString() if job else b""

    def _answer(self, stored: dict[int, bytes], job: bytes) -> bytes:
        items, codes = [], []
        for made in self._drafts:
            if made.failure is None:
                items.append(stored[id(made)])
                codes.append(_ITEM_OK)
            else:
                status = statuses.of_failure(made.failure)
                items.append(Input(id=ids.echoed(made.message.id), status=status).SerializeToString())
                codes.append(status)
        summary = statuses.summary(codes)
        summary.req_id = self._call.request_id
        out = wire.framed(_STATUS, summary.SerializeToString()) + wire.repeated(_INPUTS, items)
        return out + wire.framed(_JOB, job) if job else out


_ITEM_OK: Status = statuses.status(StatusCode.INPUT_SUCCESS)
