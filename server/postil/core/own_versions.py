"""Versions of an app's own models: training asked for, taken back, described, deleted.

A version is a row in a state. `training.py` takes those that wait; taking the state away ends the training.
"""

from __future__ import annotations

from collections.abc import Callable

from postil.core import ids, model_types, own_cards, own_models, patch, statuses, training_data
from postil.core.call import Call
from postil.core.own_models import find, invalid
from postil.core.training_data import Task
from postil.embed.base import Embedders
from postil.errors import Failure, missing
from postil.store.base import ModelRecord, Queries, Store, Transaction, VersionRecord
from postil.v1.model_pb2 import Model, ModelVersion
from postil.v1.model_service_pb2 import (
    DeleteModelVersionRequest,
    MultiModelVersionResponse,
    PatchModelVersionsRequest,
    PostModelVersionsRequest,
    SingleModelResponse,
)
from postil.v1.status_code_pb2 import StatusCode
from postil.v1.status_pb2 import BaseResponse, Status

MAX_WAITING = 128  # trainings of an app at a time
SEED = 1  # of every training: the same labels make the same model

_WAITING = (StatusCode.MODEL_QUEUED_FOR_TRAINING, StatusCode.MODEL_TRAINING)
_PATCHED = frozenset({"description", "metadata", "license"})


class OwnVersions:
    """What PostModelVersions, PatchModelVersions and DeleteModelVersion mean. Thread-safe.

    Args:
        store: Where versions are kept.
        embedders: Which vectors a model may be trained on.
        wake: Told that a training waits.
    """

    def __init__(self, store: Store, embedders: Embedders, wake: Callable[[], None]) -> None:
        self._store = store
        self._embedders = embedders
        self._wake = wake

    def post(self, call: Call, request: PostModelVersionsRequest) -> SingleModelResponse:
        """Queues a training and answers with its version; a model that needs none gets a version that is ready.

        Raises:
            Failure: CONN_DOES_NOT_EXIST; MODEL_INVALID_ARGUMENT for a model without concepts, with unknown ones or on
                an unknown embedder; MODEL_TRAINING_NO_DATA, MODEL_TRAINING_NO_POSITIVES and
                MODEL_TRAINING_ONE_VS_N_SINGLE_CLASS when labels do not suffice; MODEL_BUSY_PLEASE_RETRY.
        """
        if len(request.model_versions) > 1:
            raise invalid(f"model_versions holds {len(request.model_versions)} items; send one at most")
        asked = request.model_versions[0] if request.model_versions else ModelVersion()
        queries = self._store.read()
        record = find(queries, call, request.model_id)
        model = Model.FromString(record.message)
        version = _described(model, asked, request)
        own_models.check_concepts(version.output_info.data.concepts, "model_versions[0].output_info.data.concepts")
        trains = model.model_type_id in model_types.TRAINED
        if trains:
            self._check_trainable(queries, call, model, version)
        code = StatusCode.MODEL_QUEUED_FOR_TRAINING if trains else StatusCode.MODEL_TRAINED
        version.status.CopyFrom(statuses.status(code))

        def op(tx: Transaction) -> Model:
            _check_room(tx, call, trains=trains)
            held = find(tx, call, request.model_id)
            made = _add(tx, call, held, version)
            return own_cards.card(held, tx.versions(held.row), made)

        answer = SingleModelResponse(status=_ok(), model=self._store.write(op))
        self._wake()
        return answer

    def patch(self, call: Call, request: PatchModelVersionsRequest) -> MultiModelVersionResponse:
        """Changes what is said of versions, all or none; the status MODEL_UNTRAINED takes a training back.

        Raises:
            Failure: CONN_DOES_NOT_EXIST; MODEL_INVALID_ARGUMENT for another status.
        """
        action = patch.chosen(request.action)
        if not 1 <= len(request.model_versions) <= own_models.MAX_ITEMS:
            raise invalid(f"model_versions holds {len(request.model_versions)} items; send 1 to {own_models.MAX_ITEMS}")

        def op(tx: Transaction) -> list[ModelVersion]:
            record = find(tx, call, request.model_id)
            return [
                _patch(tx, call, record, action, change, ids.at("model_versions", position))
                for position, change in enumerate(request.model_versions)
            ]

        return MultiModelVersionResponse(status=_ok(), model_versions=self._store.write(op))

    def delete(self, call: Call, request: DeleteModelVersionRequest) -> BaseResponse:
        """Deletes a version; one in training ends. Raises Failure CONN_DOES_NOT_EXIST."""

        def op(tx: Transaction) -> None:
            tx.delete_versions([of_model(tx, call, find(tx, call, request.model_id), request.version_id).row])

        self._store.write(op)
        return BaseResponse(status=_ok())

    def _check_trainable(self, queries: Queries, call: Call, model: Model, version: ModelVersion) -> None:
        task = task_of(model, version, self._embedders)
        known = {space.id for space in queries.spaces(call.app.row)}
        if task.space and task.space not in known and self._embedders.by_version(task.space) is None:
            raise invalid(
                f"input_info.base_embed_model {ids.shown(task.space)} is no embedder here and no space of the app; "
                "ListModels tells them, or leave it out"
            )
        labels = training_data.labels_to_train_on(queries, call.app, version.train_info.params)
        training_data.check(training_data.table(queries, call.app, task, labels), task)


def task_of(model: Model, version: ModelVersion, embedders: Embedders) -> Task:
    """What a version shall learn.

    Raises:
        Failure: MODEL_INVALID_ARGUMENT when it names no concept.
    """
    info = version.output_info
    concepts = tuple(concept.id for concept in info.data.concepts)
    if not concepts and model.model_type_id in model_types.TRAINED:
        raise invalid(
            f"Model {model.id!r} has no concepts to learn; give them in model_versions[0].output_info.data.concepts, "
            "or to the model with PatchModels"
        )
    kinds = ("text",) if model.model_type_id == model_types.TEXT_CLASSIFIER else training_data.PREFERENCE
    return Task(
        concepts,
        exclusive=info.output_config.concepts_mutually_exclusive,
        strict=info.output_config.fail_on_missing_positive_examples,
        kinds=kinds,
        space=_space(version, embedders),
        seed=SEED,
    )


def _space(version: ModelVersion, embedders: Embedders) -> str:
    """The id of the space whose vectors the version names; "" when it leaves that open."""
    base = version.input_info.base_embed_model
    named = base.model_version.id or base.id or version.output_info.output_config.embed_model_version_id
    queue = embedders.by_version(named) if named else None
    if queue is None and base.id and base.model_version.id:
        queue = embedders.by_version(base.id)
    return queue.spec.version_id if queue else named


def of_model(queries: Queries, call: Call, record: ModelRecord, version_id: str) -> VersionRecord:
    """The version of that id of the model. Raises Failure CONN_DOES_NOT_EXIST."""
    found = queries.version(call.app.row, version_id) if version_id else None
    if found is None or found.model != record.row:
        raise missing(f"Model {record.id!r} has no version {ids.shown(version_id)}; ListModelVersions tells them.")
    return found


def _described(model: Model, asked: ModelVersion, request: PostModelVersionsRequest) -> ModelVersion:
    """What the new version shall be: what the model says, and over it what the request says."""
    version = ModelVersion(description=asked.description or request.description)
    version.output_info.CopyFrom(model.output_info)
    if asked.output_info.data.concepts:
        version.output_info.data.CopyFrom(asked.output_info.data)
    version.output_info.output_config.MergeFrom(asked.output_info.output_config)
    version.output_info.params.MergeFrom(asked.output_info.params)
    version.input_info.CopyFrom(asked.input_info)
    version.train_info.CopyFrom(asked.train_info)
    if asked.HasField("metadata"):
        version.metadata.CopyFrom(asked.metadata)
    version.active_concept_count = len(version.output_info.data.concepts)
    return version


def _add(tx: Transaction, call: Call, record: ModelRecord, version: ModelVersion) -> VersionRecord:
    """The new version; the one that a model has before its first training becomes it."""
    model = Model.FromString(record.message)
    made = own_models.new_version(call, model, version, tx.now_us)
    newest = next(iter(tx.versions(record.row)), None)
    if newest is None or newest.status != StatusCode.MODEL_UNTRAINED:
        return tx.add_version(record.row, made.id, made.status.code, made.SerializeToString())
    made.id = newest.id
    tx.update_version(newest.row, made.status.code, made.SerializeToString())
    return newest._replace(status=made.status.code, message=made.SerializeToString())


def _check_room(tx: Transaction, call: Call, *, trains: bool) -> None:
    if trains and len(tx.waiting_versions(call.app.row, MAX_WAITING)) >= MAX_WAITING:
        raise Failure(
            StatusCode.MODEL_BUSY_PLEASE_RETRY,
            f"{MAX_WAITING} trainings of this app wait already; try again when one is done.",
        )


def _patch(
    tx: Transaction, call: Call, record: ModelRecord, action: str, change: ModelVersion, where: str
) -> ModelVersion:
    held = of_model(tx, call, record, change.id)
    stored = ModelVersion.FromString(held.message)
    keep = frozenset(field.name for field in stored.DESCRIPTOR.fields) - _PATCHED
    after = patch.apply(action, stored, change, keep=keep)
    code = held.status
    if change.HasField("status") and change.status.code != held.status:
        if change.status.code != StatusCode.MODEL_UNTRAINED or held.status not in _WAITING:
            raise invalid(
                f"{where}: the status of a version cannot be set, except to {int(StatusCode.MODEL_UNTRAINED)} to take "
                "back a training that is not done"
            )
        code = int(StatusCode.MODEL_UNTRAINED)
        after.status.CopyFrom(statuses.status(StatusCode.MODEL_UNTRAINED, "The training was taken back."))
    after.modified_at.FromMicroseconds(tx.now_us)
    tx.update_version(held.row, code, after.SerializeToString())
    return own_cards.version_message(held._replace(status=code, message=after.SerializeToString()))


def _ok() -> Status:
    return statuses.status(StatusCode.SUCCESS)
