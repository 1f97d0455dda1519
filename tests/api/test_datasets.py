"""Datasets through a real server: sets of inputs, filters by them, and frozen versions."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from postil.v1 import dataset_service_pb2 as pb
from postil.v1.annotation_pb2 import Annotation
from postil.v1.annotation_service_pb2 import PatchAnnotationsRequest, PostAnnotationsRequest
from postil.v1.app_service_pb2 import DeleteAppRequest
from postil.v1.common_pb2 import UserAppIDSet
from postil.v1.concept_pb2 import Concept
from postil.v1.data_pb2 import BoundingBox, Data, Region, RegionInfo
from postil.v1.dataset_pb2 import Dataset, DatasetInput, DatasetVersion, ModelPredictConfig
from postil.v1.input_pb2 import Input
from postil.v1.input_service_pb2 import DeleteInputsRequest, PostInputsRequest
from postil.v1.search_pb2 import AnnotationFilter, Filter, Query, Rank, Search
from postil.v1.search_service_pb2 import PostAnnotationFiltersRequest, PostInputsSearchesRequest
from postil.v1.status_code_pb2 import StatusCode
from support.server import Server

Call = Callable[..., Any]
OK = StatusCode.SUCCESS
ANGLES = {"a": (1.0, 0.0), "b": (0.8, 0.6), "c": (0.0, 1.0), "d": (-1.0, 0.0)}


def posted(call: Call, app: UserAppIDSet, inputs: Iterable[Input]) -> Any:
    return call("PostInputs", PostInputsRequest(user_app_id=app, inputs=inputs))


def vectored(name: str, *vector: float, **labels: float) -> Input:
    item = Input(id=name)
    item.data.embeddings.add(vector=vector)
    item.data.concepts.extend(Concept(id=concept, value=value) for concept, value in labels.items())
    return item


@pytest.fixture
def shelf(call: Call, app: UserAppIDSet) -> UserAppIDSet:
    """Four inputs, two of them labelled, one with a box; a dataset `train` with the first two."""
    items = [vectored(name, *vector) for name, vector in ANGLES.items()]
    items[0].data.concepts.add(id="warm", value=1)
    items[1].data.concepts.add(id="warm", value=0)
    assert posted(call, app, items).status.code == OK
    box = RegionInfo(bounding_box=BoundingBox(top_row=0.1, left_col=0.1, bottom_row=0.5, right_col=0.5))
    boat = Annotation(id="boat", input_id="a", data=Data(regions=[Region(region_info=box)]))
    boat.data.regions[0].data.concepts.add(id="boat", value=1)
    assert call("PostAnnotations", PostAnnotationsRequest(user_app_id=app, annotations=[boat])).status.code == OK
    made = call("PostDatasets", pb.PostDatasetsRequest(user_app_id=app, datasets=[Dataset(id="train")]))
    assert made.status.code == OK, made.status
    assert add(call, app, "a", "b").status.code == OK
    return app


def add(call: Call, app: UserAppIDSet, *inputs: str, dataset: str = "train") -> Any:
    items = [DatasetInput(input=Input(id=name)) for name in inputs]
    request = pb.PostDatasetInputsRequest(user_app_id=app, dataset_id=dataset, dataset_inputs=items)
    return call("PostDatasetInputs", request)


def members(call: Call, app: UserAppIDSet, dataset: str = "train") -> list[str]:
    answer = call("ListDatasetInputs", pb.ListDatasetInputsRequest(user_app_id=app, dataset_id=dataset))
    assert answer.status.code == OK, answer.status
    return [item.input.id for item in answer.dataset_inputs]


def found(call: Call, app: UserAppIDSet, *filters: Filter, ranks: Iterable[Rank] = ()) -> list[str]:
    search = Search(query=Query(filters=filters, ranks=ranks))
    answer = call("PostInputsSearches", PostInputsSearchesRequest(user_app_id=app, searches=[search]))
    assert answer.status.code == OK, answer.status
    return [hit.input.id for hit in answer.hits]


def within(*datasets: str, negate: bool = False) -> Filter:
    return Filter(negate=negate, input=Input(dataset_ids=datasets))


def freeze(call: Call, app: UserAppIDSet, *versions: DatasetVersion, code: int = OK) -> Any:
    request = pb.PostDatasetVersionsRequest(user_app_id=app, dataset_id="train", dataset_versions=versions)
    answer = call("PostDatasetVersions", request)
    assert answer.status.code == code, answer.status
    return answer


def frozen(call: Call, app: UserAppIDSet, version: str, **page: int) -> list[tuple[str, list[str]]]:
    """(input, concepts of its annotations with their values) of each input of a version."""
    request = pb.ListDatasetVersionInputsRequest(
        user_app_id=app, dataset_id="train", dataset_version_id=version, **page
    )
    answer = call("ListDatasetVersionInputs", request)
    assert answer.status.code == OK, answer.status
    return [
        (one.input.id, [f"{c.id}={c.value:g}" for annotation in one.annotations for c in _concepts(annotation.data)])
        for one in answer.inputs
    ]


def _concepts(data: Data) -> list[Concept]:
    return [*data.concepts, *(concept for region in data.regions for concept in region.data.concepts)]


def test_a_dataset_is_made_got_changed_listed_and_deleted(call: Call, shelf: UserAppIDSet) -> None:
    more = [Dataset(id="test", description="Held out"), Dataset()]
    made = call("PostDatasets", pb.PostDatasetsRequest(user_app_id=shelf, datasets=more)).datasets
    assert (made[0].app_id, made[0].user_id, made[0].created_at.seconds > 0) == (shelf.app_id, "postil", True)
    assert len(made[1].id) == 32
    listed = call("ListDatasets", pb.ListDatasetsRequest(user_app_id=shelf)).datasets
    assert [one.id for one in listed] == [made[1].id, "test", "train"]
    by_id = pb.ListDatasetsRequest(user_app_id=shelf, search="HELD", sort_by_id=True)
    assert [one.id for one in call("ListDatasets", by_id).datasets] == ["test"]
    change = Dataset(id="test", notes="for later")
    changed = call("PatchDatasets", pb.PatchDatasetsRequest(user_app_id=shelf, datasets=[change])).datasets[0]
    assert (changed.description, changed.notes) == ("Held out", "for later")
    got = call("GetDataset", pb.GetDatasetRequest(user_app_id=shelf, dataset_id="test")).dataset
    assert got == changed
    gone = call("DeleteDatasets", pb.DeleteDatasetsRequest(user_app_id=shelf, dataset_ids=["test", "nowhere"]))
    assert gone.status.code == OK
    missing = call("GetDataset", pb.GetDatasetRequest(user_app_id=shelf, dataset_id="test"))
    assert missing.status.code == StatusCode.CONN_DOES_NOT_EXIST


def test_inputs_come_and_go_each_with_its_status(call: Call, shelf: UserAppIDSet) -> None:
    answer = add(call, shelf, "b", "c", "nowhere", "c")
    assert answer.status.code == StatusCode.MIXED_STATUS
    assert [item.input.status.code for item in answer.dataset_inputs] == [
        StatusCode.DATASET_INPUT_DUPLICATE,
        StatusCode.DATASET_INPUT_SUCCESS,
        StatusCode.CONN_DOES_NOT_EXIST,
        StatusCode.DATASET_INPUT_DUPLICATE,
    ]
    assert members(call, shelf) == ["a", "b", "c"]
    one = pb.GetDatasetInputRequest(user_app_id=shelf, dataset_id="train", input_id="c")
    assert call("GetDatasetInput", one).dataset_input.input.id == "c"
    request = pb.DeleteDatasetInputsRequest(user_app_id=shelf, dataset_id="train", input_ids=["c", "nowhere", "d"])
    assert call("DeleteDatasetInputs", request).status.code == OK
    assert members(call, shelf) == ["a", "b"]
    assert call("GetDatasetInput", one).status.code == StatusCode.CONN_DOES_NOT_EXIST
    call("DeleteInputs", DeleteInputsRequest(user_app_id=shelf, ids=["a"]))
    assert members(call, shelf) == ["b"]
    assert found(call, shelf, within("train")) == ["b"]


def test_inputs_are_posted_into_datasets(call: Call, shelf: UserAppIDSet) -> None:
    good, bad = vectored("e", 0.6, 0.8), vectored("f", 0.6, 0.8)
    good.dataset_ids.append("train")
    bad.dataset_ids.extend(["train", "nowhere"])
    answer = posted(call, shelf, [good, bad])
    assert answer.status.code == StatusCode.MIXED_STATUS
    assert answer.inputs[1].status.code == StatusCode.INPUT_INVALID_ARGUMENT
    assert "'nowhere'" in answer.inputs[1].status.details
    assert members(call, shelf) == ["a", "b", "e"]


def test_a_search_is_narrowed_to_datasets_and_follows_them_at_once(call: Call, shelf: UserAppIDSet) -> None:
    east = Rank()
    east.annotation.data.embeddings.add(vector=[1, 0])
    assert found(call, shelf, within("train"), ranks=[east]) == ["a", "b"]
    assert found(call, shelf, within("train", negate=True)) == ["c", "d"]
    for step in range(3):
        call("PostDatasets", pb.PostDatasetsRequest(user_app_id=shelf, datasets=[Dataset(id=f"more-{step}")]))
        add(call, shelf, "d", dataset=f"more-{step}")
        assert found(call, shelf, within("train", f"more-{step}")) == ["a", "b", "d"]
    add(call, shelf, "c")
    assert found(call, shelf, within("train")) == ["a", "b", "c"]


def test_a_search_adds_what_it_finds(call: Call, shelf: UserAppIDSet) -> None:
    call("PostDatasets", pb.PostDatasetsRequest(user_app_id=shelf, datasets=[Dataset(id="near"), Dataset(id="copy")]))
    near = Search(query=Query(ranks=[Rank()]), min_value=0.85)
    near.query.ranks[0].annotation.data.embeddings.add(vector=[1, 0])
    request = pb.PostDatasetInputsRequest(user_app_id=shelf, dataset_id="near", search=near)
    assert call("PostDatasetInputs", request).added == 2
    assert members(call, shelf, "near") == ["a", "b"]
    merge = Search(query=Query(filters=[within("near", "train")]))
    request = pb.PostDatasetInputsRequest(user_app_id=shelf, dataset_id="copy", search=merge)
    assert call("PostDatasetInputs", request).added == 2
    assert call("PostDatasetInputs", request).added == 0
    assert members(call, shelf, "copy") == ["a", "b"]


def test_a_version_stays_as_it_was(call: Call, shelf: UserAppIDSet) -> None:
    (version,) = freeze(call, shelf, DatasetVersion(id="v1", description="first")).dataset_versions
    assert version.status.code == StatusCode.DATASET_VERSION_READY
    counts = version.metrics["/"]
    assert (counts.inputs_count.value, counts.unlabeled_inputs_count.value) == (2, 0)
    assert (counts.positive_input_tags_count.value, counts.bounding_boxes_count.value) == (1, 1)
    before = [("a", ["warm=1", "boat=1"]), ("b", ["warm=0"])]
    assert frozen(call, shelf, "v1") == before
    other = Annotation(id="boat", input_id="a")
    other.data.regions.add().data.concepts.add(id="ship", value=1)
    call("PatchAnnotations", PatchAnnotationsRequest(user_app_id=shelf, annotations=[other], action="overwrite"))
    call("DeleteInputs", DeleteInputsRequest(user_app_id=shelf, ids=["b"]))
    add(call, shelf, "c")
    assert frozen(call, shelf, "v1") == before
    assert frozen(call, shelf, "v1", page=2, per_page=1) == before[1:]
    freeze(call, shelf, DatasetVersion(id="v2"))
    assert [name for name, _ in frozen(call, shelf, "v2")] == ["a", "c"]
    listed = call("ListDatasetVersions", pb.ListDatasetVersionsRequest(user_app_id=shelf, dataset_id="train"))
    assert [one.id for one in listed.dataset_versions] == ["v2", "v1"]
    shown = call("GetDataset", pb.GetDatasetRequest(user_app_id=shelf, dataset_id="train")).dataset
    assert shown.version.id == "v2"
    gone = pb.DeleteDatasetVersionsRequest(user_app_id=shelf, dataset_id="train", dataset_version_ids=["v1"])
    assert call("DeleteDatasetVersions", gone).status.code == OK
    one = pb.GetDatasetVersionRequest(user_app_id=shelf, dataset_id="train", dataset_version_id="v1")
    assert call("GetDatasetVersion", one).status.code == StatusCode.CONN_DOES_NOT_EXIST


def test_a_version_takes_the_annotations_that_pass_a_filter(call: Call, shelf: UserAppIDSet) -> None:
    boats = AnnotationFilter(id="boats")
    boats.search.query.filters.add().annotation.data.concepts.add(id="boat", value=1)
    request = PostAnnotationFiltersRequest(user_app_id=shelf, annotation_filters=[boats])
    assert call("PostAnnotationFilters", request).status.code == OK
    version = DatasetVersion(id="boats")
    version.annotation_filter_config.annotation_filter.id = "boats"
    version.annotation_filter_config.ignore_empty_inputs = True
    freeze(call, shelf, version)
    freeze(call, shelf, version, code=StatusCode.DATABASE_DUPLICATE_KEY)  # as when it is sent again
    assert frozen(call, shelf, "boats") == [("a", ["boat=1"])]
    version.annotation_filter_config.annotation_filter.id = "nowhere"
    version.id = "other"
    freeze(call, shelf, version, code=StatusCode.CONN_INVALID_REQUEST)


def test_a_large_version_is_paged_over_its_parts(call: Call, app: UserAppIDSet) -> None:
    call("PostDatasets", pb.PostDatasetsRequest(user_app_id=app, datasets=[Dataset(id="train")]))
    names = [f"{number:04}" for number in range(1100)]
    for start in range(0, len(names), 128):
        items = [vectored(name, 1.0, 0.0) for name in names[start : start + 128]]
        for item in items:
            item.dataset_ids.append("train")
        assert posted(call, app, items).status.code == OK
    freeze(call, app, DatasetVersion(id="v"))
    found = [name for page in (1, 2, 3, 4) for name, _ in frozen(call, app, "v", page=page, per_page=300)]
    assert found == names


BAD: dict[str, tuple[str, Any, int, str]] = {
    "no dataset": ("PostDatasets", pb.PostDatasetsRequest(), StatusCode.CONN_INVALID_REQUEST, "holds 0 items"),
    "taken": (
        "PostDatasets",
        pb.PostDatasetsRequest(datasets=[Dataset(id="new"), Dataset(id="train")]),
        StatusCode.DATABASE_DUPLICATE_KEY,
        "datasets[1]: the app has a dataset 'train' already",
    ),
    "twice": (
        "PostDatasets",
        pb.PostDatasetsRequest(datasets=[Dataset(id="new"), Dataset(id="new")]),
        StatusCode.CONN_INVALID_REQUEST,
        "datasets[1]: duplicate id 'new'",
    ),
    "no such filter": (
        "PostDatasets",
        pb.PostDatasetsRequest(datasets=[Dataset(default_annotation_filter=AnnotationFilter(id="x"))]),
        StatusCode.CONN_INVALID_REQUEST,
        "datasets[0].default_annotation_filter",
    ),
    "stars": (
        "ListDatasets",
        pb.ListDatasetsRequest(starred_only=True),
        StatusCode.CONN_INVALID_REQUEST,
        "starred_only",
    ),
    "patched but not there": (
        "PatchDatasets",
        pb.PatchDatasetsRequest(datasets=[Dataset(id="x")]),
        StatusCode.CONN_DOES_NOT_EXIST,
        "datasets[0]: Dataset 'x'",
    ),
    "members of nothing": (
        "ListDatasetInputs",
        pb.ListDatasetInputsRequest(dataset_id="x"),
        StatusCode.CONN_DOES_NOT_EXIST,
        "Dataset 'x'",
    ),
    "list and search": (
        "PostDatasetInputs",
        pb.PostDatasetInputsRequest(dataset_id="train", dataset_inputs=[DatasetInput()], search=Search()),
        StatusCode.CONN_INVALID_REQUEST,
        "send one of them",
    ),
    "a search that cannot be run": (
        "PostDatasetInputs",
        pb.PostDatasetInputsRequest(dataset_id="train", search=Search(algorithm="best")),
        StatusCode.SEARCH_INVALID_REQUEST,
        "search.algorithm",
    ),
    "a version of predictions": (
        "PostDatasetVersions",
        pb.PostDatasetVersionsRequest(
            dataset_id="train", dataset_versions=[DatasetVersion(model_predict_config=ModelPredictConfig())]
        ),
        StatusCode.CONN_INVALID_REQUEST,
        "model_predict_config",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_is_refused_and_nothing_is_kept(call: Call, shelf: UserAppIDSet, case: str) -> None:
    rpc, request, code, named = BAD[case]
    request = type(request).FromString(request.SerializeToString())
    request.user_app_id.CopyFrom(shelf)
    answer = call(rpc, request)
    assert (answer.status.code, named in answer.status.details) == (code, True), answer.status
    listed = call("ListDatasets", pb.ListDatasetsRequest(user_app_id=shelf)).datasets
    assert [one.id for one in listed] == ["train"]


def test_an_app_takes_its_datasets_along(call: Call, shelf: UserAppIDSet) -> None:
    freeze(call, shelf, DatasetVersion(id="v"))
    assert call("DeleteApp", DeleteAppRequest(user_app_id=shelf)).status.code == OK
    again = call("ListDatasets", pb.ListDatasetsRequest(user_app_id=shelf))
    assert not again.datasets


def test_the_json_door_serves_datasets(server: Server, call: Call, shelf: UserAppIDSet) -> None:
    url = f"{server.http}/v2/users/{shelf.user_id}/apps/{shelf.app_id}/datasets/train/inputs"
    with urllib.request.urlopen(url, timeout=30) as answer:
        said = json.load(answer)
    assert [item["input"]["id"] for item in said["dataset_inputs"]] == members(call, shelf)
