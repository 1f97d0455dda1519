"""Models as clients read them: those that the app created, its vector spaces, the general model, the embedders.

The version id of an embedder is the `embed_model_version_id` that annotations and searches name.
"""

from __future__ import annotations

from collections.abc import Sequence

from postil.core import (
    ids,
    model_cards,
    model_lists,
    model_types,
    older_models,
    own_cards,
    pages,
    predictions,
    statuses,
)
from postil.core.call import Call
from postil.core.public_models import PublicModels
from postil.embed import general
from postil.errors import Failure, missing
from postil.store.base import ModelRecord, Store
from postil.v1.concept_pb2 import Concept
from postil.v1.concept_service_pb2 import ListModelConceptsRequest, MultiConceptResponse
from postil.v1.model_pb2 import Model
from postil.v1.model_service_pb2 import (
    GetModelRequest,
    GetModelTypeRequest,
    GetModelVersionRequest,
    ListModelsRequest,
    ListModelTypesRequest,
    ListModelVersionsRequest,
    MultiModelResponse,
    MultiModelTypeResponse,
    MultiModelVersionResponse,
    PostModelsSearchesRequest,
    SingleModelResponse,
    SingleModelTypeResponse,
    SingleModelVersionResponse,
)
from postil.v1.status_code_pb2 import StatusCode
from postil.v1.status_pb2 import Status


class Models:
    """An app sees its own models and the public ones; under clarifai/main there are only those. Thread-safe."""

    def __init__(self, store: Store, public: PublicModels) -> None:
        self._store = store
        self._public_models = public

    def list(self, call: Call, request: ListModelsRequest) -> MultiModelResponse:
        """The app's own models, then the public ones; see `model_lists.page` for filters and order."""
        own = self._own(call)
        public = () if request.dont_fetch_from_main and not call.public else self._public()
        return MultiModelResponse(status=_ok(), models=model_lists.page([*own, *public], call.user_id, request))

    def get(self, call: Call, request: GetModelRequest) -> SingleModelResponse:
        """A model by its id, its version id, or as old clients know it, also when it is only known by name.

        The app's own come first.

        Raises:
            Failure: CONN_DOES_NOT_EXIST when there is none, or not in the version asked for.
        """
        return SingleModelResponse(status=_ok(), model=self._in_version(call, request.model_id, request.version_id))

    def versions(self, call: Call, request: ListModelVersionsRequest) -> MultiModelVersionResponse:
        """Newest first. A model that is built in has one; other weights are another model.

        Raises:
            Failure: CONN_DOES_NOT_EXIST for a model that is not there; MODEL_INVALID_REQUEST for `concept_ids` and
                `min_replicas`.
        """
        page = pages.of_list(request.page, request.per_page)
        for name in ("concept_ids", "min_replicas"):
            if getattr(request, name):
                raise Failure(StatusCode.MODEL_INVALID_REQUEST, f"{name} is not supported; leave it out.")
        own = self._own_record(call, request.model_id)
        if own is not None:
            records = self._store.read().versions(own.row)
            wanted = [r for r in records if not request.trained_only or r.status == StatusCode.MODEL_TRAINED]
            every = [own_cards.version_message(record) for record in wanted]
        else:
            every = [self._find(call, request.model_id).model_version]
        listed = every[page.offset : page.offset + page.limit]
        return MultiModelVersionResponse(status=_ok(), model_versions=listed)

    def version(self, call: Call, request: GetModelVersionRequest) -> SingleModelVersionResponse:
        """Raises Failure CONN_DOES_NOT_EXIST for a model or a version that is not there."""
        model = self._in_version(call, request.model_id or request.version_id, request.version_id, checked=True)
        return SingleModelVersionResponse(status=_ok(), model_version=model.model_version)

    def search(self, call: Call, request: PostModelsSearchesRequest) -> MultiModelResponse:
        """Models whose name or id matches `model_query.name`: those that predict concepts first, of them the app's own.

        A name that a public model had counts, too, and finds those that are known by name only.
        """
        query = request.model_query
        wanted = ListModelsRequest(name=query.name, model_type_id=query.model_type_id)
        wanted.page, wanted.per_page = request.pagination.page, request.pagination.per_page
        models = [*self._own(call), *self._public(), *(older_models.cards() if query.name else ())]
        found = older_models.matching(models, query.name, query.type)
        return MultiModelResponse(status=_ok(), models=model_lists.page(found, call.user_id, wanted))

    def output_info(self, call: Call, request: GetModelRequest) -> SingleModelResponse:
        """As `get`, with the concepts that the model knows in `output_info.data`."""
        response = self.get(call, request)
        own = self._own_record(call, request.model_id)
        if own is not None:
            response.model.output_info.ClearField("message")
            response.model.output_info.data.concepts.extend(self._own_concepts(call, own, request.version_id))
        elif response.model.model_version.id == general.VERSION_ID:
            info = response.model.output_info
            info.ClearField("message")
            info.data.concepts.extend(_known_concepts())
        return response

    def concepts(self, call: Call, request: ListModelConceptsRequest) -> MultiConceptResponse:
        """The concepts a model knows, in order of its numbers; `search` keeps names (or ids) that begin with it.

        Raises:
            Failure: CONN_DOES_NOT_EXIST for a model that is not there; MODEL_INVALID_REQUEST for one without concepts.
        """
        page = pages.of_list(request.page, request.per_page)
        model = self._in_version(call, request.model_id, request.version_id)
        own = self._own_record(call, request.model_id)
        if own is None and model.model_version.id != general.VERSION_ID:
            raise Failure(StatusCode.MODEL_INVALID_REQUEST, f"Model {model.id!r} gives no concepts, but embeddings.")
        prefix = request.search.casefold()
        known = _known_concepts() if own is None else self._own_concepts(call, own, request.version_id)
        found = [c for c in known if c.name.casefold().startswith(prefix) or c.id.startswith(prefix)]
        return MultiConceptResponse(status=_ok(), concepts=found[page.offset : page.offset + page.limit])

    def types(self, call: Call, request: ListModelTypesRequest) -> MultiModelTypeResponse:  # noqa: ARG002 - as all verbs
        """The types of models that can be listed."""
        page = pages.of_list(request.page, request.per_page)
        listed = model_types.ALL[page.offset : page.offset + page.limit]
        return MultiModelTypeResponse(status=_ok(), model_types=listed)

    def type(self, call: Call, request: GetModelTypeRequest) -> SingleModelTypeResponse:  # noqa: ARG002 - as all verbs
        """Raises Failure CONN_DOES_NOT_EXIST."""
        for one in model_types.ALL:
            if one.id == request.model_type_id:
                return SingleModelTypeResponse(status=_ok(), model_type=one)
        known = ", ".join(one.id for one in model_types.ALL)
        raise missing(f"There is no model type {ids.shown(request.model_type_id)}; there are {known}.")

    def _own(self, call: Call) -> Sequence[Model]:
        """Models that the app created, then its client vector spaces; each in order of their creation."""
        if call.app_record is None:
            return ()
        queries = self._store.read()
        spaces = [space for space in queries.spaces(call.app.row) if space.kind == model_cards.CLIENT]
        return [*own_cards.all_of(queries, call.app), *(model_cards.client(space, call.app) for space in spaces)]

    def _own_record(self, call: Call, name: str) -> ModelRecord | None:
        """A model that the app created, by its id or the id of a version."""
        return own_cards.find(self._store.read(), call.app.row, name) if call.app_record is not None else None

    def _own_concepts(self, call: Call, record: ModelRecord, version_id: str) -> Sequence[Concept]:
        queries = self._store.read()
        versions = queries.versions(record.row)
        version = next((one for one in versions if one.id == version_id), versions[0] if versions else None)
        return own_cards.concepts(queries, call.app, record, version)

    def _in_version(self, call: Call, model_id: str, version_id: str, *, checked: bool = False) -> Model:
        """A model in the version asked for, or in its newest. Raises Failure CONN_DOES_NOT_EXIST.

        Args:
            call: Whose models come first.
            model_id: Or the id of a version.
            version_id: A version of it.
            checked: An empty version_id is none of its versions.
        """
        own = self._own_record(call, model_id)
        if own is None:
            model = self._find(call, model_id)
            if version_id or checked:
                _check_version(model, version_id)
            return model
        versions = self._store.read().versions(own.row)
        wanted = version_id or ("" if own.id == model_id else model_id)
        version = next((one for one in versions if one.id == wanted), None)
        if version is None and (wanted or checked):
            raise missing(f"Model {own.id!r} has no version {ids.shown(wanted)}; ListModelVersions tells them.")
        return own_cards.card(own, versions, version)

    def _public(self) -> Sequence[Model]:
        return self._public_models.cards()

    def _find(self, call: Call, model_id: str) -> Model:
        for model in self._own(call):
            if model_id in {model.id, model.model_version.id}:
                return model
        public = self._public_models.find(model_id)
        if public is None:
            absent = older_models.absent(model_id)
            if absent is not None:
                return older_models.card(absent)
            raise missing(
                f"Model {ids.shown(model_id)} does not exist in this app or among the public models; "
                "ListModels tells which there are."
            )
        return public.card


def _check_version(model: Model, version_id: str) -> None:
    if version_id in general.ALIASES and model.model_version.id == general.VERSION_ID:
        return
    if version_id != model.model_version.id:
        raise missing(
            f"Model {model.id!r} has no version {ids.shown(version_id)}; its version is {model.model_version.id!r}."
        )


def _known_concepts() -> Sequence[Concept]:
    return [predictions.concept(number) for number in range(len(general.VOCABULARY.concepts))]


def _ok() -> Status:
    return statuses.status(StatusCode.SUCCESS)
