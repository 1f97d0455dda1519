"""Evaluations through a real server, under both service names: trained, judged, listed, refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from postil.v1.common_pb2 import UserAppIDSet
from postil.v1.evaluation_pb2 import EvalMetrics
from postil.v1.evaluation_service_pb2 import (
    FieldsValue,
    GetModelVersionEvaluationRequest,
    GetModelVersionMetricsRequest,
    ListModelVersionEvaluationsRequest,
    PostModelVersionEvaluationsRequest,
    PostModelVersionMetricsRequest,
)
from postil.v1.model_pb2 import Model
from postil.v1.model_service_pb2 import DeleteModelRequest, PostModelsRequest
from postil.v1.status_code_pb2 import StatusCode
from support.labelled import add_vectors, clusters, label
from support.trained import WAIT_SECONDS, create, train
from support.waiting import until

Call = Callable[..., Any]
NAMES = ["ash", "birch", "cedar"]
VECTORS, BELONGS = clusters(NAMES, 30)
WRONG = {4: "cedar", 20: "ash"}  # labels that are not true, so that something is got wrong


def metrics(call: Call, app: UserAppIDSet, version: str = "", **fields: Any) -> Any:
    request = GetModelVersionMetricsRequest(user_app_id=app, model_id="trees", version_id=version)
    request.fields.CopyFrom(FieldsValue(**fields))
    answer = call("GetModelVersionMetrics", request)
    assert answer.status.code == StatusCode.SUCCESS, answer.status
    return answer.model_version.metrics


def done(call: Call, app: UserAppIDSet) -> bool:
    found = metrics(call, app)
    assert found.status.code in {
        StatusCode.MODEL_EVALUATED, StatusCode.MODEL_EVALUATING, StatusCode.MODEL_QUEUED_FOR_EVALUATION,
    }, found.status  # fmt: skip
    return bool(found.status.code == StatusCode.MODEL_EVALUATED)


@pytest.fixture
def trees(call: Call, app: UserAppIDSet) -> UserAppIDSet:
    add_vectors(call, app, VECTORS)
    label(call, app, {n: WRONG.get(n, name) for n, name in enumerate(BELONGS)})
    create(call, app, "trees", NAMES)
    return app


def test_a_version_is_judged_on_what_it_had_not_seen(call: Call, trees: UserAppIDSet) -> None:
    version = train(call, trees, "trees")
    assert metrics(call, trees, version).status.code == StatusCode.MODEL_NOT_EVALUATED
    posted = call(
        "PostModelVersionMetrics",
        PostModelVersionMetricsRequest(user_app_id=trees, model_id="trees", version_id=version),
    )
    assert posted.status.code == StatusCode.SUCCESS, posted.status
    assert posted.model_version.id == version
    until(lambda: done(call, trees), WAIT_SECONDS)
    found = metrics(call, trees, version)
    right = (len(VECTORS) - len(WRONG)) / len(VECTORS)
    assert found.summary.top1_accuracy == pytest.approx(right)
    assert found.summary.macro_avg_roc_auc > 0.9
    cells = {(cell.actual, cell.predicted): cell.value for cell in found.confusion_matrix.matrix}
    assert cells["cedar", "birch"] == 1.0  # n = 4 is a birch that was called a cedar
    assert cells["ash", "cedar"] == 1.0
    assert sum(cells.values()) == len(VECTORS)
    assert {entry.input.id for entry in found.test_set} == {f"i{n}" for n in WRONG}
    worst = next(entry for entry in found.test_set if entry.input.id == "i4")
    assert worst.predicted_concepts[0].id == "birch"
    assert [concept.id for concept in worst.ground_truth_concepts if concept.value] == ["cedar"]
    assert worst.annotation.input_id == "i4"
    ash = found.binary_metrics[0]
    assert (ash.concept.id, ash.num_pos + ash.num_neg, ash.num_tot) == ("ash", len(VECTORS), len(VECTORS))
    assert 0.9 < ash.precision <= 1.0
    assert (ash.roc_curve.fpr[0], ash.roc_curve.tpr[0]) == (0.0, 0.0)
    assert (ash.roc_curve.fpr[-1], ash.roc_curve.tpr[-1]) == (1.0, 1.0)
    more = found.extended_metrics.user_metrics
    assert more["examples"] == len(VECTORS)
    assert more["folds"] == 5
    assert sum(row["labels"] for row in more["reliability"]) == 3 * len(VECTORS)
    assert {count.concept.id: count.count for count in found.label_counts.positive_label_counts}["birch"] == 29


def test_only_the_parts_asked_for_are_given(call: Call, trees: UserAppIDSet) -> None:
    train(call, trees, "trees")
    call("PostModelVersionMetrics", PostModelVersionMetricsRequest(user_app_id=trees, model_id="trees"))
    until(lambda: done(call, trees), WAIT_SECONDS)
    found = metrics(call, trees, confusion_matrix=True)
    assert found.confusion_matrix.matrix
    assert not found.binary_metrics
    assert not found.test_set
    assert found.summary.top1_accuracy


def test_evaluations_are_listed_read_and_go_with_their_model(call: Call, trees: UserAppIDSet) -> None:
    version = train(call, trees, "trees")
    wanted = [EvalMetrics(id="mine"), EvalMetrics(id="mine"), EvalMetrics(id="bad")]
    wanted[0].eval_info.params.update({"folds": 3, "seed": 7})
    wanted[2].eval_info.params.update({"folds": 1})
    request = PostModelVersionEvaluationsRequest(
        user_app_id=trees, model_id="trees", model_version_id=version, eval_metrics=wanted
    )
    answer = call("PostModelVersionEvaluations", request)
    assert answer.status.code == StatusCode.MIXED_STATUS
    assert [one.status.code for one in answer.eval_metrics] == [
        StatusCode.MODEL_QUEUED_FOR_EVALUATION,
        StatusCode.DATABASE_DUPLICATE_KEY,
        StatusCode.MODEL_INVALID_ARGUMENT,
    ]
    until(lambda: done(call, trees), WAIT_SECONDS)
    one = GetModelVersionEvaluationRequest(
        user_app_id=trees, model_id="trees", model_version_id=version, evaluation_id="mine"
    )
    found = call("GetModelVersionEvaluation", one)
    assert found.eval_metrics.extended_metrics.user_metrics["folds"] == 3
    assert found.eval_metrics.binary_metrics
    every = ListModelVersionEvaluationsRequest(user_app_id=trees, model_id="trees", model_version_id=version)
    listed = call("ListModelVersionEvaluations", every)
    assert [one.id for one in listed.eval_metrics] == ["mine"]
    assert listed.eval_metrics[0].summary.top1_accuracy
    assert not listed.eval_metrics[0].binary_metrics
    one.evaluation_id = "nobody's"
    assert call("GetModelVersionEvaluation", one).status.code == StatusCode.CONN_DOES_NOT_EXIST
    call("DeleteModel", DeleteModelRequest(user_app_id=trees, model_id="trees"))
    assert call("ListModelVersionEvaluations", every).status.code == StatusCode.CONN_DOES_NOT_EXIST


def test_what_cannot_be_evaluated_is_refused(call: Call, trees: UserAppIDSet) -> None:
    request = PostModelVersionMetricsRequest(user_app_id=trees, model_id="trees")
    assert call("PostModelVersionMetrics", request).status.code == StatusCode.MODEL_UNTRAINED
    train(call, trees, "trees")
    request.eval_info.params.update({"folds": 11})
    answer = call("PostModelVersionMetrics", request)
    assert answer.status.code == StatusCode.MODEL_INVALID_ARGUMENT
    assert "from 2 to 10" in answer.status.details
    request.Clear()
    request.user_app_id.CopyFrom(trees)
    request.model_id = "forest"
    assert call("PostModelVersionMetrics", request).status.code == StatusCode.CONN_DOES_NOT_EXIST
    request.model_id = "trees"
    request.test_search.name = "some"
    assert call("PostModelVersionMetrics", request).status.code == StatusCode.MODEL_INVALID_REQUEST


def test_what_learns_nothing_cannot_be_evaluated(call: Call, trees: UserAppIDSet) -> None:
    model = Model(id="near", model_type_id="knn-concept")
    for name in NAMES:
        model.output_info.data.concepts.add(id=name)
    assert call("PostModels", PostModelsRequest(user_app_id=trees, models=[model])).status.code == StatusCode.SUCCESS
    answer = call("PostModelVersionMetrics", PostModelVersionMetricsRequest(user_app_id=trees, model_id="near"))
    assert answer.status.code == StatusCode.MODEL_INVALID_REQUEST
    assert "embedding-classifier" in answer.status.details
