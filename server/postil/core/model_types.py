"""The kinds of models that people can create here, with the parameters that forms and clients offer for each."""

from __future__ import annotations

from google.protobuf.struct_pb2 import Value

from postil.core import ids, model_cards
from postil.core.dataset_labels import DATASET, VERSION
from postil.errors import Failure
from postil.v1.model_pb2 import EvaluationType, ModelType, ModelTypeEnumOption, ModelTypeField
from postil.v1.status_code_pb2 import StatusCode

CLASSIFIER = "embedding-classifier"
TEXT_CLASSIFIER = "text-classifier"
NEIGHBOURS = "knn-concept"
THRESHOLDER = "concept-thresholder"
OLD_THRESHOLDER = "concept-threshold"

THRESHOLDERS = frozenset({THRESHOLDER, OLD_THRESHOLDER})
TRAINED = frozenset({CLASSIFIER, TEXT_CLASSIFIER})  # in the background, from labels; the others need no training

# How a concept's value is compared with its threshold, in the order of the numbers that clients send, from 1.
COMPARISONS = ("GREATER_THAN", "GREATER_THAN_OR_EQUAL_TO", "LESS_THAN", "LESS_THAN_OR_EQUAL_TO")
COMPARISON = "concept_threshold_type"  # of output_info.params
PENDING = "include_pending"  # of train_info.params

_Field = ModelTypeField

_CONCEPTS = _Field(
    path="output_info.data.concepts",
    field_type=_Field.ARRAY_OF_CONCEPTS,
    description="What it learns to tell; empty: the concepts of the model.",
    placeholder="concepts",
)
_EXCLUSIVE = _Field(
    path="output_info.output_config.concepts_mutually_exclusive",
    field_type=_Field.BOOLEAN,
    default_value=Value(bool_value=False),
    description="Exactly one of the concepts is true of each input.",
    placeholder="false",
)
_STRICT = _Field(
    path="output_info.output_config.fail_on_missing_positive_examples",
    field_type=_Field.BOOLEAN,
    default_value=Value(bool_value=False),
    description="Refuse to train when a concept has no positive label; else random inputs stand in for them.",
    placeholder="false",
)
_WITH_PENDING = _Field(
    path=f"train_info.params.{PENDING}",
    field_type=_Field.BOOLEAN,
    default_value=Value(bool_value=False),
    description="Learn from labels that wait for review, too, such as those that feedback on predictions made.",
    placeholder="false",
)
_DATASET = _Field(
    path=f"train_info.params.{DATASET}",
    field_type=_Field.DATASET_ID,
    description="Learn from the inputs of this dataset alone.",
    placeholder="the whole app",
)
_DATASET_VERSION = _Field(
    path=f"train_info.params.{VERSION}",
    field_type=_Field.DATASET_VERSION_ID,
    description="Learn from the labels as this version of the dataset froze them.",
    placeholder="the dataset as it is",
)
_EMBEDDER = _Field(
    path="input_info.base_embed_model",
    field_type=_Field.WORKFLOW_EMBED_MODELS,
    description="Whose vectors it works on; empty: those that most of the labelled inputs have.",
    placeholder="the app's own",
)
_LIMITS = _Field(
    path="output_info.data.concepts",
    field_type=_Field.ARRAY_OF_CONCEPTS_WITH_THRESHOLD,
    description="The concepts to look at, each with the value to compare with.",
    placeholder="concepts with values",
    required=True,
)
_HOW = _Field(
    path=f"output_info.params.{COMPARISON}",
    field_type=_Field.ENUM,
    default_value=Value(string_value=COMPARISONS[0]),
    description="Which side of its threshold a concept must be on to be answered.",
    placeholder=COMPARISONS[0],
    model_type_enum_options=[ModelTypeEnumOption(id=name) for name in COMPARISONS],
)


def _thresholder(type_id: str, description: str) -> ModelType:
    return ModelType(
        id=type_id,
        title="Concept thresholder",
        description=description,
        input_fields=["concepts"],
        output_fields=["concepts"],
        creatable=True,
        model_type_fields=[_LIMITS, _HOW],
    )


CREATABLE = (
    ModelType(
        id=CLASSIFIER,
        title="Embedding classifier",
        description="Learns concepts from labels, on the vectors of an embedder: a logistic head for each concept.",
        input_fields=["embeddings"],
        output_fields=["concepts"],
        trainable=True,
        creatable=True,
        model_type_fields=[_CONCEPTS, _EXCLUSIVE, _STRICT, _WITH_PENDING, _DATASET, _DATASET_VERSION, _EMBEDDER],
        evaluation_type=EvaluationType.Classification,
    ),
    ModelType(
        id=TEXT_CLASSIFIER,
        title="Text classifier",
        description="Learns concepts from labelled texts, on the vectors of a text embedder.",
        input_fields=["text"],
        output_fields=["concepts"],
        trainable=True,
        creatable=True,
        model_type_fields=[_CONCEPTS, _EXCLUSIVE, _STRICT, _WITH_PENDING, _DATASET, _DATASET_VERSION, _EMBEDDER],
        evaluation_type=EvaluationType.Classification,
    ),
    ModelType(
        id=NEIGHBOURS,
        title="Nearest neighbours",
        description="Tells concepts by the labels of the nearest inputs, as they are now: nothing is trained.",
        input_fields=["embeddings"],
        output_fields=["concepts"],
        creatable=True,
        model_type_fields=[_CONCEPTS, _EXCLUSIVE, _WITH_PENDING, _DATASET, _DATASET_VERSION, _EMBEDDER],
        evaluation_type=EvaluationType.Classification,
    ),
    _thresholder(THRESHOLDER, "Keeps the concepts of another model that are above, or below, a value each."),
    _thresholder(OLD_THRESHOLDER, f"The older name of {THRESHOLDER}."),
)
ALL = (*model_cards.TYPES, *CREATABLE)
BY_ID = {one.id: one for one in ALL}


def creatable(type_id: str, where: str) -> str:
    """The type of a new model; "" means the embedding classifier.

    Raises:
        Failure: MODEL_INVALID_ARGUMENT, naming those that there are.
    """
    wanted = type_id or CLASSIFIER
    if any(one.id == wanted for one in CREATABLE):
        return wanted
    known = ", ".join(one.id for one in CREATABLE)
    problem = "cannot be created here" if wanted in BY_ID else "is unknown"
    raise Failure(
        StatusCode.MODEL_INVALID_ARGUMENT, f"{where}: model_type_id {ids.shown(wanted)} {problem}; use one of {known}."
    )
