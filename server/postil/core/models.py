"""Models as clients read them: the general model, the built-in embedders and the app's own vector spaces.

The version id of an embedder is the `embed_model_version_id` that annotations and searches name.
"""

from __future__ import annotations

from collections.abc import Sequence

from postil.core import ids, model_cards, model_lists, older_models, pages, predictions, statuses
from postil.core.call import Call
from postil.core.public_models import PublicModels
from postil.embed import general
from postil.errors import Failure, missing
from postil.store.base import Store
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
        model = self._find(call, request.model_id)
        if request.version_id:
            _check_version(model, request.version_id)
        return SingleModelResponse(status=_ok(), model=model)

    def versions(self, call: Call, request: ListModelVersionsRequest) -> MultiModelVersionResponse:
        """Each of these models has one version; another model's weights have another version id.

        Raises:
            Failure: CONN_DOES_NOT_EXIST for a model that is not there; MODEL_INVALID_REQUEST for `concept_ids`, as
                no model here was trained on concepts, and for `min_replicas`.
        """
        page = pages.of_list(request.page, request.per_page)
        for name in ("concept_ids", "min_replicas"):
            if getattr(request, name):
                raise Failure(StatusCode.MODEL_INVALID_REQUEST, f"{name} is not supported; leave it out.")
        version = self._find(call, request.model_id).model_version
        listed = [version][page.offset : page.offset + page.limit]
        return MultiModelVersionResponse(status=_ok(), model_versions=listed)

    def version(self, call: Call, request: GetModelVersionRequest) -> SingleModelVersionResponse:
        """Raises Failure CONN_DOES_NOT_EXIST for a model or a version that is not there."""
        model = self._find(call, request.model_id or request.version_id)
        _check_version(model, request.version_id)
        return SingleModelVersionResponse(status=_ok(), model_version=model.model_version)

    def search(self, call: Call, request: PostModelsSearchesRequest) -> MultiModelResponse:
        """Models whose name or id matches `model_query.name`: the app's own, then the public ones.

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
        if response.model.model_version.id == general.VERSION_ID:
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
        model = self._find(call, request.model_id)
        if request.version_id:
            _check_version(model, request.version_id)
        if model.model_version.id != general.VERSION_ID:
            raise Failure(StatusCode.MODEL_INVALID_REQUEST, f"Model {model.id!r} gives no concepts, but embeddings.")
        prefix = request.search.casefold()
        found = [c for c in _known_concepts() if c.name.casefold().startswith(prefix) or c.id.startswith(prefix)]
        return MultiConceptResponse(status=_ok(), concepts=found[page.offset : page.offset + page.limit])

    def types(self, call: Call, request: ListModelTypesRequest) -> MultiModelTypeResponse:  # noqa: ARG002 - as all verbs
        """The types of models that can be listed."""
        page = pages.of_list(request.page, request.per_page)
        listed = model_cards.TYPES[page.offset : page.offset + page.limit]
        return MultiModelTypeResponse(status=_ok(), model_types=listed)

    def type(self, call: Call, request: GetModelTypeRequest) -> SingleModelTypeResponse:  # noqa: ARG002 - as all verbs
        """Raises Failure CONN_DOES_NOT_EXIST."""
        for one in model_cards.TYPES:
            if one.id == request.model_type_id:
                return SingleModelTypeResponse(status=_ok(), model_type=one)
        known = ", ".join(one.id for one in model_cards.TYPES)
        raise missing(f"There is no model type {ids.shown(request.model_type_id)}; there are {known}.")

    def _own(self, call: Call) -> Sequence[Model]:
        """Client vector spaces, in order of their creation."""
        if call.app_record is None:
            return ()
        spaces = self._store.read().spaces(call.app.row)
        return [model_cards.client(space, call.app) for space in spaces if space.kind == model_cards.CLIENT]

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
