"""Feedback through a real server, under both service names: clicks, predictions, listing, taking it back."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from postil.v1.annotation_service_pb2 import ListAnnotationsRequest
from postil.v1.app_pb2 import App
from postil.v1.app_service_pb2 import PatchAppsRequest
from postil.v1.common_pb2 import Learning, TimeRange, UserAppIDSet
from postil.v1.data_pb2 import BoundingBox, Data, Embedding, Region, RegionInfo, RegionInfoFeedback
from postil.v1.feedback_service_pb2 import (
    DeleteFeedbackRequest,
    GetSearchQualityRequest,
    ListFeedbackRequest,
    PostModelFeedbackRequest,
    PostSearchFeedbackRequest,
)
from postil.v1.input_pb2 import EventType, FeedbackInfo, Input
from postil.v1.input_service_pb2 import PostInputsRequest
from postil.v1.search_pb2 import Query, Rank, Search
from postil.v1.search_service_pb2 import PostInputsSearchesRequest
from postil.v1.status_code_pb2 import StatusCode
from support.server import NAMES, OWN, Server

Call = Callable[..., Any]
GENERAL = "aaa03c23b3724a16a56b629203edc62c"
VECTORS = np.random.default_rng(7).standard_normal((60, 12)).astype(np.float32)


def fill(call: Call, app: UserAppIDSet) -> None:
    items = [Input(id=f"i{n}", data=Data(embeddings=[Embedding(vector=row)])) for n, row in enumerate(VECTORS)]
    assert call("PostInputs", PostInputsRequest(user_app_id=app, inputs=items)).status.code == StatusCode.SUCCESS


def search(call: Call, app: UserAppIDSet, query: Any = VECTORS[0], per_page: int = 10, **fields: Any) -> Any:
    rank = Rank()
    rank.annotation.data.embeddings.add(vector=query)
    one = Search(query=Query(ranks=[rank]), metric=Search.COSINE_DISTANCE, **fields)
    request = PostInputsSearchesRequest(user_app_id=app, searches=[one])
    request.pagination.per_page = per_page
    answer = call("PostInputsSearches", request)
    assert answer.status.code == StatusCode.SUCCESS, answer.status
    return answer


def ranking(answer: Any) -> list[tuple[str, float]]:
    return [(hit.input.id, hit.score) for hit in answer.hits]


def click(call: Call, app: UserAppIDSet, search_id: str, input_id: str, **info: Any) -> Any:
    given = Input(
        id=input_id, feedback_info=FeedbackInfo(event_type=EventType.search_click, search_id=search_id, **info)
    )
    return call("PostSearchFeedback", PostSearchFeedbackRequest(user_app_id=app, input=given))


def say(call: Call, app: UserAppIDSet, data: Data, *, input_id: str = "i0", model: str = GENERAL, **info: Any) -> Any:
    info = {"event_type": "annotation", "output_id": "made-up", **info}
    given = Input(id=input_id, data=data, feedback_info=FeedbackInfo(**info))
    return call("PostModelFeedback", PostModelFeedbackRequest(user_app_id=app, model_id=model, input=given))


def listed(call: Call, app: UserAppIDSet, **conditions: Any) -> list[Any]:
    answer = call("ListFeedback", ListFeedbackRequest(user_app_id=app, **conditions))
    assert answer.status.code == StatusCode.SUCCESS, answer.status
    return list(answer.feedback)


def take_back(call: Call, app: UserAppIDSet, **which: Any) -> None:
    answer = call("DeleteFeedback", DeleteFeedbackRequest(user_app_id=app, **which))
    assert answer.status.code == StatusCode.SUCCESS, answer.status


def test_the_very_next_search_has_learned_and_forgets_exactly(call: Call, app: UserAppIDSet) -> None:
    fill(call, app)
    first = search(call, app)
    chosen = first.hits[6].input.id
    answer = click(call, app, first.id, chosen)
    assert (answer.status.code, answer.status.description) == (StatusCode.SUCCESS, "Ok")
    learned = search(call, app)
    position = [hit.input.id for hit in learned.hits].index(chosen)
    assert position < 6
    assert learned.hits[position].learned > 0.05
    assert all(hit.learned == 0.0 for hit in first.hits)
    assert all(0.0 <= hit.score <= 1.0 for hit in learned.hits)
    assert ranking(search(call, app, learning=Learning.LEARNING_OFF)) == ranking(first)
    (event,) = listed(call, app)
    assert (event.matched, event.position, event.input.id) == (True, 7, chosen)
    take_back(call, app, ids=[event.id, "not-there"])
    assert ranking(search(call, app)) == ranking(first)
    assert listed(call, app) == []


def test_what_learning_added_is_what_it_changed(call: Call, app: UserAppIDSet) -> None:
    fill(call, app)
    everything = dict(ranking(search(call, app, per_page=60)))
    click(call, app, search(call, app).id, search(call, app).hits[4].input.id)
    for hit in search(call, app, per_page=60).hits:
        assert hit.score - hit.learned == pytest.approx(everything[hit.input.id], abs=1e-5)


def test_pages_of_a_learned_search_fit_together(call: Call, app: UserAppIDSet) -> None:
    fill(call, app)
    first = search(call, app)
    click(call, app, first.id, first.hits[5].input.id)
    whole = ranking(search(call, app, per_page=20))
    request = PostInputsSearchesRequest(user_app_id=app)
    rank = Rank()
    rank.annotation.data.embeddings.add(vector=VECTORS[0])
    request.searches.add(query=Query(ranks=[rank]), metric=Search.COSINE_DISTANCE)
    request.pagination.page, request.pagination.per_page = 2, 10
    assert ranking(call("PostInputsSearches", request)) == whole[10:]


def test_unrelated_queries_and_other_apps_do_not_move(call: Call, app: UserAppIDSet) -> None:
    other = UserAppIDSet(user_id="me", app_id=f"{app.app_id}-other")
    fill(call, app)
    fill(call, other)
    before = [ranking(search(call, app, query)) for query in VECTORS[1:6]]
    first = search(call, app)
    click(call, app, first.id, first.hits[5].input.id)
    assert [ranking(search(call, app, query)) for query in VECTORS[1:6]] == before
    assert ranking(search(call, other)) == ranking(first)
    assert ranking(search(call, app, VECTORS[0] * 3 + 0.01)) != ranking(first)


def test_one_person_may_learn_alone(call: Call, app: UserAppIDSet) -> None:
    fill(call, app)
    alone = {"learning": Learning.LEARNING_FROM_END_USER}
    first = search(call, app)
    click(call, app, first.id, first.hits[5].input.id, end_user_id="ann")
    assert ranking(search(call, app, end_user_id="bob", **alone)) == ranking(first)
    assert ranking(search(call, app, **alone)) == ranking(first)
    assert ranking(search(call, app, end_user_id="ann", **alone)) == ranking(search(call, app)) != ranking(first)
    take_back(call, app, end_user_id="ann")
    assert ranking(search(call, app, end_user_id="ann", **alone)) == ranking(first)


def test_an_app_may_be_told_not_to_learn(call: Call, app: UserAppIDSet) -> None:
    fill(call, app)
    first = search(call, app)
    click(call, app, first.id, first.hits[5].input.id)
    learned = ranking(search(call, app))
    for mode, expected in ((Learning.LEARNING_OFF, ranking(first)), (Learning.LEARNING_FROM_ALL, learned)):
        request = PatchAppsRequest(user_app_id=app, action="overwrite", apps=[App(id=app.app_id, learning=mode)])
        assert call("PatchApps", request).status.code == StatusCode.SUCCESS
        assert ranking(search(call, app)) == expected
    assert ranking(search(call, app, learning=Learning.LEARNING_OFF)) == ranking(first)


def test_made_up_ids_are_taken_and_kept_as_unmatched(call: Call, app: UserAppIDSet) -> None:
    fill(call, app)
    real = search(call, app)
    assert click(call, app, "nobody-knows", "i1", end_user_id="e", session_id="s").status.code == StatusCode.SUCCESS
    assert click(call, app, real.id, "not-shown").status.code == StatusCode.SUCCESS
    assert say(call, app, Data(), input_id="made-up-input").status.code == StatusCode.SUCCESS
    events = listed(call, app)
    assert [event.matched for event in events] == [False, False, False]
    assert listed(call, app, matched={"value": True}) == []
    info = events[0].input.feedback_info
    assert (info.end_user_id, info.session_id, info.search_id) == ("e", "s", "nobody-knows")
    assert ranking(search(call, app)) == ranking(real)


def test_listing_filters_and_pages(call: Call, app: UserAppIDSet) -> None:
    fill(call, app)
    real = search(call, app)
    for name in ("i3", "i4"):
        click(call, app, real.id, name, end_user_id=name, session_id="s")
    say(call, app, Data(), output_id="o")
    assert [event.input.id for event in listed(call, app)] == ["i3", "i4", "i0"]
    assert [event.input.id for event in listed(call, app, event_type="search_click")] == ["i3", "i4"]
    assert [event.input.id for event in listed(call, app, end_user_id="i4")] == ["i4"]
    assert [event.input.id for event in listed(call, app, session_id="s", per_page=1, page=2)] == ["i4"]
    assert [event.input.id for event in listed(call, app, search_id=real.id, input_id="i3")] == ["i3"]
    assert [event.model_id for event in listed(call, app, model_id=GENERAL)] == [GENERAL]
    assert [event.input.id for event in listed(call, app, output_id="o")] == ["i0"]
    assert listed(call, app, output_id="o", search_id=real.id) == []
    future = TimeRange()
    future.start_time.FromSeconds(4_000_000_000)
    assert listed(call, app, time_range=future) == []
    future.end_time.FromSeconds(1)
    answer = call("ListFeedback", ListFeedbackRequest(user_app_id=app, time_range=future))
    assert answer.status.code == StatusCode.SEARCH_INVALID_REQUEST


BAD_CLICKS: list[tuple[dict[str, Any], str]] = [
    ({"search_id": "s"}, "event_type is missing"),
    ({"event_type": "annotation", "search_id": "s"}, "does not fit"),
    ({"event_type": 9, "search_id": "s"}, "does not fit"),
    ({"event_type": "search_click"}, "search_id is missing"),
    ({"event_type": "search_click", "search_id": "s" * 257}, "257 characters"),
]


@pytest.mark.parametrize(("info", "why"), BAD_CLICKS)
def test_a_bad_click_is_refused(call: Call, app: UserAppIDSet, info: dict[str, Any], why: str) -> None:
    request = PostSearchFeedbackRequest(user_app_id=app, input=Input(id="i", feedback_info=FeedbackInfo(**info)))
    status = call("PostSearchFeedback", request).status
    assert status.code == StatusCode.SEARCH_INVALID_REQUEST
    assert why in status.details
    assert listed(call, app) == []


def test_a_click_on_nothing_is_refused(call: Call, app: UserAppIDSet) -> None:
    status = click(call, app, "s", "").status
    assert (status.code, "input.id" in status.details) == (StatusCode.SEARCH_INVALID_REQUEST, True)


def test_bad_feedback_on_a_prediction_is_refused(call: Call, app: UserAppIDSet) -> None:
    both = Data()
    both.concepts.add(id="cat", value=1)
    both.concepts.add(id="cat", value=0)
    region = Data(regions=[Region(data=both)])
    wide = Data()
    wide.concepts.add(id="cat", value=7)
    inside_out = Data(regions=[Region(region_info=RegionInfo(bounding_box=BoundingBox(top_row=0.9, bottom_row=0.1)))])
    for data in (both, region, wide, inside_out):
        assert say(call, app, data).status.code == StatusCode.PREDICT_INVALID_REQUEST
    for info in ({"event_type": 0}, {"event_type": "search_click"}, {"output_id": ""}):
        assert say(call, app, Data(), **info).status.code == StatusCode.PREDICT_INVALID_REQUEST
    assert say(call, app, Data(), input_id="").status.code == StatusCode.PREDICT_INVALID_REQUEST
    assert say(call, app, Data(), model="no-such-model").status.code == StatusCode.MODEL_DOES_NOT_EXIST
    assert listed(call, app) == []


def test_taking_back_needs_to_know_what(call: Call, app: UserAppIDSet) -> None:
    for which in ({}, {"ids": ["a"], "end_user_id": "b"}, {"ids": ["a"] * 1001}):
        answer = call("DeleteFeedback", DeleteFeedbackRequest(user_app_id=app, **which))
        assert answer.status.code == StatusCode.CONN_INVALID_REQUEST


def box(top: float, feedback: str, *labels: tuple[str, float]) -> Region:
    region = Region(region_info=RegionInfo(feedback=RegionInfoFeedback.Value(feedback)))
    region.region_info.bounding_box.CopyFrom(BoundingBox(top_row=top, left_col=0.1, bottom_row=0.9, right_col=0.5))
    for name, value in labels:
        region.data.concepts.add(id=name, value=value)
    return region


def test_feedback_on_a_prediction_becomes_pending_labels(call: Call, app: UserAppIDSet) -> None:
    fill(call, app)
    data = Data(
        regions=[
            box(0.1, "accurate", ("dog", 1)),
            box(0.2, "misplaced", ("dog", 1)),
            box(0.3, "not_detected", ("ball", 1)),
            box(0.4, "false_positive", ("tree", 1)),
        ]
    )
    data.concepts.add(id="park", value=1)
    data.concepts.add(id="indoors", value=0)
    assert say(call, app, data, end_user_id="ann").status.code == StatusCode.SUCCESS
    (event,) = listed(call, app)
    assert [one.region_info.feedback for one in event.input.data.regions] == [0, 1, 2, 3]
    request = ListAnnotationsRequest(user_app_id=app, input_ids=["i0"])
    made = list(call("ListAnnotations", request).annotations)
    assert {one.id for one in made} == set(event.annotation_ids)
    assert {one.status.code for one in made} == {StatusCode.ANNOTATION_PENDING}
    assert {one.user_id for one in made} == {"ann"}
    whole = [{concept.id: concept.value for concept in one.data.concepts} for one in made if one.data.concepts]
    assert whole == [{"park": 1.0, "indoors": 0.0}]
    regions = [region for one in made for region in one.data.regions]
    said = [(r.region_info.bounding_box.top_row, r.data.concepts[0].id, r.data.concepts[0].value) for r in regions]
    expected = [(0.1, "dog", 1.0), (0.2, "dog", 1.0), (0.3, "ball", 1.0), (0.4, "tree", 0.0)]
    assert [(round(top, 1), name, value) for top, name, value in sorted(said)] == expected
    take_back(call, app, end_user_id="ann")
    assert list(call("ListAnnotations", request).annotations) == []


def test_what_people_say_corrects_a_predicted_concept(call: Call, app: UserAppIDSet, photos: dict[str, bytes]) -> None:
    items = []
    for name in ("cat", "rocket"):
        items.append(Input(id=name))
        items[-1].data.image.base64 = photos[name]
    assert call("PostInputs", PostInputsRequest(user_app_id=app, inputs=items)).status.code == StatusCode.SUCCESS
    rank = Rank()
    rank.annotation.data.concepts.add(id="cat", value=1)
    asked = PostInputsSearchesRequest(user_app_id=app, searches=[Search(query=Query(ranks=[rank]))])

    def found() -> list[tuple[str, float]]:
        return ranking(call("PostInputsSearches", asked))

    before = found()
    assert before[0][0] == "cat"
    assert before[0][1] > 0.5
    no, yes = Data(), Data()
    no.concepts.add(id="cat", value=0)
    yes.concepts.add(id="cat", value=1)
    say(call, app, no, input_id="cat", end_user_id="ann")
    assert ("cat", 0.0) in found()
    say(call, app, yes, input_id="rocket", end_user_id="ann")
    assert found()[0] == ("rocket", 1.0)
    take_back(call, app, end_user_id="ann")
    assert found() == before


def test_search_quality_counts_and_judges(call: Call, app: UserAppIDSet) -> None:
    fill(call, app)
    for at, user in ((4, "ann"), (7, "bob")):
        found = search(call, app, end_user_id=user, learning=Learning.LEARNING_OFF)
        click(call, app, found.id, found.hits[at].input.id, end_user_id=user)
    request = GetSearchQualityRequest(user_app_id=app, by_end_user=True, by_query_family=True)
    answer = call("GetSearchQuality", request)
    assert answer.status.code == StatusCode.SUCCESS
    total = answer.total
    assert (total.clicks, total.clicked_searches, total.judged) == (2, 2, 1)
    assert total.wins + total.ties + total.losses == 1
    assert total.mean_reciprocal_rank == pytest.approx((1 / 5 + 1 / 8) / 2)
    assert {user.name for user in answer.end_users} >= {"ann", "bob"}
    (family,) = answer.families
    assert (family.clicks, family.judged) == (2, 1)


def test_feedback_outlives_a_kill(start_server: Callable[..., Server], app: UserAppIDSet) -> None:
    server = start_server()

    def call(rpc: str, request: Any) -> Any:
        return server.call(OWN, rpc, request)

    fill(call, app)
    first = search(call, app)
    click(call, app, first.id, first.hits[6].input.id, end_user_id="ann")
    server.kill9()
    (event,) = listed(call, app)
    assert (event.matched, event.position) == (True, 7)
    learned = search(call, app)
    assert ranking(learned) != ranking(first)
    take_back(call, app, ids=[event.id])
    assert ranking(search(call, app)) == ranking(first)


def test_a_search_from_before_a_restart_can_be_learned_from(
    start_server: Callable[..., Server], app: UserAppIDSet
) -> None:
    server = start_server()

    def call(rpc: str, request: Any) -> Any:
        return server.call(OWN, rpc, request)

    fill(call, app)
    first = search(call, app)
    server.restart()
    click(call, app, first.id, first.hits[6].input.id)
    assert listed(call, app)[0].matched
    assert ranking(search(call, app)) != ranking(first)


def test_over_http_as_the_published_samples_send_it(server: Server, app: UserAppIDSet) -> None:
    def call(rpc: str, request: Any) -> Any:
        return server.call(NAMES[1], rpc, request)

    fill(call, app)
    found = search(call, app)

    def send(path: str, body: dict[str, Any]) -> tuple[int, Any]:
        request = urllib.request.Request(
            f"{server.http}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}, method="POST"
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as reply:
                return reply.status, json.load(reply)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    info = {"event_type": "search_click", "search_id": found.id, "end_user_id": "e", "session_id": "s"}
    place = {"user_app_id": {"user_id": "me", "app_id": app.app_id}}
    status, body = send(
        "/v2/searches/feedback", {**place, "input": {"id": found.hits[3].input.id, "feedback_info": info}}
    )
    assert (status, body["status"]["code"], body["status"]["description"]) == (200, 10000, "Ok")
    said = {
        "id": "i2",
        "data": {
            "image": {"url": "https://samples.clarifai.com/dog.tiff"},
            "concepts": [{"id": "ai_8S2Vq3cR", "value": True}, {"id": "ai_mFqxrph2", "value": False}],
        },
        "feedback_info": {"event_type": "annotation", "output_id": "o"},
    }
    status, body = send(f"/v2/models/{GENERAL}/feedback", {**place, "input": said})
    assert (status, body["status"]["code"]) == (200, 10000)
    kept = listed(call, app)
    assert [event.matched for event in kept] == [True, False]
    assert {concept.id: concept.value for concept in kept[1].input.data.concepts} == {
        "ai_8S2Vq3cR": 1.0,
        "ai_mFqxrph2": 0.0,
    }
    status, body = send("/v2/searches/feedback", {**place, "input": {"id": "i2", "feedback_info": {}}})
    assert (status, body["status"]["code"]) == (400, 40002)
