"""Older searches (`Query.ands`) through a real server, under both service names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from postil.v1.annotation_pb2 import Annotation
from postil.v1.common_pb2 import Pagination, UserAppIDSet
from postil.v1.concept_pb2 import Concept
from postil.v1.data_pb2 import Data
from postil.v1.input_pb2 import Input
from postil.v1.input_service_pb2 import PostInputsRequest
from postil.v1.output_pb2 import Output
from postil.v1.search_pb2 import And, Query, Search
from postil.v1.search_service_pb2 import PostSearchesByIDRequest, PostSearchesRequest
from postil.v1.status_code_pb2 import StatusCode
from postil.v1.status_pb2 import Status
from support.web import WebServer

Call = Callable[..., Any]
SEVERAL = {"west": (-1.0, 0.0), "east": (1.0, 0.0), "north": (0.0, 1.0)}
FROM_EAST = ["east", "north", "west"]


@pytest.fixture
def compass(call: Call, app: UserAppIDSet) -> UserAppIDSet:
    """An app with inputs that are vectors; "east" is labelled, and each says where it is."""
    for name, vector in SEVERAL.items():
        item = Input(id=name)
        item.data.embeddings.add(vector=vector, space="plane")
        item.data.metadata.update({"name": name, "at": {"x": vector[0], "y": vector[1]}})
        item.data.geo.geo_point.latitude, item.data.geo.geo_point.longitude = vector[1], vector[0]
        if name == "east":
            item.data.concepts.add(id="right", value=1)
            item.data.concepts.add(id="left", value=0)
        answer = call("PostInputs", PostInputsRequest(user_app_id=app, inputs=[item]))
        assert answer.status.code == StatusCode.SUCCESS, answer.status
    return app


def found(answer: Any) -> list[str]:
    assert answer.status.code == StatusCode.SUCCESS, answer.status
    return [hit.input.id for hit in answer.hits]


def refused(answer: Any, code: int, *details: str) -> None:
    assert answer.status.code == code, answer.status
    for text in details:
        assert text in answer.status.details


def older(call: Call, app: UserAppIDSet, *ands: And, **page: int) -> Any:
    request = PostSearchesRequest(user_app_id=app, query=Query(ands=ands), pagination=Pagination(**page))
    return call("PostSearches", request)


def output(**fields: Any) -> And:
    return And(output=Output(**fields))


def labelled(**values: float) -> Data:
    return Data(concepts=[Concept(id=name, value=value) for name, value in values.items()])


def about(**metadata: Any) -> Data:
    data = Data()
    data.metadata.update(metadata)
    return data


def around(latitude: float, longitude: float, miles: float) -> Data:
    data = Data()
    data.geo.geo_point.latitude, data.geo.geo_point.longitude = latitude, longitude
    data.geo.geo_limit.type, data.geo.geo_limit.value = "withinMiles", miles
    return data


FILTERED = {
    "label": (And(input=Input(data=labelled(right=1))), ["east"]),
    "label absent": (And(input=Input(data=labelled(left=0))), ["east"]),
    "not labelled": (And(input=Input(data=labelled(right=1)), negate=True), ["west", "north"]),
    "either label": (And(input=Input(data=labelled(right=1, up=1))), ["east"]),
    "id": (And(input=Input(id="north")), ["north"]),
    "any other id": (And(input=Input(id="north"), negate=True), ["west", "east"]),
    "metadata": (And(input=Input(data=about(name="west"))), ["west"]),
    "two keys": (And(input=Input(data=about(name="west", at={"x": -1}))), ["west"]),
    "two keys that disagree": (And(input=Input(data=about(name="west", at={"x": 1}))), []),
    "place": (And(input=Input(data=around(1, 0, 10))), ["north"]),
    "status": (And(input=Input(status=Status(code=StatusCode.INPUT_SUCCESS))), ["west", "east", "north"]),
    "another status": (And(input=Input(status=Status(code=StatusCode.INPUT_PENDING))), []),
    "annotation": (And(annotation=Annotation(data=labelled(right=1))), ["east"]),
}


@pytest.mark.parametrize("name", FILTERED)
def test_older_searches_filter(call: Call, compass: UserAppIDSet, name: str) -> None:
    term, expected = FILTERED[name]
    answer = older(call, compass, term)
    assert found(answer) == expected
    assert {hit.score for hit in answer.hits} <= {1.0}


def test_all_ands_hold(call: Call, compass: UserAppIDSet) -> None:
    near_east = output(input=Input(id="east"))
    not_right = And(input=Input(data=labelled(right=1)), negate=True)
    assert found(older(call, compass, not_right, near_east)) == ["north", "west"]
    assert found(older(call, compass, not_right, And(input=Input(data=around(1, 0, 10))))) == ["north"]
    assert found(older(call, compass, And(input=Input(id="east")), And(input=Input(id="west")))) == []


def test_pictures_are_found_by_the_url_they_were_posted_with(
    call: Call, app: UserAppIDSet, web: WebServer, photos: dict[str, bytes]
) -> None:
    urls = {name: web.serve(f"{name}.jpg", photos[name]) for name in ("cat", "cup")}
    items = [Input(id=name, data=Data()) for name in urls]
    for item in items:
        item.data.image.url = urls[item.id]
    again = Input(id="again", data=items[0].data)
    again.data.image.allow_duplicate_url = True
    request = PostInputsRequest(user_app_id=app, inputs=[*items, again])
    assert call("PostInputs", request).status.code == StatusCode.SUCCESS
    wanted = Input(data=Data())
    wanted.data.image.url = urls["cat"]
    assert sorted(found(older(call, app, And(input=wanted)))) == ["again", "cat"]
    assert found(older(call, app, And(input=wanted, negate=True))) == ["cup"]
    wanted.data.image.url = web.url("none.jpg")
    assert found(older(call, app, And(input=wanted))) == []


def test_older_searches_rank_by_concept_and_by_input(call: Call, compass: UserAppIDSet) -> None:
    concept = output(data=Data(concepts=[Concept(id="right", value=1)]))
    answer = older(call, compass, concept)
    assert found(answer) == FROM_EAST
    assert [round(hit.score, 3) for hit in answer.hits] == [1.0, 0.5, 0.0]
    assert list(answer.query.ands) == [concept]
    assert len(answer.id) == 32
    concept.negate = True
    assert found(older(call, compass, concept)) == ["west", "north", "east"]
    noisy = Input(id="east")
    noisy.data.image.SetInParent()
    assert found(older(call, compass, output(input=noisy), page=1, per_page=2)) == ["east", "north"]


def test_an_older_search_by_picture_does_not_echo_its_bytes(
    call: Call, app: UserAppIDSet, photos: dict[str, bytes]
) -> None:
    items = [Input(id=name, data=Data()) for name in ("cat", "cup")]
    for item in items:
        item.data.image.base64 = photos[item.id]
    assert call("PostInputs", PostInputsRequest(user_app_id=app, inputs=items)).status.code == StatusCode.SUCCESS
    picture = output(input=Input(data=items[1].data))
    answer = older(call, app, picture)
    assert found(answer) == ["cup", "cat"]
    assert answer.hits[0].score == pytest.approx(1.0, abs=1e-3)
    assert answer.ByteSize() < 20_000
    assert answer.query.ands[0].output.input.data.HasField("image")


def test_older_searches_without_conditions_list_inputs(call: Call, compass: UserAppIDSet) -> None:
    answer = call("PostSearches", PostSearchesRequest(user_app_id=compass))
    assert found(answer) == list(SEVERAL)
    assert {hit.score for hit in answer.hits} == {1.0}
    one = PostSearchesRequest(user_app_id=compass, searches=[Search()])
    assert found(call("PostSearches", one)) == list(SEVERAL)


def test_older_searches_are_refused_in_their_own_terms(call: Call, compass: UserAppIDSet) -> None:
    wrong = output(data=Data(concepts=[Concept(id="left", value=1)]))
    refused(older(call, compass, And(), wrong), StatusCode.SEARCH_INVALID_REQUEST, "query.ands[1]: ", "'left'")
    picture = output(input=Input(data=Data()))
    picture.output.input.data.image.url = "http://127.0.0.1:1/none.jpg"
    refused(older(call, compass, picture), StatusCode.INPUT_FAILED, "query.ands[0]")
    refused(older(call, compass, And(negate=True)), StatusCode.SEARCH_INVALID_REQUEST, "query.ands[0] negates nothing")
    deep = older(call, compass, page=101, per_page=100)
    refused(deep, StatusCode.SEARCH_INVALID_REQUEST, "page * perPage cannot exceed")
    both = PostSearchesRequest(user_app_id=compass, query=Query(language="ja"), searches=[Search()])
    refused(call("PostSearches", both), StatusCode.SEARCH_INVALID_REQUEST, "query and searches[]")
    among = PostSearchesRequest(user_app_id=compass, searches=[Search(), Search(query=Query(ands=[wrong]))])
    refused(call("PostSearches", among), StatusCode.SEARCH_INVALID_REQUEST, "searches[1].query.ands[0]")


def test_an_older_search_is_saved_with_its_ands(call: Call, compass: UserAppIDSet) -> None:
    concept = output(data=Data(concepts=[Concept(id="right", value=1)]))
    search = Search(id="old", save=True, query=Query(ands=[concept]))
    request = PostSearchesRequest(user_app_id=compass, searches=[search])
    assert call("PostSearches", request).searches[0].query == search.query
    assert found(call("PostSearchesByID", PostSearchesByIDRequest(user_app_id=compass, id="old"))) == FROM_EAST
    wrong = Search(save=True, query=Query(ands=[And(negate=True)]))
    refused(
        call("PostSearches", PostSearchesRequest(user_app_id=compass, searches=[wrong])),
        StatusCode.SEARCH_INVALID_REQUEST,
        "searches[0].query.ands[0] negates nothing",
    )
