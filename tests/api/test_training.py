"""The life of people's own models through a real server: created, trained, asked, ranked by, changed, deleted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from postil.v1.annotation_pb2 import Annotation
from postil.v1.annotation_service_pb2 import PostAnnotationsRequest
from postil.v1.app_service_pb2 import DeleteAppRequest
from postil.v1.common_pb2 import UserAppIDSet
from postil.v1.concept_pb2 import Concept
from postil.v1.concept_service_pb2 import ListModelConceptsRequest
from postil.v1.data_pb2 import Data, Embedding
from postil.v1.input_pb2 import Input
from postil.v1.input_service_pb2 import GetInputRequest, PostInputsRequest
from postil.v1.model_pb2 import Model, ModelVersion, OutputConfig, OutputInfo
from postil.v1.model_service_pb2 import (
    DeleteModelRequest,
    DeleteModelsRequest,
    DeleteModelVersionRequest,
    GetModelRequest,
    ListModelsRequest,
    ListModelTypesRequest,
    ListModelVersionsRequest,
    PatchModelsRequest,
    PatchModelVersionsRequest,
    PostModelOutputsRequest,
    PostModelsRequest,
    PostModelVersionsRequest,
)
from postil.v1.status_code_pb2 import StatusCode
from postil.v1.status_pb2 import Status
from postil.v1.workflow_pb2 import Workflow, WorkflowNode
from postil.v1.workflow_service_pb2 import PostWorkflowResultsRequest, PostWorkflowsRequest
from support.learners import blobs, create, post, rank, train, trained, version_of, wait

Call = Callable[..., Any]
NAMES = ("ant", "bee", "cow")
DIM = 16


def labelled(classed: Any, count: int) -> list[dict[str, float]]:
    return [{NAMES[one]: 1.0} for one in classed[:count]]


@pytest.fixture
def clouds(call: Call, app: UserAppIDSet) -> tuple[Any, Any]:
    """60 inputs in three clouds, the first 30 labelled with what they are."""
    vectors, classed = blobs(60, DIM, 3)
    post(call, app, vectors, labelled(classed, 30))
    return vectors, classed


def predict(call: Call, app: UserAppIDSet, *items: Input, model: str = "m", version: str = "", **config: Any) -> Any:
    asking = Model(output_info=OutputInfo(output_config=OutputConfig(**config)))
    request = PostModelOutputsRequest(
        user_app_id=app, model_id=model, version_id=version, inputs=items, model=asking if config else None
    )
    return call("PostModelOutputs", request)


def by_vector(vector: Any) -> Input:
    return Input(data=Data(embeddings=[Embedding(vector=vector.tolist())]))


def test_from_labels_to_predictions_and_ranks(call: Call, app: UserAppIDSet, clouds: tuple[Any, Any]) -> None:
    _vectors, classed = clouds
    made = create(call, app, *NAMES)
    assert made.status.code == StatusCode.SUCCESS, made.status
    assert (made.model.model_type_id, made.model.name) == ("embedding-classifier", "m")
    assert made.model.model_version.status.code == StatusCode.MODEL_UNTRAINED
    started = train(call, app)
    assert started.status.code == StatusCode.SUCCESS, started.status
    assert started.model.model_version.status.code == StatusCode.MODEL_QUEUED_FOR_TRAINING
    version = wait(call, app, started.model.model_version.id)
    assert version.status.code == StatusCode.MODEL_TRAINED, version.status
    assert (version.active_concept_count, version.total_input_count) == (3, 30)
    assert version.completed_at.seconds
    assert version.metadata["training"]["annotations"] == 30
    fresh = blobs(30, DIM, 3, spread=0.4)[0]
    answer = predict(call, app, *map(by_vector, fresh), Input(id="i59"))
    assert answer.status.code == StatusCode.SUCCESS, answer.status
    said = [output.data.concepts[0].id for output in answer.outputs]
    assert said == [NAMES[number % 3] for number in range(30)] + [NAMES[classed[59]]]
    first = answer.outputs[0]
    assert [c.value for c in first.data.concepts] == sorted((c.value for c in first.data.concepts), reverse=True)
    assert (first.data.concepts[0].app_id, first.data.concepts[0].name) == (app.app_id, "ant")
    assert first.model.model_version.id == version.id
    hits = rank(call, app, Concept(id="bee", value=1), per_page=60).hits
    bees = [f"i{number}" for number in range(60) if classed[number] == 1]
    assert [hit.input.id for hit in hits[:20]] == [*bees[:10], *[h.input.id for h in hits[10:20]]]
    assert {hit.input.id for hit in hits[:20]} == set(bees), "the unlabelled come after the labelled, before all others"
    assert hits[10].score == pytest.approx(
        {c.id: c.value for c in predict(call, app, Input(id=hits[10].input.id)).outputs[0].data.concepts}["bee"],
        abs=1e-5,
    )


def test_scores_that_exclude_each_other_add_up(call: Call, app: UserAppIDSet, clouds: tuple[Any, Any]) -> None:
    _vectors, classed = clouds
    create(call, app, *NAMES, exclusive=True)
    assert trained(call, app).status.code == StatusCode.MODEL_TRAINED
    answer = predict(call, app, *[Input(id=f"i{number}") for number in range(30, 60)])
    for number, output in enumerate(answer.outputs, 30):
        assert output.data.concepts[0].id == NAMES[classed[number]]
        assert sum(concept.value for concept in output.data.concepts) == pytest.approx(1.0, abs=1e-4)
    hits = rank(call, app, Concept(id="cow", value=1), per_page=20).hits
    assert {hit.input.id for hit in hits} == {f"i{number}" for number in range(60) if classed[number] == 2}


def test_output_config_counts(call: Call, app: UserAppIDSet, clouds: tuple[Any, Any]) -> None:
    create(call, app, *NAMES)
    trained(call, app)
    item = Input(id="i40")
    (one,) = predict(call, app, item, max_concepts=1).outputs
    assert len(one.data.concepts) == 1
    (sure,) = predict(call, app, item, min_value=0.5).outputs
    assert all(concept.value >= 0.5 for concept in sure.data.concepts)
    mixed = predict(call, app, item, select_concepts=[Concept(id="cow"), Concept(id="yak")])
    assert mixed.status.code == StatusCode.MIXED_STATUS
    assert [concept.id for concept in mixed.outputs[0].data.concepts] == ["cow"]
    none = predict(call, app, item, select_concepts=[Concept(id="yak")])
    assert none.status.code == StatusCode.MODEL_INVALID_ARGUMENT
    assert predict(call, app, *[item] * 129).status.code == StatusCode.PREDICT_INVALID_REQUEST
    wrong = predict(call, app, by_vector(np.ones(3, np.float32)))
    assert wrong.status.code == StatusCode.INPUT_INVALID_ARGUMENT
    assert "16 numbers" in wrong.status.details


def test_what_cannot_be_learned_is_refused_with_a_remedy(call: Call, app: UserAppIDSet) -> None:
    vectors, _classed = blobs(12, DIM, 3)
    post(call, app, vectors)
    nothing = create(call, app, id="nothing")
    assert nothing.status.code == StatusCode.SUCCESS
    refused = train(call, app, "nothing")
    assert refused.status.code == StatusCode.MODEL_INVALID_ARGUMENT
    assert "output_info.data.concepts" in refused.status.details
    create(call, app, "yak")
    refused = train(call, app)
    assert refused.status.code == StatusCode.MODEL_INVALID_ARGUMENT
    assert "'yak'" in refused.status.details
    annotate(call, app, "i0", "ant", status=StatusCode.ANNOTATION_PENDING)
    create(call, app, "ant", id="ants")
    refused = train(call, app, "ants")
    assert refused.status.code == StatusCode.MODEL_TRAINING_NO_DATA
    assert "post annotations" in refused.status.details
    annotate(call, app, "i1", "bee")
    annotate(call, app, "i2", "ant", value=0.0)
    create(call, app, "ant", "bee", id="one of two", exclusive=True)
    refused = train(call, app, "one of two")
    assert refused.status.code == StatusCode.MODEL_TRAINING_ONE_VS_N_SINGLE_CLASS
    assert "'ant'" in refused.status.details
    strict = ModelVersion()
    strict.output_info.output_config.fail_on_missing_positive_examples = True
    refused = train(call, app, "ants", strict)
    assert refused.status.code == StatusCode.MODEL_TRAINING_NO_POSITIVES
    assert "'ant'" in refused.status.details
    assert trained(call, app, "ants").status.code == StatusCode.MODEL_TRAINED, "random inputs stand in for positives"
    elsewhere = ModelVersion()
    elsewhere.input_info.base_embed_model.id = "no such embedder"
    refused = train(call, app, "ants", elsewhere)
    assert refused.status.code == StatusCode.MODEL_INVALID_ARGUMENT
    assert "base_embed_model" in refused.status.details
    two = PostModelVersionsRequest(user_app_id=app, model_id="ants", model_versions=[ModelVersion(), ModelVersion()])
    assert call("PostModelVersions", two).status.code == StatusCode.MODEL_INVALID_ARGUMENT
    assert train(call, app, "no such model").status.code == StatusCode.CONN_DOES_NOT_EXIST


def annotate(call: Call, app: UserAppIDSet, target: str, concept: str, value: float = 1.0, status: int = 0) -> None:
    made = Annotation(input_id=target, data=Data(concepts=[Concept(id=concept, value=value)]))
    if status:
        made.status.CopyFrom(Status(code=status))  # type: ignore[arg-type]
    answer = call("PostAnnotations", PostAnnotationsRequest(user_app_id=app, annotations=[made]))
    assert answer.status.code == StatusCode.SUCCESS, answer.status


def test_pending_labels_count_when_asked_for(call: Call, app: UserAppIDSet) -> None:
    vectors, classed = blobs(8, DIM, 2)
    post(call, app, vectors)
    for number in range(8):
        annotate(call, app, f"i{number}", NAMES[classed[number]], status=StatusCode.ANNOTATION_PENDING)
    create(call, app, "ant", "bee")
    assert train(call, app).status.code == StatusCode.MODEL_TRAINING_NO_DATA
    pending = ModelVersion()
    pending.train_info.params["include_pending"] = True
    assert trained(call, app, version=pending).total_input_count == 8


def test_an_untrained_model_says_so(call: Call, app: UserAppIDSet, clouds: tuple[Any, Any]) -> None:
    create(call, app, *NAMES)
    refused = predict(call, app, Input(id="i0"))
    assert refused.status.code == StatusCode.MODEL_UNTRAINED
    assert "PostModelVersions" in refused.status.details
    before = [(hit.input.id, hit.score) for hit in rank(call, app, Concept(id="ant", value=1), per_page=60).hits]
    assert len(before) == 60
    version = trained(call, app)
    after = [(hit.input.id, hit.score) for hit in rank(call, app, Concept(id="ant", value=1), per_page=60).hits]
    assert after != before
    gone = DeleteModelVersionRequest(user_app_id=app, model_id="m", version_id=version.id)
    assert call("DeleteModelVersion", gone).status.code == StatusCode.SUCCESS
    assert call("DeleteModelVersion", gone).status.code == StatusCode.CONN_DOES_NOT_EXIST
    again = [(hit.input.id, hit.score) for hit in rank(call, app, Concept(id="ant", value=1), per_page=60).hits]
    assert again == before


def test_models_are_checked_when_they_are_created(call: Call, app: UserAppIDSet) -> None:
    assert create(call, app, "ant").status.code == StatusCode.SUCCESS
    assert create(call, app, "ant").status.code == StatusCode.DATABASE_DUPLICATE_KEY
    assert create(call, app, "ant", id="general-image-recognition").status.code == StatusCode.DATABASE_DUPLICATE_KEY
    assert create(call, app, "ant", id="").status.code == StatusCode.MODEL_INVALID_ARGUMENT
    unknown = create(call, app, "ant", id="b", model_type_id="oracle")
    assert unknown.status.code == StatusCode.MODEL_INVALID_ARGUMENT
    assert "knn-concept" in unknown.status.details
    assert create(call, app, "ant", "ant", id="b").status.code == StatusCode.MODEL_INVALID_ARGUMENT
    assert create(call, app, id="b", model_type_id="concept-thresholder").status.code == (
        StatusCode.MODEL_INVALID_ARGUMENT
    )
    both = [Model(id="c"), Model(id="m")]
    assert call("PostModels", PostModelsRequest(user_app_id=app, models=both)).status.code == (
        StatusCode.DATABASE_DUPLICATE_KEY
    )
    assert call("GetModel", GetModelRequest(user_app_id=app, model_id="c")).status.code == (
        StatusCode.CONN_DOES_NOT_EXIST
    ), "all or none"
    assert call("PostModels", PostModelsRequest(user_app_id=app)).status.code == StatusCode.MODEL_INVALID_REQUEST


def test_models_are_listed_changed_and_deleted(call: Call, app: UserAppIDSet, clouds: tuple[Any, Any]) -> None:
    create(call, app, "ant", "bee")
    change = Model(id="m", name="Insects", output_info=OutputInfo(data=Data(concepts=[Concept(id="cow")])))
    patched = call("PatchModels", PatchModelsRequest(user_app_id=app, models=[change], action="merge"))
    assert patched.status.code == StatusCode.SUCCESS, patched.status
    assert patched.models[0].name == "Insects"
    info = call("GetModelOutputInfo", GetModelRequest(user_app_id=app, model_id="m")).model.output_info
    assert [concept.id for concept in info.data.concepts] == ["ant", "bee"], "the version is as it was"
    version = trained(call, app)
    info = call("GetModelOutputInfo", GetModelRequest(user_app_id=app, model_id="m")).model.output_info
    assert [concept.id for concept in info.data.concepts] == ["ant", "bee", "cow"]
    plain = call("GetModel", GetModelRequest(user_app_id=app, model_id="m")).model
    assert not plain.output_info.data.concepts
    assert plain.output_info.message
    assert plain.model_version.id == version.id
    listed = call("ListModels", ListModelsRequest(user_app_id=app)).models
    assert listed[0].id == "m"
    only = call("ListModels", ListModelsRequest(user_app_id=app, model_type_id="embedding-classifier")).models
    assert [model.id for model in only] == ["m"]
    known = call("ListModelConcepts", ListModelConceptsRequest(user_app_id=app, model_id="m")).concepts
    assert [concept.id for concept in known] == ["ant", "bee", "cow"]
    second = trained(call, app)
    versions = call("ListModelVersions", ListModelVersionsRequest(user_app_id=app, model_id="m")).model_versions
    assert [one.id for one in versions] == [second.id, version.id]
    named = ModelVersion(id=version.id, description="the first")
    described = PatchModelVersionsRequest(user_app_id=app, model_id="m", model_versions=[named])
    assert call("PatchModelVersions", described).model_versions[0].description == "the first"
    named.status.code = StatusCode.MODEL_UNTRAINED
    assert call("PatchModelVersions", described).status.code == StatusCode.SUCCESS
    described.model_versions[0].status.code = StatusCode.MODEL_UNTRAINED
    assert call("PatchModelVersions", described).status.code == StatusCode.MODEL_INVALID_ARGUMENT
    missing = PatchModelsRequest(user_app_id=app, models=[Model(id="none")])
    assert call("PatchModels", missing).status.code == StatusCode.MODEL_DOES_NOT_EXIST
    everything = DeleteModelsRequest(user_app_id=app, delete_all=True)
    assert call("DeleteModels", everything).status.code == StatusCode.MODEL_INVALID_REQUEST
    gone = DeleteModelRequest(user_app_id=app, model_id="m")
    assert call("DeleteModel", gone).status.code == StatusCode.SUCCESS
    assert call("DeleteModel", gone).status.code == StatusCode.CONN_DOES_NOT_EXIST
    assert predict(call, app, Input(id="i0")).status.code == StatusCode.MODEL_DOES_NOT_EXIST
    several = DeleteModelsRequest(user_app_id=app, ids=["m", "none"])
    assert call("DeleteModels", several).status.code == StatusCode.SUCCESS


def test_neighbours_need_no_training(call: Call, app: UserAppIDSet) -> None:
    vectors, classed = blobs(9, DIM, 3)
    post(call, app, vectors, labelled(classed, 3))
    made = create(call, app, *NAMES, model_type_id="knn-concept")
    assert made.model.model_version.status.code == StatusCode.MODEL_TRAINED
    for number in range(3, 9):
        (output,) = predict(call, app, Input(id=f"i{number}")).outputs
        assert output.data.concepts[0].id == NAMES[classed[number]]
    annotate(call, app, "i3", "bee")
    (after,) = predict(call, app, by_vector(vectors[3])).outputs
    (before,) = predict(call, app, by_vector(vectors[6])).outputs
    value = {concept.id: concept.value for concept in after.data.concepts}["bee"]
    assert value > {concept.id: concept.value for concept in before.data.concepts}["bee"], "labels count at once"


def test_thresholds(call: Call, app: UserAppIDSet) -> None:
    info = OutputInfo(data=Data(concepts=[Concept(id="ant", value=0.5), Concept(id="bee", value=0.5)]))
    for model_id, comparison in (("high", "GREATER_THAN"), ("low", 3.0)):
        info.params["concept_threshold_type"] = comparison
        model = Model(id=model_id, model_type_id="concept-threshold", output_info=info)
        made = call("PostModels", PostModelsRequest(user_app_id=app, models=[model]))
        assert made.model.model_version.status.code == StatusCode.MODEL_TRAINED, made.status
    given = Input(data=Data(concepts=[Concept(id="ant", value=0.75), Concept(id="bee", value=0.25)]))
    (high,) = predict(call, app, given, model="high").outputs
    assert [(concept.id, concept.value) for concept in high.data.concepts] == [("ant", 0.75)]
    (low,) = predict(call, app, given, model="low").outputs
    assert [(concept.id, concept.value) for concept in low.data.concepts] == [("bee", 0.25)]


def test_two_trainings_are_two_versions(call: Call, app: UserAppIDSet, clouds: tuple[Any, Any]) -> None:
    create(call, app, *NAMES)
    one, two = train(call, app), train(call, app)
    assert one.model.model_version.id != two.model.model_version.id
    for started in (one, two):
        assert wait(call, app, started.model.model_version.id).status.code == StatusCode.MODEL_TRAINED
    answers = [predict(call, app, Input(id="i50"), version=s.model.model_version.id).outputs[0] for s in (one, two)]
    assert answers[0].data == answers[1].data, "the same labels make the same model, to the bit"


def test_deleting_ends_a_training(call: Call, app: UserAppIDSet, clouds: tuple[Any, Any]) -> None:
    create(call, app, *NAMES)
    waiting = [train(call, app) for _ in range(4)]
    first, *others = [started.model.model_version.id for started in waiting]
    back = ModelVersion(id=others[-1])
    back.status.code = StatusCode.MODEL_UNTRAINED
    taken = call("PatchModelVersions", PatchModelVersionsRequest(user_app_id=app, model_id="m", model_versions=[back]))
    assert taken.status.code in {StatusCode.SUCCESS, StatusCode.MODEL_INVALID_ARGUMENT}, "unless it was done already"
    call("DeleteModelVersion", DeleteModelVersionRequest(user_app_id=app, model_id="m", version_id=others[1]))
    assert version_of(call, app, others[1]).status.code == StatusCode.CONN_DOES_NOT_EXIST
    call("DeleteModel", DeleteModelRequest(user_app_id=app, model_id="m"))
    assert version_of(call, app, first).status.code == StatusCode.CONN_DOES_NOT_EXIST
    create(call, app, *NAMES)
    assert trained(call, app).status.code == StatusCode.MODEL_TRAINED, "the thread lives on"
    train(call, app)
    assert call("DeleteApp", DeleteAppRequest(user_app_id=app)).status.code == StatusCode.SUCCESS
    post(call, app, blobs(6, DIM, 3)[0], [{NAMES[number % 3]: 1.0} for number in range(6)])
    assert version_of(call, app, first).status.code == StatusCode.CONN_DOES_NOT_EXIST
    create(call, app, *NAMES)
    assert trained(call, app).status.code == StatusCode.MODEL_TRAINED


def test_types_tell_their_parameters(call: Call, app: UserAppIDSet) -> None:
    types = {one.id: one for one in call("ListModelTypes", ListModelTypesRequest(user_app_id=app)).model_types}
    paths = [field.path for field in types["embedding-classifier"].model_type_fields]
    assert "output_info.output_config.concepts_mutually_exclusive" in paths
    assert types["embedding-classifier"].trainable
    assert not types["knn-concept"].trainable
    options = types["concept-thresholder"].model_type_fields[1].model_type_enum_options
    assert [option.id for option in options][:2] == ["GREATER_THAN", "GREATER_THAN_OR_EQUAL_TO"]


def test_workflows_run_own_models_and_thresholds_behind_them(call: Call, app: UserAppIDSet) -> None:
    texts = {"a cat": "ant", "a kitten": "ant", "the stock market": "bee", "shares and bonds": "bee"}
    inputs = [
        Input(id=f"t{number}", data=Data(concepts=[Concept(id=name, value=1)]))
        for number, name in enumerate(texts.values())
    ]
    for item, raw in zip(inputs, texts, strict=True):
        item.data.text.raw = raw
    assert call("PostInputs", PostInputsRequest(user_app_id=app, inputs=inputs)).status.code == StatusCode.SUCCESS
    create(call, app, "ant", "bee", model_type_id="text-classifier")
    pending = [item.id for item in inputs]
    while pending:
        got = call("GetInput", GetInputRequest(user_app_id=app, input_id=pending[0]))
        if got.input.status.code == StatusCode.INPUT_SUCCESS:
            pending.pop(0)
    assert trained(call, app).status.code == StatusCode.MODEL_TRAINED
    info = OutputInfo(data=Data(concepts=[Concept(id="ant", value=0.5), Concept(id="bee", value=0.5)]))
    high = Model(id="high", model_type_id="concept-thresholder", output_info=info)
    assert call("PostModels", PostModelsRequest(user_app_id=app, models=[high])).status.code == StatusCode.SUCCESS
    nodes = [WorkflowNode(id="says", model=Model(id="m")), WorkflowNode(id="keeps", model=Model(id="high"))]
    nodes[1].node_inputs.add(node_id="says")
    made = PostWorkflowsRequest(user_app_id=app, workflows=[Workflow(id="mine", nodes=nodes)])
    assert call("PostWorkflows", made).status.code == StatusCode.SUCCESS
    asked = Input()
    asked.data.text.raw = "a cat"
    run = PostWorkflowResultsRequest(user_app_id=app, workflow_id="mine", inputs=[asked])
    answer = call("PostWorkflowResults", run)
    assert answer.status.code == StatusCode.SUCCESS, answer.status
    says, keeps = answer.results[0].outputs
    assert [concept.id for concept in says.data.concepts] == ["ant", "bee"]
    assert [concept.id for concept in keeps.data.concepts] == [c.id for c in says.data.concepts if c.value > 0.5]
