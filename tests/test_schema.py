"""Our protos against the facts of the schema they mirror (tests/data/schema.json): names, numbers, types, bindings.

A client that people already have talks to us only while these agree. What we leave out stands in LEFT_OUT with the
reason; what we add is numbered from 1000 up, where the mirrored schema will not grow.
"""

from __future__ import annotations

import copy
import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.api import annotations_pb2
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    MethodDescriptorProto,
)

import postil.v1
from postil.v1 import options_pb2

SCHEMA = json.loads((Path(__file__).parent / "data/schema.json").read_text())
PACKAGE = ".postil.v1."
FIRST_OF_OURS = 1000

CYCLE = "its type imports this one: a cycle between our files"
HOSTED = "describes the vendor's own hosting, which a self-hosted server does not have"
ACCOUNT = "account data that this server does not keep"
UPLOADS = "resumable and archive uploads are not offered; PostInputs takes bytes and URLs"
EXPORTS = "exports of dataset versions are not offered; ListDatasetVersionInputs reads them"
COUNTED = "where regions lie is not counted"
BULK = "what is done to many inputs is done when the call answers"
LEFT_OUT = {
    "Cluster.hits": CYCLE,
    "Data.hits": CYCLE,
    "Dataset.bookmark_origin": HOSTED,
    "DatasetVersion.export_info": EXPORTS,
    "DatasetVersionMetrics.region_location_matrix": COUNTED,
    "EvalMetrics.ground_truth_dataset": CYCLE,
    "EvalMetrics.model": CYCLE,
    "EvalMetrics.predictions_dataset": CYCLE,
    "InputsAddJob.extraction_jobs": UPLOADS,
    "InputsAddJob.uploads": UPLOADS,
    "ListModelsRequest.license_type": HOSTED,
    "Model.bookmark_origin": HOSTED,
    "Model.deploy_restriction": HOSTED,
    "Model.license_type": HOSTED,
    "Model.open_router_info": HOSTED,
    "ModelType.expected_input_layers": HOSTED,
    "ModelType.expected_output_layers": HOSTED,
    "ModelType.method_signatures": HOSTED,
    "ModelVersion.build_info": HOSTED,
    "ModelVersion.import_info": HOSTED,
    "ModelVersion.inference_compute_info": HOSTED,
    "ModelVersion.method_signatures": HOSTED,
    "ModelVersion.pretrained_model_config": HOSTED,
    "ModelVersion.special_handling": HOSTED,
    "MultiDatasetInputResponse.bulk_operation": BULK,
    "MultiModelTypeResponse.triton_conda_envs_info": HOSTED,
    "MultiOutputResponse.runner_selector": HOSTED,
    "PostModelOutputsRequest.runner_selector": HOSTED,
    "PostWorkflowResultsRequest.node_runner_selectors": HOSTED,
    "TrainInfo.dataset": CYCLE,
    "User.email_addresses": ACCOUNT,
    "User.user_detail": ACCOUNT,
    "Workflow.bookmark_origin": HOSTED,
}

# The same bytes in fewer fields, where the full type would import this one. What there is of it mirrors the full type.
NARROWED = {"EvalAnnotation": "Annotation", "EvalInput": "Input"}

# What is ours alone. A name that is here must not be in the mirrored schema.
OUR_FIELDS = {  # in mirrored messages
    "App.learning",
    "BinaryMetrics.precision",
    "BinaryMetrics.recall",
    "DeleteInputsRequest.delete_all",
    "Embedding.space",
    "Hit.learned",
    "Key.token",
    "MultiDatasetInputResponse.added",
    "ModelQuery.type",
    "MultiSearchResponse.debug",
    "Query.expand_hyponyms",
    "Search.debug",
    "Search.end_user_id",
    "Search.learning",
}
OUR_MESSAGES = {
    "DatasetVersionInput",
    "DeleteFeedbackRequest",
    "EvalAnnotation",
    "EvalInput",
    "FeedbackEvent",
    "FindLabelErrorsRequest",
    "FindLabelErrorsResponse",
    "GetSearchQualityRequest",
    "LabelError",
    "ListDatasetVersionInputsRequest",
    "ListFeedbackRequest",
    "MultiDatasetVersionInputResponse",
    "MultiFeedbackResponse",
    "SearchDebug",
    "SearchQuality",
    "SearchQualityResponse",
    "SearchStep",
    "SuggestInputsToLabelRequest",
    "SuggestInputsToLabelResponse",
    "Suggestion",
}
OUR_ENUMS = {"Learning"}
OUR_CALLS = {
    "DeleteFeedback",
    "FindLabelErrors",
    "GetSearchQuality",
    "ListDatasetVersionInputs",
    "ListFeedback",
    "SuggestInputsToLabel",
}


def our_files() -> list[FileDescriptorProto]:
    folder = Path(postil.v1.__path__[0])
    modules = [importlib.import_module(f"postil.v1.{path.stem}") for path in sorted(folder.glob("*_pb2.py"))]
    files = [FileDescriptorProto() for _ in modules]
    for module, file in zip(modules, files, strict=True):
        module.DESCRIPTOR.CopyToProto(file)
    return files


FILES = our_files()
MESSAGES: dict[str, DescriptorProto] = {message.name: message for file in FILES for message in file.message_type}
ENUMS: dict[str, EnumDescriptorProto] = {enum.name: enum for file in FILES for enum in file.enum_type} | {
    f"{message.name}.{enum.name}": enum for message in MESSAGES.values() for enum in message.enum_type
}
CALLS: dict[str, MethodDescriptorProto] = {
    method.name: method for file in FILES for service in file.service for method in service.method
}


def type_name(field: FieldDescriptorProto, message: DescriptorProto) -> str:
    """A field's type as schema.json writes it: `string`, `Concept`, `enum StatusCode`, `map<string,ImageInfo>`."""
    name = field.type_name.removeprefix(PACKAGE).removeprefix(".")
    for nested in message.nested_type:
        if nested.options.map_entry and name == f"{message.name}.{nested.name}":
            return f"map<{type_name(nested.field[0], nested)},{type_name(nested.field[1], nested)}>"
    if field.type == field.TYPE_ENUM:
        return f"enum {name}"
    return name or FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()


def facts(field: FieldDescriptorProto, message: DescriptorProto) -> dict[str, Any]:
    """What schema.json would say of a field of ours."""
    name = type_name(field, message)
    found: dict[str, Any] = {"number": field.number, "type": NARROWED.get(name, name)}
    if field.label == field.LABEL_REPEATED and not found["type"].startswith("map<"):
        found["repeated"] = True
    if field.HasField("oneof_index"):
        found["oneof"] = message.oneof_decl[field.oneof_index].name
    if field.options.Extensions[options_pb2.show_if_empty]:
        found["show_if_empty"] = True
    if field.options.HasExtension(options_pb2.default_float):
        found["default_float"] = field.options.Extensions[options_pb2.default_float]
    return found


def differences(message: DescriptorProto) -> Iterator[str]:
    """Where a mirrored message departs from the schema."""
    mirrored = SCHEMA["messages"][message.name]
    ours = {field.name: field for field in message.field}
    for name, field in ours.items():
        found, where = facts(field, message), f"{message.name}.{name}"
        if name in mirrored and found != mirrored[name]:
            yield f"{where}: {found}, mirrored {mirrored[name]}"
        if name not in mirrored and field.number < FIRST_OF_OURS:
            yield f"{where} is ours: number it from {FIRST_OF_OURS} up, not {field.number}"
        if where in LEFT_OUT:
            yield f"{where} is in LEFT_OUT but declared"
    for name in mirrored.keys() - ours.keys():
        if f"{message.name}.{name}" not in LEFT_OUT:
            yield f"{message.name}.{name} is missing: declare it, or give the reason in LEFT_OUT"


def bindings(call: MethodDescriptorProto) -> list[list[str]]:
    """The [verb, path, body] triples of a call, the main one first."""
    rule = call.options.Extensions[annotations_pb2.http]
    rules = [rule, *rule.additional_bindings]
    return [[(verb := str(r.WhichOneof("pattern"))).upper(), getattr(r, verb), r.body] for r in rules]


@pytest.mark.parametrize("name", sorted(MESSAGES))
def test_message_mirrors_the_schema(name: str) -> None:
    assert (name in SCHEMA["messages"]) != (name in OUR_MESSAGES)
    if name in SCHEMA["messages"]:
        assert not list(differences(MESSAGES[name]))


@pytest.mark.parametrize("name", sorted(NARROWED))
def test_narrowed_message_has_the_bytes_of_the_full_one(name: str) -> None:
    mirrored = SCHEMA["messages"][NARROWED[name]]
    for field in MESSAGES[name].field:
        assert facts(field, MESSAGES[name]) == mirrored[field.name]


@pytest.mark.parametrize("name", sorted(ENUMS))
def test_enum_mirrors_the_schema(name: str) -> None:
    assert (name in SCHEMA["enums"]) != (name in OUR_ENUMS)
    if name in SCHEMA["enums"]:
        assert {value.name: value.number for value in ENUMS[name].value} == SCHEMA["enums"][name]


@pytest.mark.parametrize("name", sorted(CALLS))
def test_call_mirrors_the_schema(name: str) -> None:
    assert (name in SCHEMA["rpcs"]) != (name in OUR_CALLS)
    call, mirrored = CALLS[name], SCHEMA["rpcs"].get(name)
    assert not call.client_streaming
    if mirrored:
        assert not call.server_streaming
        assert call.input_type == PACKAGE + mirrored["request"]
        assert call.output_type == PACKAGE + mirrored["response"]
        assert bindings(call) == mirrored["http"]


def test_call_names_are_unique_across_services() -> None:
    # All calls also answer under the one service `clarifai.api.V2`.
    names = [method.name for file in FILES for service in file.service for method in service.method]
    assert len(names) == len(set(names))


def test_every_fact_is_about_something_declared() -> None:
    assert SCHEMA["messages"].keys() <= MESSAGES.keys()
    assert SCHEMA["enums"].keys() <= ENUMS.keys()
    assert SCHEMA["rpcs"].keys() <= CALLS.keys()
    assert all(field in SCHEMA["messages"][message] for message, field in (name.split(".") for name in LEFT_OUT))


def test_our_fields_in_mirrored_messages_are_the_listed_ones() -> None:
    ours = {
        f"{name}.{field.name}"
        for name, mirrored in SCHEMA["messages"].items()
        for field in MESSAGES[name].field
        if field.name not in mirrored
    }
    assert ours == OUR_FIELDS


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"number": 5}, "Annotation.input_id: {'number': 5"),
        ({"type": FieldDescriptorProto.TYPE_BYTES}, "'type': 'bytes'"),
        ({"label": FieldDescriptorProto.LABEL_REPEATED}, "'repeated': True"),
        ({"name": "image_id"}, "Annotation.image_id is ours: number it from 1000 up, not 2"),
        ({"name": "image_id", "number": 1000}, "Annotation.input_id is missing"),
    ],
)
def test_a_departure_is_noticed(change: dict[str, Any], complaint: str) -> None:
    message = copy.deepcopy(MESSAGES["Annotation"])
    field = next(field for field in message.field if field.name == "input_id")
    for key, value in change.items():
        setattr(field, key, value)
    assert any(complaint in found for found in differences(message))
