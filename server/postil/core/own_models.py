"""Models of an app's own: created, changed, deleted. Their versions are in `own_versions.py`."""

from __future__ import annotations

from collections.abc import Sequence

from postil.core import ids, model_types, own_cards, patch, statuses
from postil.core.call import Call
from postil.core.public_models import PublicModels
from postil.errors import Failure, missing
from postil.store.base import Duplicate, ModelRecord, Queries, Store, Transaction
from postil.v1.common_pb2 import Visibility
from postil.v1.concept_pb2 import Concept
from postil.v1.model_pb2 import Model, ModelVersion
from postil.v1.model_service_pb2 import (
    DeleteModelRequest,
    DeleteModelsRequest,
    MultiModelResponse,
    PatchModelsRequest,
    PostModelsRequest,
    SingleModelResponse,
)
from postil.v1.status_code_pb2 import StatusCode
from postil.v1.status_pb2 import BaseResponse, Status

MAX_ITEMS = 128  # models in one call
MAX_MODELS = 1000  # in an app
MAX_CONCEPTS = 10_000  # of a model
MAX_TEXT = 10_000  # characters of a name, a description or notes

_KEPT = frozenset(
    {"id", "app_id", "user_id", "created_at", "modified_at", "model_type_id", "model_version", "version_count"}
)


class OwnModels:
    """What PostModels, PatchModels and DeleteModels mean. Thread-safe.

    Args:
        store: Where models are kept.
        public: Whose ids are taken.
        delete_all: One call may delete all models of an app.
    """

    def __init__(self, store: Store, public: PublicModels, *, delete_all: bool = False) -> None:
        self._store = store
        self._public = public
        self._may_delete_all = delete_all

    def post(self, call: Call, request: PostModelsRequest) -> SingleModelResponse:
        """Adds models, all or none; answers with the first.

        Raises:
            Failure: MODEL_INVALID_ARGUMENT for an id, a type or concepts that will not do; DATABASE_DUPLICATE_KEY for
                an id that is taken.
        """
        models = [*([request.model] if request.HasField("model") else []), *request.models]
        _check_count(len(models))
        for position, model in enumerate(models):
            self._check_new(call, model, ids.at("models", position))

        def op(tx: Transaction) -> list[Model]:
            if len(tx.models(call.app.row)) + len(models) > MAX_MODELS:
                raise _refuse(f"The app would have more than {MAX_MODELS} models; delete some first.")
            return [_add(tx, call, model) for model in models]

        try:
            return SingleModelResponse(status=_ok(), model=self._store.write(op)[0])
        except Duplicate as duplicate:
            raise _taken(str(duplicate.args[0])) from duplicate

    def patch(self, call: Call, request: PatchModelsRequest) -> MultiModelResponse:
        """Changes models, all or none. Versions stay as they are: what changes is what the next one learns.

        Raises:
            Failure: MODEL_DOES_NOT_EXIST; MODEL_INVALID_ARGUMENT as for new ones.
        """
        action = patch.chosen(request.action)
        _check_count(len(request.models))

        def op(tx: Transaction) -> list[Model]:
            return [
                _patch(tx, call, action, change, ids.at("models", position))
                for position, change in enumerate(request.models)
            ]

        return MultiModelResponse(status=_ok(), models=self._store.write(op))

    def delete(self, call: Call, request: DeleteModelRequest) -> BaseResponse:
        """Deletes a model with its versions; one in training ends. Raises Failure CONN_DOES_NOT_EXIST."""
        if not self._store.write(lambda tx: tx.delete_models(call.app.row, [request.model_id])):
            raise missing(f"Model {ids.shown(request.model_id)} does not exist in this app.")
        return BaseResponse(status=_ok())

    def delete_many(self, call: Call, request: DeleteModelsRequest) -> BaseResponse:
        """Deletes models, with `delete_all` all of the app; those that are not there are passed over.

        Raises:
            Failure: MODEL_INVALID_REQUEST for a number of ids out of range, ids beside `delete_all`, and for
                `delete_all` where the server does not obey it.
        """
        if request.delete_all and not self._may_delete_all:
            raise _refuse("delete_all is not obeyed by this server: name models in ids, or start it with --delete-all.")
        if request.delete_all and request.ids:
            raise _refuse("delete_all deletes every model of the app; leave ids out, or delete_all.")
        if not request.delete_all:
            _check_count(len(request.ids), "ids")

        def op(tx: Transaction) -> None:
            every = [record.id for record in tx.models(call.app.row)] if request.delete_all else request.ids
            tx.delete_models(call.app.row, list(every))

        self._store.write(op)
        return BaseResponse(status=_ok())

    def _check_new(self, call: Call, model: Model, where: str) -> None:
        ids.check("model", model.id, where, StatusCode.MODEL_INVALID_ARGUMENT)
        model.model_type_id = model_types.creatable(model.model_type_id, where)
        taken = self._store.read().space(call.app.row, model.id) is not None or self._public.find(model.id) is not None
        if taken:
            raise _taken(model.id)
        check(model, where)


def check(model: Model, where: str) -> None:
    """Refuses a model that is too large, or that says what cannot be.

    Raises:
        Failure: MODEL_INVALID_ARGUMENT.
    """
    for name in ("name", "description", "notes"):
        if len(getattr(model, name)) > MAX_TEXT:
            raise invalid(f"{where}.{name} has {len(getattr(model, name))} characters; use at most {MAX_TEXT}")
    check_concepts(model.output_info.data.concepts, f"{where}.output_info.data.concepts")
    if model.model_type_id in model_types.THRESHOLDERS and not model.output_info.data.concepts:
        raise invalid(f"{where}: a {model.model_type_id} needs output_info.data.concepts[] {{id, value}}")


def check_concepts(concepts: Sequence[Concept], where: str) -> None:
    """Refuses concepts without a good id, or twice. Raises Failure MODEL_INVALID_ARGUMENT."""
    if len(concepts) > MAX_CONCEPTS:
        raise invalid(f"{where} has {len(concepts)} items; use at most {MAX_CONCEPTS}")
    seen: set[str] = set()
    for position, concept in enumerate(concepts):
        ids.check("concept", concept.id, f"{where}[{position}]", StatusCode.MODEL_INVALID_ARGUMENT)
        if concept.id in seen:
            raise invalid(f"{where}[{position}]: the concept {ids.shown(concept.id)} stands twice")
        seen.add(concept.id)


def find(queries: Queries, call: Call, model_id: str) -> ModelRecord:
    """The app's model of that id. Raises Failure CONN_DOES_NOT_EXIST."""
    record = queries.model(call.app.row, model_id)
    if record is None:
        raise missing(f"Model {ids.shown(model_id)} does not exist in this app.")
    return record


def new_version(call: Call, model: Model, version: ModelVersion, now_us: int) -> ModelVersion:
    """Fills in what the server says of a version that comes into being."""
    version.id = ids.new_id()
    version.app_id, version.user_id = call.app.id, call.app.user_id
    version.visibility.CopyFrom(model.visibility)
    version.created_at.FromMicroseconds(now_us)
    version.modified_at.FromMicroseconds(now_us)
    if version.status.code == StatusCode.MODEL_TRAINED:
        version.completed_at.FromMicroseconds(now_us)
    return version


def _add(tx: Transaction, call: Call, model: Model) -> Model:
    model.name = model.name or model.id
    model.app_id, model.user_id = call.app.id, call.app.user_id
    model.created_at.FromMicroseconds(tx.now_us)
    model.modified_at.FromMicroseconds(tx.now_us)
    model.ClearField("model_version")
    if model.visibility.gettable == Visibility.UNKNOWN_VISIBILITY:
        model.visibility.gettable = Visibility.PRIVATE
    record = tx.add_model(call.app.row, model.id, model.SerializeToString())
    version = own_cards.state(own_cards.first_state(model.model_type_id))
    version.output_info.CopyFrom(model.output_info)
    version = new_version(call, model, version, tx.now_us)
    version.active_concept_count = len(model.output_info.data.concepts)
    tx.add_version(record.row, version.id, version.status.code, version.SerializeToString())
    return own_cards.newest(tx, record)


def _patch(tx: Transaction, call: Call, action: str, change: Model, where: str) -> Model:
    record = tx.model(call.app.row, change.id)
    if record is None:
        raise Failure(
            StatusCode.MODEL_DOES_NOT_EXIST, f"{where}: model {ids.shown(change.id)} does not exist in this app."
        )
    stored = Model.FromString(record.message)
    if change.model_type_id not in {"", stored.model_type_id}:
        raise invalid(f"{where}: the type of a model is for good; it is {stored.model_type_id!r}")
    after = patch.apply(action, stored, change, keep=_KEPT)
    after.name = after.name or after.id
    check(after, where)
    after.modified_at.FromMicroseconds(tx.now_us)
    tx.update_model(record.row, after.SerializeToString())
    if after.model_type_id not in model_types.TRAINED:
        _renew(tx, call, record, after)
    return own_cards.newest(tx, record._replace(message=after.SerializeToString()))


def _renew(tx: Transaction, call: Call, record: ModelRecord, model: Model) -> None:
    """A model that needs no training is what it says: another output_info is another version."""
    newest = tx.versions(record.row)[:1]
    if newest and ModelVersion.FromString(newest[0].message).output_info == model.output_info:
        return
    version = own_cards.state(StatusCode.MODEL_TRAINED)
    version.output_info.CopyFrom(model.output_info)
    version.active_concept_count = len(model.output_info.data.concepts)
    made = new_version(call, model, version, tx.now_us)
    tx.add_version(record.row, made.id, made.status.code, made.SerializeToString())


def _check_count(count: int, field: str = "models") -> None:
    if not 1 <= count <= MAX_ITEMS:
        raise _refuse(f"{field} holds {count} items; send 1 to {MAX_ITEMS} of them in one call.")


def _taken(model_id: str) -> Failure:
    return Failure(
        StatusCode.DATABASE_DUPLICATE_KEY,
        f"There is a model {ids.shown(model_id)} already; choose another id. Nothing was changed.",
    )


def _refuse(details: str) -> Failure:
    return Failure(StatusCode.MODEL_INVALID_REQUEST, details)


def invalid(details: str) -> Failure:
    """MODEL_INVALID_ARGUMENT."""
    return Failure(StatusCode.MODEL_INVALID_ARGUMENT, f"{details}.")


def _ok() -> Status:
    return statuses.status(StatusCode.SUCCESS)
