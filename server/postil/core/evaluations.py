"""Evaluations of trained versions: asked for, listed, read. `evaluating.py` does the work."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, cast

from google.protobuf.message import Message

from postil.core import ids, own_cards, own_models, own_versions, pages, statuses
from postil.core.call import Call
from postil.errors import Failure, missing
from postil.store.base import Duplicate, EvaluationRecord, Queries, Store, Transaction, VersionRecord
from postil.v1.evaluation_pb2 import EvalInfo, EvalMetrics
from postil.v1.evaluation_service_pb2 import (
    FieldsValue,
    GetModelVersionEvaluationRequest,
    GetModelVersionMetricsRequest,
    ListModelVersionEvaluationsRequest,
    MultiEvalMetricsResponse,
    PostModelVersionEvaluationsRequest,
    PostModelVersionMetricsRequest,
    SingleEvalMetricsResponse,
)
from postil.v1.model_service_pb2 import SingleModelVersionResponse
from postil.v1.status_code_pb2 import StatusCode
from postil.v1.status_pb2 import Status

MAX_ITEMS = 8
MAX_WAITING = 64  # evaluations of an app at a time
FOLDS = 5
MAX_FOLDS = 10

_NEEDED = 2  # labels of each kind, so that one can be held out


class Asked(NamedTuple):
    """How to evaluate."""

    folds: int
    seed: int


class Evaluations:
    """What the calls of the Evaluations service mean. Thread-safe.

    Args:
        store: Where they are kept.
        wake: Told that one waits.
    """

    def __init__(self, store: Store, wake: Callable[[], None]) -> None:
        self._store = store
        self._wake = wake

    def post_metrics(self, call: Call, request: PostModelVersionMetricsRequest) -> SingleModelVersionResponse:
        """Queues an evaluation, and answers with the version.

        Raises:
            Failure: CONN_DOES_NOT_EXIST, MODEL_UNTRAINED, MODEL_INVALID_REQUEST, MODEL_INVALID_ARGUMENT,
                MODEL_EVALUATION_NEED_LABELS, MODEL_BUSY_PLEASE_RETRY.
        """
        if request.HasField("test_search"):
            raise Failure(
                StatusCode.MODEL_INVALID_REQUEST,
                "test_search is not supported: what a version was trained on is held out in turn; leave it out.",
            )
        version = self._version(call, request.model_id, request.version_id)
        made = self._add(call, version, EvalMetrics(eval_info=request.eval_info))
        self._wake()
        return _version(version, made)

    def get_metrics(self, call: Call, request: GetModelVersionMetricsRequest) -> SingleModelVersionResponse:
        """The version with its newest evaluation that is done, else the newest. Raises Failure CONN_DOES_NOT_EXIST."""
        queries = self._store.read()
        version = self._version(call, request.model_id, request.version_id)
        every = queries.evaluations(version.row, 0, pages.MAXIMUM)
        done = [record for record in every if record.status == StatusCode.MODEL_EVALUATED]
        newest = next(iter([*done, *every]), None)
        if newest is None:
            nothing = statuses.status(StatusCode.MODEL_NOT_EVALUATED, "PostModelVersionMetrics evaluates it.")
            return _version(version, EvalMetrics(status=nothing))
        waits = every[0].status in (StatusCode.MODEL_EVALUATING, StatusCode.MODEL_QUEUED_FOR_EVALUATION)
        shown = every[0] if waits else newest
        return _version(version, _whole(queries, shown, request.fields))

    def post(self, call: Call, request: PostModelVersionEvaluationsRequest) -> MultiEvalMetricsResponse:
        """Queues evaluations; errors by item. Raises Failure CONN_DOES_NOT_EXIST, MODEL_INVALID_ARGUMENT."""
        if len(request.eval_metrics) > MAX_ITEMS:
            raise own_models.invalid(f"eval_metrics holds {len(request.eval_metrics)} items; send {MAX_ITEMS} at most")
        version = self._version(call, request.model_id, request.model_version_id)
        made = []
        for wanted in request.eval_metrics or [EvalMetrics()]:
            try:
                made.append(self._add(call, version, wanted))
            except Failure as failure:
                made.append(EvalMetrics(id=wanted.id, status=statuses.of_failure(failure)))
        self._wake()
        return MultiEvalMetricsResponse(status=statuses.summary(one.status for one in made), eval_metrics=made)

    def list(self, call: Call, request: ListModelVersionEvaluationsRequest) -> MultiEvalMetricsResponse:
        """Evaluations in short, newest first. Raises Failure CONN_DOES_NOT_EXIST."""
        page = pages.of_list(request.page, request.per_page)
        version = self._version(call, request.model_id, request.model_version_id)
        records = self._store.read().evaluations(version.row, page.offset, page.limit)
        found = [EvalMetrics.FromString(record.message) for record in records]
        return MultiEvalMetricsResponse(status=_ok(), eval_metrics=found)

    def get(self, call: Call, request: GetModelVersionEvaluationRequest) -> SingleEvalMetricsResponse:
        """One evaluation, whole. Raises Failure CONN_DOES_NOT_EXIST."""
        version = self._version(call, request.model_id, request.model_version_id)
        queries = self._store.read()
        record = queries.evaluation(version.row, request.evaluation_id)
        if record is None:
            raise missing(
                f"Version {version.id} has no evaluation {ids.shown(request.evaluation_id)}; "
                "ListModelVersionEvaluations tells them."
            )
        return SingleEvalMetricsResponse(status=_ok(), eval_metrics=_whole(queries, record, request.fields))

    def _version(self, call: Call, model_id: str, version_id: str) -> VersionRecord:
        queries = self._store.read()
        model = own_models.find(queries, call, model_id)
        if version_id:
            return own_versions.of_model(queries, call, model, version_id)
        versions = queries.versions(model.row)
        newest = own_cards.trained(versions) or next(iter(versions), None)
        if newest is None:
            raise missing(f"Model {ids.shown(model_id)} has no version; PostModelVersions trains one.")
        return newest

    def _add(self, call: Call, version: VersionRecord, wanted: EvalMetrics) -> EvalMetrics:
        """Queues one. Raises Failure."""
        asked(wanted.eval_info)
        if wanted.id:
            ids.check("evaluation", wanted.id, code=StatusCode.MODEL_INVALID_ARGUMENT)
        self._check(version)
        made = EvalMetrics(
            id=wanted.id or ids.new_id(),
            eval_info=wanted.eval_info,
            status=statuses.status(StatusCode.MODEL_QUEUED_FOR_EVALUATION),
            user_id=call.app.user_id,
            app_id=call.app.id,
        )

        def op(tx: Transaction) -> None:
            if len(tx.waiting_evaluations(version.app, MAX_WAITING)) >= MAX_WAITING:
                raise Failure(
                    StatusCode.MODEL_BUSY_PLEASE_RETRY,
                    f"{MAX_WAITING} evaluations of this app wait already; try again when one is done.",
                )
            tx.add_evaluation(version.row, made.id, made.status.code, made.SerializeToString())

        try:
            self._store.write(op)
        except Duplicate as error:
            raise Failure(
                StatusCode.DATABASE_DUPLICATE_KEY,
                f"Version {version.id} has an evaluation {ids.shown(made.id)}; choose another id, or none.",
            ) from error
        return made

    def _check(self, version: VersionRecord) -> None:
        """Refuses what cannot be evaluated. Raises Failure."""
        if version.status != StatusCode.MODEL_TRAINED:
            raise Failure(
                StatusCode.MODEL_UNTRAINED,
                f"Version {version.id} is not trained; evaluate it when GetModelVersion says that it is.",
            )
        examples = self._store.read().examples(version.row)
        if examples is None:
            raise Failure(
                StatusCode.MODEL_INVALID_REQUEST,
                f"Version {version.id} was not trained on labels of its own, so there is nothing to hold out; evaluate "
                "an embedding-classifier or a text-classifier.",
            )
        present, absent = (examples.labels == 1.0).sum(axis=0), (examples.labels == 0.0).sum(axis=0)
        if not ((present >= _NEEDED) & (absent >= _NEEDED)).any():
            raise Failure(
                StatusCode.MODEL_EVALUATION_NEED_LABELS,
                f"No concept of version {version.id} was present on {_NEEDED} examples and absent on {_NEEDED}; label "
                "more and train it again.",
            )


def asked(info: EvalInfo) -> Asked:
    """What eval_info asks for.

    Raises:
        Failure: MODEL_INVALID_ARGUMENT for numbers out of range.
    """
    numbers = {"folds": FOLDS, "seed": 0}
    for name, low, high in (("folds", 2, MAX_FOLDS), ("seed", 0, 1 << 31)):
        if name in info.params.fields:
            value = info.params.fields[name].number_value
            if not low <= value <= high or value != int(value):
                raise own_models.invalid(f"eval_info.params.{name} is a whole number from {low} to {high}")
            numbers[name] = int(value)
    return Asked(**numbers)


def _whole(queries: Queries, record: EvaluationRecord, fields: FieldsValue) -> EvalMetrics:
    """An evaluation with those of its larger parts that are asked for: all of them when none is named."""
    found = EvalMetrics.FromString(record.message + queries.evaluation_details(record.row))
    wanted = [field.name for field, _ in fields.ListFields()]
    parts = cast("Message", found)  # its stub knows only names that are written out
    for field in FieldsValue.DESCRIPTOR.fields if wanted else ():
        if field.name not in wanted:
            parts.ClearField(field.name)
    return found


def _version(version: VersionRecord, metrics: EvalMetrics) -> SingleModelVersionResponse:
    message = own_cards.version_message(version)
    message.metrics.CopyFrom(metrics)
    return SingleModelVersionResponse(status=_ok(), model_version=message)


def _ok() -> Status:
    return statuses.status(StatusCode.SUCCESS)
