"""How a model of an app's own looks as a `Model`: what is stored of it, in one of its versions."""

from __future__ import annotations

from collections.abc import Sequence

from postil.core import model_types, statuses
from postil.store.base import AppRecord, ModelRecord, Queries, VersionRecord
from postil.v1.concept_pb2 import Concept
from postil.v1.model_pb2 import Model, ModelVersion
from postil.v1.status_code_pb2 import StatusCode

WHERE_CONCEPTS = "Show output_info to see its concepts: GetModelOutputInfo, ListModelConcepts."


def all_of(queries: Queries, app: AppRecord) -> Sequence[Model]:
    """Every model of the app in its newest version, in order of creation."""
    return [newest(queries, record) for record in queries.models(app.row)]


def find(queries: Queries, app: int, name: str) -> ModelRecord | None:
    """A model of the app (row) by its id, else by the id of one of its versions."""
    found = queries.model(app, name)
    if found is not None:
        return found
    version = queries.version(app, name)
    return queries.model_by_row(version.model) if version is not None else None


def newest(queries: Queries, record: ModelRecord) -> Model:
    """A model in its newest version, trained or not: clients poll it."""
    return card(record, queries.versions(record.row))


def card(record: ModelRecord, versions: Sequence[VersionRecord], version: VersionRecord | None = None) -> Model:
    """A model in a version, the first unless another is given; without its concepts, as plain reads show it.

    Args:
        record: The model.
        versions: All of them, newest first.
        version: One of them.
    """
    model = Model.FromString(record.message)
    shown = version or (versions[0] if versions else None)
    if shown is not None:
        model.model_version.CopyFrom(version_message(shown))
    model.version_count = len(versions)
    model.output_info.ClearField("data")
    model.output_info.message = WHERE_CONCEPTS
    return model


def version_message(record: VersionRecord) -> ModelVersion:
    """A version without its concepts."""
    version = ModelVersion.FromString(record.message)
    version.output_info.data.ClearField("concepts")
    return version


def trained(versions: Sequence[VersionRecord]) -> VersionRecord | None:
    """The newest version that predicts."""
    return next((version for version in versions if version.status == StatusCode.MODEL_TRAINED), None)


def concepts(queries: Queries, app: AppRecord, record: ModelRecord, version: VersionRecord | None) -> list[Concept]:
    """What a version tells, or would learn, by the names that the app has for it now; the model's own when the version
    does not say."""
    named = list(ModelVersion.FromString(version.message).output_info.data.concepts) if version else []
    named = named or list(Model.FromString(record.message).output_info.data.concepts)
    known = queries.concepts(app.row, [concept.id for concept in named])
    made = []
    for concept in named:
        found = known.get(concept.id)
        name = found.name if found else concept.name or concept.id
        made.append(
            Concept(id=concept.id, name=name, app_id=app.id, user_id=app.user_id, value=concept.value, language="")
        )
    return made


def state(code: StatusCode.ValueType, details: str = "", percent: int = 0) -> ModelVersion:
    """A version that holds nothing but its state."""
    version = ModelVersion(status=statuses.status(code, details))
    version.status.percent_completed = percent
    return version


def first_state(type_id: str) -> StatusCode.ValueType:
    """The state of a new model: one that learns is not trained yet, the others are ready."""
    return StatusCode.MODEL_UNTRAINED if type_id in model_types.TRAINED else StatusCode.MODEL_TRAINED
