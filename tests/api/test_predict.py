"""Predictions through a real server, under both service names: what models say, how it is asked, what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from postil.v1.common_pb2 import UserAppIDSet
from postil.v1.concept_pb2 import Concept
from postil.v1.concept_service_pb2 import ListModelConceptsRequest
from postil.v1.data_pb2 import Data
from postil.v1.input_pb2 import Input
from postil.v1.input_service_pb2 import PostInputsRequest
from postil.v1.model_pb2 import Model, OutputConfig
from postil.v1.model_service_pb2 import (
    GetModelRequest,
    ListModelsRequest,
    PostModelOutputsRequest,
    PostModelsSearchesRequest,
)
from postil.v1.status_code_pb2 import StatusCode
from support.photos import photo
from support.web import WebServer

Call = Callable[..., Any]
GENERAL = "general-image-recognition"
ALIAS = "aaa03c23b3724a16a56b629203edc62c"
PUBLIC = UserAppIDSet(user_id="clarifai", app_id="main")
CATS = {"tabby", "tiger cat", "Persian cat", "Siamese cat", "Egyptian cat"}


def picture(name: str, **fields: Any) -> Input:
    item = Input(**fields)
    item.data.image.base64 = photo(name)
    return item


def text(raw: str) -> Input:
    item = Input()
    item.data.text.raw = raw
    return item


def config(**fields: Any) -> Model:
    model = Model()
    model.output_info.output_config.CopyFrom(OutputConfig(**fields))
    return model


def predict(
    call: Call, app: UserAppIDSet, *items: Input, by: str = GENERAL, version: str = "", asking: Model | None = None
) -> Any:
    request = PostModelOutputsRequest(user_app_id=app, model_id=by, version_id=version, inputs=items, model=asking)
    return call("PostModelOutputs", request)


def names(output: Any) -> list[str]:
    return [concept.name for concept in output.data.concepts]


def test_what_photographs_show(call: Call, app: UserAppIDSet) -> None:
    answer = predict(call, app, picture("coffee.png"), picture("chelsea.png", id="chelsea"), picture("camera.png"))
    assert answer.status.code == StatusCode.SUCCESS, answer.status
    coffee, chelsea, camera = answer.outputs
    assert names(coffee)[0] == "espresso"
    assert names(chelsea)[0] in CATS
    assert names(camera)[0] == "tripod"
    assert chelsea.input.id == "chelsea"
    assert coffee.input.id
    assert not coffee.input.data.image.base64
    assert len({output.id for output in answer.outputs}) == 3
    for output in answer.outputs:
        values = [concept.value for concept in output.data.concepts]
        assert values == sorted(values, reverse=True)
        assert len(values) == 20
        assert output.status.code == StatusCode.SUCCESS
        assert output.created_at.seconds
        assert output.model.id == GENERAL
        assert output.model.model_version.status.code == StatusCode.MODEL_TRAINED
    first = coffee.data.concepts[0]
    assert (first.id, first.app_id, first.language) == ("n07920052", "main", "en")


def test_by_url_id_alias_and_in_the_public_app(call: Call, app: UserAppIDSet, web: WebServer) -> None:
    by_url = Input()
    by_url.data.image.url = web.serve("coffee.png", photo("coffee.png"))
    answer = predict(call, app, by_url, by=ALIAS)
    assert names(answer.outputs[0])[0] == "espresso"
    assert answer.outputs[0].input.data.image.url == by_url.data.image.url
    posted = call("PostInputs", PostInputsRequest(user_app_id=app, inputs=[picture("coffee.png", id="mine")]))
    assert posted.status.code == StatusCode.SUCCESS
    by_id = predict(call, app, Input(id="mine"))
    assert names(by_id.outputs[0]) == names(answer.outputs[0])
    version = by_id.outputs[0].model.model_version.id
    public = predict(call, PUBLIC, picture("coffee.png"), version=version)
    assert [c.value for c in public.outputs[0].data.concepts] == [c.value for c in answer.outputs[0].data.concepts]


@pytest.mark.parametrize("place", ["model", "version"])
def test_the_output_config_counts_wherever_it_is(call: Call, app: UserAppIDSet, place: str) -> None:
    model = Model()
    info = model.output_info if place == "model" else model.model_version.output_info
    info.output_config.max_concepts = 3
    (output,) = predict(call, app, picture("chelsea.png"), asking=model).outputs
    assert len(output.data.concepts) == 3


def test_at_most_so_many_and_at_least_so_sure(call: Call, app: UserAppIDSet) -> None:
    (many,) = predict(call, app, picture("chelsea.png"), asking=config(max_concepts=200)).outputs
    assert len(many.data.concepts) == 200
    (sure,) = predict(call, app, picture("chelsea.png"), asking=config(min_value=0.1)).outputs
    assert set(names(sure)) <= CATS
    assert all(concept.value >= 0.1 for concept in sure.data.concepts)


def test_selected_concepts(call: Call, app: UserAppIDSet) -> None:
    chosen = [Concept(id="cat"), Concept(name="tabby"), Concept(id="n07920052"), Concept(id="animal")]
    answer = predict(call, app, picture("chelsea.png"), asking=config(select_concepts=chosen))
    assert answer.status.code == StatusCode.SUCCESS
    assert [concept.id for concept in answer.outputs[0].data.concepts] == ["animal", "cat", "n02123045", "n07920052"]
    assert answer.outputs[0].data.concepts[1].value > 0.8
    mixed = predict(
        call, app, picture("chelsea.png"), asking=config(select_concepts=[Concept(id="cat"), Concept(name="Tabby")])
    )
    assert mixed.status.code == StatusCode.MIXED_STATUS
    assert "'Tabby'" in mixed.status.details
    assert names(mixed.outputs[0]) == ["cat"]
    none = predict(call, app, picture("chelsea.png"), asking=config(select_concepts=[Concept(id="no such thing")]))
    assert none.status.code == StatusCode.MODEL_INVALID_ARGUMENT
    assert "ListModelConcepts" in none.status.details
    assert not none.outputs


def test_embedders_answer_vectors(call: Call, app: UserAppIDSet) -> None:
    answer = predict(call, app, picture("coffee.png"), picture("coffee.png"), by="general-image-embedding")
    vectors = [np.array(output.data.embeddings[0].vector, np.float32) for output in answer.outputs]
    assert [output.data.embeddings[0].num_dimensions for output in answer.outputs] == [1280, 1280]
    assert np.array_equal(vectors[0], vectors[1])
    assert np.linalg.norm(vectors[0]) == pytest.approx(1.0, abs=1e-5)
    words = predict(call, app, text("a cat"), text("a kitten"), text("stock market"), by="general-text-embedding")
    cat, kitten, market = (np.array(output.data.embeddings[0].vector) for output in words.outputs)
    assert cat @ kitten > cat @ market
    assert words.outputs[0].input.data.text.raw == "a cat"


def test_each_bad_input_fails_alone(call: Call, app: UserAppIDSet, web: WebServer) -> None:
    broken, gone, foreign = Input(), Input(), Input(id="no such input")
    broken.data.image.base64 = b"no picture"
    gone.data.image.url = web.url("gone.png")
    items = [picture("coffee.png"), Input(), Input(data=Data()), broken, gone, foreign, text("words")]
    answer = predict(call, app, *items)
    assert answer.status.code == StatusCode.MIXED_STATUS
    codes = [output.status.code for output in answer.outputs]
    assert codes[0] == StatusCode.SUCCESS
    assert codes[1:3] == [StatusCode.INPUT_INVALID_ARGUMENT] * 2
    assert codes[4:] == [
        StatusCode.INPUT_FAILED,
        StatusCode.INPUT_DOES_NOT_EXIST,
        StatusCode.INPUT_UNSUPPORTED_FORMAT,
    ]
    assert codes[3] not in {StatusCode.SUCCESS, 0}
    for position, output in enumerate(answer.outputs[1:], 1):
        assert f"inputs[{position}]" in output.status.details
        assert not output.data.concepts


def test_when_all_fail_for_one_reason_the_call_says_it(call: Call, app: UserAppIDSet, web: WebServer) -> None:
    gone = Input()
    gone.data.image.url = web.url("gone.png")
    answer = predict(call, app, gone)
    assert answer.status.code == answer.outputs[0].status.code == StatusCode.INPUT_FAILED
    both = predict(call, app, gone, Input())
    assert both.status.code == StatusCode.FAILURE


def test_a_probe_for_signatures_is_answered_by_the_older_way(call: Call, app: UserAppIDSet) -> None:
    probe = Input()
    probe.data.metadata.update({"_method_name": "_GET_SIGNATURES"})
    answer = predict(call, app, probe)
    assert answer.status.code == answer.outputs[0].status.code == StatusCode.INPUT_UNSUPPORTED_FORMAT


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"max_concepts": 201}, StatusCode.PREDICT_INVALID_REQUEST),
        ({"min_value": 1.5}, StatusCode.PREDICT_INVALID_REQUEST),
        ({"min_value": float("nan")}, StatusCode.PREDICT_INVALID_REQUEST),
        ({"language": "xx"}, StatusCode.PREDICT_INVALID_REQUEST),
    ],
)
def test_a_bad_output_config(call: Call, app: UserAppIDSet, fields: dict[str, Any], code: int) -> None:
    answer = predict(call, app, picture("coffee.png"), asking=config(**fields))
    assert answer.status.code == code
    assert next(iter(fields)) in answer.status.details


def test_too_many_and_no_inputs(call: Call, app: UserAppIDSet) -> None:
    for items in ([], [text("a")] * 129):
        answer = predict(call, app, *items, by="general-text-embedding")
        assert answer.status.code == StatusCode.PREDICT_INVALID_REQUEST
        assert "128" in answer.status.details
    whole = predict(call, app, *[text("a")] * 128, by="general-text-embedding")
    assert (whole.status.code, len(whole.outputs)) == (StatusCode.SUCCESS, 128)


def test_models_that_are_not_here(call: Call, app: UserAppIDSet) -> None:
    food = predict(call, app, picture("coffee.png"), by="bd367be194cf45149e75f01d59f77ba7")
    assert food.status.code == StatusCode.MODEL_DOES_NOT_EXIST
    assert "food" in food.status.details
    assert GENERAL in food.status.details
    other = predict(call, app, picture("coffee.png"), version="0" * 32)
    assert other.status.code == StatusCode.MODEL_DOES_NOT_EXIST


def test_the_general_model_is_described(call: Call, app: UserAppIDSet) -> None:
    listed = call("ListModels", ListModelsRequest(user_app_id=app)).models
    assert GENERAL in {model.id for model in listed}
    plain = call("GetModel", GetModelRequest(user_app_id=app, model_id=ALIAS)).model
    assert (plain.id, plain.model_type_id, len(plain.output_info.data.concepts)) == (GENERAL, "visual-classifier", 0)
    full = call("GetModelOutputInfo", GetModelRequest(user_app_id=app, model_id=GENERAL)).model
    assert plain.model_version.active_concept_count == len(full.output_info.data.concepts) > 1000
    found = call("PostModelsSearches", _search(app, "general-*-*")).models
    assert [model.id for model in found] == [GENERAL, "general-image-embedding", "general-text-embedding"]


def test_models_are_found_by_the_names_that_older_clients_know(call: Call, app: UserAppIDSet) -> None:
    def found(name: str, kind: str = "") -> list[Any]:
        request = _search(app, name)
        request.model_query.type = kind
        return list(call("PostModelsSearches", request).models)

    assert [(model.id, model.name) for model in found("general-v1.3", "concept")] == [(GENERAL, "general-v1.3")]
    assert next(model.id for model in found("general-v1.3")) == GENERAL, "some clients take the first of a name"
    assert [model.id for model in found("general-v1.3", "embed")] == ["general-image-embedding"]
    (face,) = found("face", "facedetect")
    assert (face.name, face.model_version.status.code) == ("face", StatusCode.MODEL_DOES_NOT_EXIST)
    got = call("GetModel", GetModelRequest(user_app_id=app, model_id=face.id))
    assert (got.status.code, got.model) == (StatusCode.SUCCESS, face)
    listed = call("ListModels", ListModelsRequest(user_app_id=app)).models
    assert face.id not in {model.id for model in listed}, "a list says what can be used"


def _search(app: UserAppIDSet, name: str) -> PostModelsSearchesRequest:
    request = PostModelsSearchesRequest(user_app_id=app)
    request.model_query.name = name
    return request


def test_concepts_of_a_model(call: Call, app: UserAppIDSet) -> None:
    def concepts(model: str = GENERAL, **fields: Any) -> Any:
        return call("ListModelConcepts", ListModelConceptsRequest(user_app_id=app, model_id=model, **fields))

    assert [concept.name for concept in concepts(search="Espr").concepts] == ["espresso maker", "espresso"]
    assert len(concepts().concepts) == 128
    assert len(concepts(page=2, per_page=1000).concepts) > 100
    assert concepts("general-text-embedding").status.code == StatusCode.MODEL_INVALID_REQUEST
    assert concepts("nobody").status.code == StatusCode.CONN_DOES_NOT_EXIST
