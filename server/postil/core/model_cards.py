"""How an embedder and a client's vector space look as a `Model`."""

from __future__ import annotations

from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

from postil.core import app_fields, statuses
from postil.core.call import PUBLIC_APP, PUBLIC_USER
from postil.embed import general as general_model
from postil.embed.base import Spec
from postil.store.base import AppRecord, SpaceRecord
from postil.v1.common_pb2 import Visibility
from postil.v1.model_pb2 import EvaluationType, Model, ModelType, ModelVersion, OutputInfo
from postil.v1.status_code_pb2 import StatusCode

CLIENT = "client"  # kind of a space whose vectors clients send

_BUILT_IN_AT = Timestamp(seconds=1_767_225_600)  # 2026-01-01: the weights are packaged, and never made here
_TYPE_OF_KIND = {"picture": "visual-embedder", "text": "text-embedder", CLIENT: "client-embedder"}

GENERAL_TYPE = "visual-classifier"

TYPES = (
    ModelType(
        id="visual-embedder",
        title="Visual embedder",
        description="Turns a picture into a vector; pictures that look alike have vectors close together.",
        input_fields=["image"],
        output_fields=["embeddings"],
    ),
    ModelType(
        id="text-embedder",
        title="Text embedder",
        description="Turns a text into a vector; texts that mean alike have vectors close together.",
        input_fields=["text"],
        output_fields=["embeddings"],
    ),
    ModelType(
        id="client-embedder",
        title="Client embedder",
        description="A space of vectors that clients compute themselves and send in data.embeddings.",
        input_fields=["embeddings"],
        output_fields=["embeddings"],
    ),
    ModelType(
        id=GENERAL_TYPE,
        title="Visual classifier",
        description="Says which concepts a picture shows, each with its probability.",
        input_fields=["image"],
        output_fields=["concepts"],
        evaluation_type=EvaluationType.Classification,
    ),
)


def general() -> Model:
    """The general model, which belongs to the public app."""
    count = len(general_model.VOCABULARY.concepts)
    version = ModelVersion(
        id=general_model.VERSION_ID, status=statuses.status(StatusCode.MODEL_TRAINED), active_concept_count=count
    )
    model = Model(
        id=general_model.MODEL_ID,
        name=general_model.MODEL_ID,
        model_type_id=GENERAL_TYPE,
        model_version=version,
        output_info=OutputInfo(message="Show output_info to see its concepts: GetModelOutputInfo, ListModelConcepts."),
        version_count=1,
        description=general_model.DESCRIPTION,
        app_id=PUBLIC_APP,
        user_id=PUBLIC_USER,
    )
    model.output_info.output_config.SetInParent()
    model.visibility.gettable = Visibility.PUBLIC
    model.created_at.CopyFrom(_BUILT_IN_AT)
    return _dated(model)


def built_in(spec: Spec) -> Model:
    """An embedder of this server, which belongs to the public app."""
    model = _model(spec.model_id, spec.version_id, spec.kind, spec.dim)
    model.description = spec.description
    model.app_id, model.user_id = PUBLIC_APP, PUBLIC_USER
    model.visibility.gettable = Visibility.PUBLIC
    model.created_at.CopyFrom(_BUILT_IN_AT)
    return _dated(model)


def client(space: SpaceRecord, app: AppRecord) -> Model:
    """A vector space of the app's own. When it came into being is not kept: it is dated like the app."""
    model = _model(space.id, space.id, space.kind, space.dim)
    model.name = space.name or space.id
    model.description = f"Vectors of {space.dim} numbers that clients send in data.embeddings."
    model.app_id, model.user_id = app.id, app.user_id
    model.visibility.gettable = Visibility.PRIVATE
    model.created_at.CopyFrom(app_fields.message(app).created_at)
    return _dated(model)


def _model(model_id: str, version_id: str, kind: str, dim: int) -> Model:
    facts = Struct()
    facts.update({"dimensions": dim})
    version = ModelVersion(id=version_id, status=statuses.status(StatusCode.MODEL_TRAINED), metadata=facts)
    info = OutputInfo(message="The output is a vector in data.embeddings; there are no concepts.")
    info.output_config.SetInParent()
    info.output_config.embed_model_version_id = version_id
    return Model(
        id=model_id,
        name=model_id,
        model_type_id=_TYPE_OF_KIND[kind],
        model_version=version,
        output_info=info,
        version_count=1,
    )


def _dated(model: Model) -> Model:
    """Tells the version what holds for the whole model."""
    model.modified_at.CopyFrom(model.created_at)
    version = model.model_version
    version.app_id, version.user_id = model.app_id, model.user_id
    version.visibility.CopyFrom(model.visibility)
    for moment in (version.created_at, version.modified_at, version.completed_at):
        moment.CopyFrom(model.created_at)
    return model
