"""Training on a dataset, and on a version of it that stays while labels change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from postil.v1 import dataset_service_pb2 as pb
from postil.v1.common_pb2 import UserAppIDSet
from postil.v1.concept_pb2 import Concept
from postil.v1.data_pb2 import Data
from postil.v1.dataset_pb2 import Dataset, DatasetInput, DatasetVersion
from postil.v1.input_pb2 import Input
from postil.v1.input_service_pb2 import DeleteInputsRequest, PatchInputsRequest
from postil.v1.model_pb2 import ModelVersion
from postil.v1.status_code_pb2 import StatusCode
from support.learners import blobs, create, post, rank, train, trained

Call = Callable[..., Any]
NAMES = ("ant", "bee")
COUNT, MEMBERS = 40, 20


@pytest.fixture
def half(call: Call, app: UserAppIDSet) -> UserAppIDSet:
    """40 labelled inputs in two clouds; the dataset `half` has the first 20, frozen as version `v`."""
    vectors, classed = blobs(COUNT, 8, 2)
    post(call, app, vectors, [{NAMES[one]: 1.0} for one in classed])
    call("PostDatasets", pb.PostDatasetsRequest(user_app_id=app, datasets=[Dataset(id="half")]))
    members = [DatasetInput(input=Input(id=f"i{number}")) for number in range(MEMBERS)]
    request = pb.PostDatasetInputsRequest(user_app_id=app, dataset_id="half", dataset_inputs=members)
    assert call("PostDatasetInputs", request).status.code == StatusCode.SUCCESS
    frozen = pb.PostDatasetVersionsRequest(
        user_app_id=app, dataset_id="half", dataset_versions=[DatasetVersion(id="v")]
    )
    assert call("PostDatasetVersions", frozen).status.code == StatusCode.SUCCESS
    assert create(call, app, *NAMES).status.code == StatusCode.SUCCESS
    return app


def on(**params: str) -> ModelVersion:
    version = ModelVersion()
    version.train_info.params.update(params)
    return version


def test_a_dataset_limits_what_is_learned_from(call: Call, half: UserAppIDSet) -> None:
    version = trained(call, half, version=on(dataset_id="half"))
    assert (version.status.code, version.total_input_count) == (StatusCode.MODEL_TRAINED, MEMBERS)
    assert version.train_info.params["dataset_id"] == "half"
    best = rank(call, half, Concept(id="ant"), version=version.id, per_page=20)
    assert len(best.hits) == 20


def test_a_version_is_learned_from_as_it_was(call: Call, half: UserAppIDSet) -> None:
    frozen = on(dataset_id="half", dataset_version_id="v")
    before = trained(call, half, version=frozen)
    assert (before.status.code, before.total_input_count) == (StatusCode.MODEL_TRAINED, MEMBERS)
    turned = [Input(id="i0", data=Data(concepts=[Concept(id="ant", value=0), Concept(id="bee", value=1)]))]
    call("PatchInputs", PatchInputsRequest(user_app_id=half, inputs=turned, action="merge"))
    call("DeleteInputs", DeleteInputsRequest(user_app_id=half, ids=["i1"]))
    after, now = trained(call, half, version=frozen), trained(call, half, version=on(dataset_id="half"))
    assert after.total_input_count == now.total_input_count == MEMBERS - 1  # its vector is gone
    assert after.metadata["training"]["annotations"] == MEMBERS - 1
    whole = trained(call, half)
    assert whole.total_input_count == COUNT - 1


@pytest.mark.parametrize(
    ("params", "named"),
    [
        ({"dataset_id": "nowhere"}, "no dataset 'nowhere'"),
        ({"dataset_id": "half", "dataset_version_id": "w"}, "no version 'w'"),
        ({"dataset_version_id": "v"}, "no dataset ''"),
    ],
)
def test_what_is_not_there_cannot_be_trained_on(
    call: Call, half: UserAppIDSet, params: dict[str, str], named: str
) -> None:
    answer = train(call, half, version=on(**params))
    assert answer.status.code == StatusCode.MODEL_INVALID_ARGUMENT, answer.status
    assert named in answer.status.details


def test_a_dataset_without_labels_says_what_to_label(call: Call, half: UserAppIDSet) -> None:
    call("PostDatasets", pb.PostDatasetsRequest(user_app_id=half, datasets=[Dataset(id="empty")]))
    answer = train(call, half, version=on(dataset_id="empty"))
    assert answer.status.code == StatusCode.MODEL_TRAINING_NO_DATA, answer.status
