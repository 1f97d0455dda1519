"""What runs by itself on added inputs: the general model's annotation, apart from labels, and ranks by it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from postil.v1.annotation_service_pb2 import (
    DeleteAnnotationsRequest,
    GetAnnotationRequest,
    ListAnnotationsRequest,
    ListAnnotationWorkersRequest,
    PatchAnnotationsRequest,
)
from postil.v1.app_pb2 import App
from postil.v1.app_service_pb2 import PatchAppsRequest, PostAppsRequest
from postil.v1.common_pb2 import UserAppIDSet
from postil.v1.concept_pb2 import Concept
from postil.v1.concept_service_pb2 import GetConceptCountsRequest
from postil.v1.data_pb2 import Data
from postil.v1.input_pb2 import Input
from postil.v1.input_service_pb2 import GetInputRequest, PostInputsRequest
from postil.v1.search_pb2 import Query, Rank, Search
from postil.v1.search_service_pb2 import PostInputsSearchesRequest
from postil.v1.status_code_pb2 import StatusCode
from support.photos import photo
from support.web import WebServer

Call = Callable[..., Any]
PHOTOS = {"coffee": "coffee.png", "chelsea": "chelsea.png", "camera": "camera.png", "rocket": "rocket.jpg"}


def picture(name: str, *labels: Concept) -> Input:
    item = Input(id=name, data=Data(concepts=labels))
    item.data.image.base64 = photo(PHOTOS[name])
    return item


def post(call: Call, app: UserAppIDSet, *items: Input) -> None:
    answer = call("PostInputs", PostInputsRequest(user_app_id=app, inputs=items))
    assert answer.status.code == StatusCode.SUCCESS, answer


def listed(call: Call, app: UserAppIDSet, **wanted: Any) -> list[Any]:
    answer = call("ListAnnotations", ListAnnotationsRequest(user_app_id=app, **wanted))
    assert answer.status.code == StatusCode.SUCCESS, answer
    return list(answer.annotations)


def search(call: Call, app: UserAppIDSet, rank: Rank) -> Any:
    request = PostInputsSearchesRequest(user_app_id=app, searches=[Search(query=Query(ranks=[rank]))])
    return call("PostInputsSearches", request)


def by_concept(**concept: Any) -> Rank:
    rank = Rank()
    rank.annotation.data.concepts.add(value=1, **concept)
    return rank


def by_picture(name: str) -> Rank:
    rank = Rank()
    rank.annotation.data.image.base64 = photo(PHOTOS[name])
    return rank


def test_every_picture_is_annotated_by_the_general_model(call: Call, app: UserAppIDSet) -> None:
    post(call, app, *[picture(name) for name in PHOTOS])
    assert listed(call, app) == []
    said = {one.input_id: one for one in listed(call, app, list_all_annotations=True)}
    assert set(said) == set(PHOTOS)
    assert all(not one.trusted and one.worker.model.model_version.id for one in said.values())
    classes = {
        name: [concept.name for concept in one.data.concepts if concept.id.startswith("n0")]
        for name, one in said.items()
    }
    assert (classes["coffee"][0], classes["camera"][0]) == ("espresso", "tripod")
    values = {concept.id: concept.value for concept in said["chelsea"].data.concepts}
    assert values["animal"] >= values["feline"] >= values["cat"] > 0.8
    for name in PHOTOS:
        stored = call("GetInput", GetInputRequest(user_app_id=app, input_id=name)).input
        assert len(stored.data.concepts) == 0
    assert call("GetConceptCounts", GetConceptCountsRequest(user_app_id=app)).concept_counts == []


@pytest.mark.parametrize(("concept", "best"), [("cat", "chelsea"), ("espresso", "coffee"), ("tripod", "camera")])
def test_ranking_by_a_general_concept(call: Call, app: UserAppIDSet, concept: str, best: str) -> None:
    post(call, app, *[picture(name) for name in PHOTOS])
    for rank in (by_concept(id=concept), by_concept(name=concept), by_concept(name=concept, app_id="main")):
        answer = search(call, app, rank)
        assert answer.status.code == StatusCode.SUCCESS, answer
        assert answer.hits[0].input.id == best
        assert len(answer.hits) == len(PHOTOS)
        assert answer.hits[0].score > 0.8
        assert all(hit.score < 0.2 for hit in answer.hits[1:])


def test_the_models_annotation_is_read_deleted_and_not_rewritten(call: Call, app: UserAppIDSet) -> None:
    post(call, app, picture("chelsea"), picture("coffee"))
    said = next(one for one in listed(call, app, list_all_annotations=True) if one.input_id == "chelsea")
    got = call("GetAnnotation", GetAnnotationRequest(user_app_id=app, input_id="chelsea", annotation_id=said.id))
    assert got.annotation == said
    version = said.model_version_id
    assert len(listed(call, app, model_version_ids=[version])) == 2
    workers = call("ListAnnotationWorkers", ListAnnotationWorkersRequest(user_app_id=app)).workers
    assert version in {worker.model.model_version.id for worker in workers}
    change = PatchAnnotationsRequest(user_app_id=app, annotations=[said], action="merge")
    change.annotations[0].data.concepts.add(id="mine", value=1)
    patched = call("PatchAnnotations", change)
    assert patched.annotations[0].status.code == StatusCode.ANNOTATION_PERMISSION_DENIED
    assert "PostAnnotations" in patched.annotations[0].status.details
    gone = call("DeleteAnnotations", DeleteAnnotationsRequest(user_app_id=app, input_ids=["chelsea"], ids=[said.id]))
    assert gone.status.code == StatusCode.SUCCESS
    assert len(listed(call, app, list_all_annotations=True)) == 1
    ranked = search(call, app, by_concept(id="cat"))
    assert [hit.input.id for hit in ranked.hits if hit.score > 0.1] == []


def test_a_picture_given_by_url_is_annotated_as_well(call: Call, app: UserAppIDSet, web: WebServer) -> None:
    item = Input(id="chelsea")
    item.data.image.url = web.serve("chelsea.png", photo("chelsea.png"))
    post(call, app, item)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        state = call("GetInput", GetInputRequest(user_app_id=app, input_id="chelsea")).input.status.code
        if state != StatusCode.INPUT_PENDING:
            break
        time.sleep(0.05)
    assert state == StatusCode.INPUT_SUCCESS
    said = listed(call, app, list_all_annotations=True)
    assert [one.input_id for one in said] == ["chelsea"]
    assert "cat" in {concept.id for concept in said[0].data.concepts}


def new_app(call: Call, app: UserAppIDSet, workflow: str) -> Any:
    return call("PostApps", PostAppsRequest(apps=[App(id=app.app_id, default_workflow_id=workflow)]))


def test_an_app_with_the_empty_workflow_is_not_indexed(call: Call, app: UserAppIDSet) -> None:
    assert new_app(call, app, "Empty").status.code == StatusCode.SUCCESS
    post(call, app, picture("chelsea", Concept(id="pet", value=1)), picture("coffee"))
    assert [one.data.concepts[0].id for one in listed(call, app, list_all_annotations=True)] == ["pet"]
    answer = search(call, app, by_picture("chelsea"))
    assert answer.status.code == StatusCode.SEARCH_PREDICTION_FAILURE
    assert "'Empty'" in answer.status.details
    assert [hit.input.id for hit in search(call, app, by_concept(id="pet")).hits] == ["chelsea"]
    assert search(call, app, by_concept(id="cat")).status.code == StatusCode.SEARCH_INVALID_REQUEST


def test_the_workflow_of_an_app_can_be_changed(call: Call, app: UserAppIDSet) -> None:
    new_app(call, app, "Empty")
    post(call, app, picture("coffee"))
    changed = call(
        "PatchApps", PatchAppsRequest(apps=[App(id=app.app_id, default_workflow_id="General")], action="merge")
    )
    assert changed.status.code == StatusCode.SUCCESS, changed
    post(call, app, picture("chelsea"))
    assert [one.input_id for one in listed(call, app, list_all_annotations=True)] == ["chelsea"]
    assert [hit.input.id for hit in search(call, app, by_picture("chelsea")).hits] == ["chelsea"]


def test_an_unknown_workflow_is_refused(call: Call, app: UserAppIDSet) -> None:
    answer = new_app(call, app, "Face")
    assert answer.status.code == StatusCode.WORKFLOW_DOES_NOT_EXIST
    assert "'General'" in answer.status.details
