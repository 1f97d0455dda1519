"""Filters and mixed ranks through a real server, in the forms that the published clients send."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from postil.v1.annotation_pb2 import Annotation
from postil.v1.annotation_service_pb2 import PostAnnotationsRequest
from postil.v1.common_pb2 import UserAppIDSet
from postil.v1.concept_pb2 import Concept
from postil.v1.data_pb2 import BoundingBox, Data, Region, RegionInfo
from postil.v1.input_pb2 import Input
from postil.v1.input_service_pb2 import DeleteInputRequest, GetInputRequest, PostInputsRequest
from postil.v1.search_pb2 import Filter, Query, Rank, Search
from postil.v1.search_service_pb2 import PostAnnotationsSearchesRequest, PostInputsSearchesRequest
from postil.v1.status_code_pb2 import StatusCode

Call = Callable[..., Any]
Find = Callable[..., list[str]]

PLACES = {"paris": (48.86, 2.35), "rome": (41.9, 12.5), "tokyo": (35.68, 139.69)}


def vectored(input_id: str, *vector: float, **labels: float) -> Input:
    item = Input(id=input_id)
    item.data.embeddings.add(vector=vector)
    item.data.concepts.extend(Concept(id=name, value=value) for name, value in labels.items())
    return item


@pytest.fixture
def shelf(call: Call, app: UserAppIDSet) -> UserAppIDSet:
    """Three places with labels and metadata, a text, and a box on one of them."""
    items = [
        vectored("paris", 1, 0, 0, city=1, river=1),
        vectored("rome", 0.9, 0.1, 0, city=1, river=0),
        vectored("tokyo", 0, 1, 0, city=1, sea=1),
        Input(id="note", data=Data()),
    ]
    for item in items[:3]:
        item.data.geo.geo_point.latitude, item.data.geo.geo_point.longitude = PLACES[item.id]
    items[0].data.metadata.update({"from": "a", "tags": ["x", "y"], "deep": {"n": 1}})
    items[1].data.metadata.update({"from": "b", "tags": ["y"]})
    items[3].data.text.raw = "a river runs through it"
    assert call("PostInputs", PostInputsRequest(user_app_id=app, inputs=items)).status.code == StatusCode.SUCCESS
    box = RegionInfo(bounding_box=BoundingBox(top_row=0.1, left_col=0.1, bottom_row=0.5, right_col=0.5))
    boat = Annotation(input_id="tokyo", data=Data(regions=[Region(region_info=box)]))
    boat.data.regions[0].data.concepts.add(id="boat", value=1)
    posted = call("PostAnnotations", PostAnnotationsRequest(user_app_id=app, annotations=[boat]))
    assert posted.status.code == StatusCode.SUCCESS
    return app


@pytest.fixture
def inputs(call: Call, shelf: UserAppIDSet) -> Find:
    """The ids that PostInputsSearches finds."""

    def find(*filters: Filter, ranks: tuple[Rank, ...] = (), code: int = StatusCode.SUCCESS, **search: Any) -> Any:
        query = Query(filters=filters, ranks=ranks)
        request = PostInputsSearchesRequest(user_app_id=shelf, searches=[Search(query=query, **search)])
        answer = call("PostInputsSearches", request)
        assert answer.status.code == code, answer.status
        return [hit.input.id for hit in answer.hits] if code == StatusCode.SUCCESS else answer.status.details

    return find


def labelled(*names: str, negate: bool = False, value: float = 1.0) -> Filter:
    concepts = [Concept(id=name, value=value) for name in names]
    return Filter(negate=negate, annotation=Annotation(data=Data(concepts=concepts)))


def near(*vector: float) -> Rank:
    rank = Rank()
    rank.annotation.data.embeddings.add(vector=vector)
    return rank


def showing(name: str, value: float = 1.0) -> Rank:
    return Rank(annotation=Annotation(data=Data(concepts=[Concept(id=name, value=value)])))


def with_metadata(values: dict[str, Any]) -> Filter:
    one = Filter()
    one.annotation.data.metadata.update(values)
    return one


def test_one_empty_rank_and_one_empty_filter_ask_for_nothing(inputs: Find) -> None:
    empty = Filter(annotation=Annotation(), input=Input())
    assert inputs(empty, ranks=(Rank(annotation=Annotation()),)) == ["paris", "rome", "tokyo", "note"]


def test_concepts_in_one_filter_are_alternatives_and_filters_must_all_hold(inputs: Find) -> None:
    assert inputs(labelled("river", "sea")) == ["paris", "tokyo"]
    assert inputs(labelled("city"), labelled("river")) == ["paris"]
    assert inputs(labelled("city"), labelled("boat")) == ["tokyo"]  # by two annotations of it
    assert inputs(labelled("city"), labelled("never")) == []


def test_labelled_absent_and_not_labelled(inputs: Find) -> None:
    assert inputs(labelled("river", value=0)) == ["rome"]
    assert inputs(labelled("river", negate=True)) == ["rome", "tokyo", "note"]
    assert inputs(labelled("river", value=0, negate=True)) == ["rome", "tokyo", "note"]  # as samples send it
    assert inputs(labelled("city"), labelled("river", negate=True)) == ["rome", "tokyo"]


def test_two_concepts_on_two_annotations_are_not_one_annotation(call: Call, shelf: UserAppIDSet) -> None:
    def found(*filters: Filter) -> list[str]:
        query = Query(filters=filters)
        request = PostAnnotationsSearchesRequest(user_app_id=shelf, searches=[Search(query=query)])
        return [hit.input.id for hit in call("PostAnnotationsSearches", request).hits]

    assert found(labelled("city"), labelled("boat")) == []
    assert found(labelled("boat")) == ["tokyo"]
    box = Filter(annotation=Annotation(data=Data(regions=[Region(region_info=RegionInfo(bounding_box=BoundingBox()))])))
    assert found(box) == ["tokyo"]
    assert len(found(Filter(annotation=Annotation(data=Data())))) == 4  # all but the box
    assert len(found()) == 5


def test_media_are_alternatives_with_the_other_parts_of_an_input(inputs: Find) -> None:
    text, moving = Filter(), Filter()
    text.input.data.text.SetInParent()
    moving.input.data.video.SetInParent()
    assert inputs(text) == ["note"]
    assert inputs(moving) == []
    moving.input.data.text.SetInParent()
    assert inputs(moving) == ["note"]
    moving.input.status.code = StatusCode.INPUT_SUCCESS
    assert inputs(moving) == ["paris", "rome", "tokyo", "note"]


def test_metadata_is_contained(inputs: Find) -> None:
    assert inputs(with_metadata({"from": "a"})) == ["paris"]
    assert inputs(with_metadata({"from": "a", "tags": ["y"]})) == ["paris", "rome"]  # any of the keys
    assert inputs(with_metadata({"tags": ["y", "x"]})) == ["paris"]
    assert inputs(with_metadata({"deep": {"n": 1}})) == ["paris"]
    assert inputs(with_metadata({"deep": {"n": "1"}})) == []


@pytest.mark.parametrize(
    ("kind", "value", "found"),
    [
        ("withinKilometers", 10, ["paris"]),
        ("withinKilometers", 1200, ["paris", "rome"]),
        ("withinMiles", 700, ["paris", "rome"]),
        ("withinDegrees", 5, ["paris"]),
        ("withinRadians", 2, ["paris", "rome", "tokyo"]),
    ],
)
def test_places_within_a_distance(inputs: Find, kind: str, value: float, found: list[str]) -> None:
    one = Filter()
    geo = one.annotation.data.geo
    geo.geo_point.latitude, geo.geo_point.longitude = PLACES["paris"]
    geo.geo_limit.type, geo.geo_limit.value = kind, value
    assert inputs(one) == found


def test_places_in_a_box_whose_corners_come_in_any_order(inputs: Find) -> None:
    one = Filter()
    for latitude, longitude in ((50, 0), (40, 13)):
        point = one.annotation.data.geo.geo_box.add().geo_point
        point.latitude, point.longitude = latitude, longitude
    assert inputs(one) == ["paris", "rome"]


def test_a_filter_comes_before_the_rank(inputs: Find) -> None:
    assert inputs(labelled("sea"), ranks=(near(1, 0, 0),)) == ["tokyo"]
    assert inputs(labelled("river", negate=True), ranks=(near(1, 0, 0),)) == ["rome", "tokyo"]


def test_ranks_are_mixed(inputs: Find) -> None:
    assert inputs(ranks=(near(0, 1, 0), showing("river"))) == ["paris", "tokyo", "rome"]
    assert inputs(ranks=(near(0, 1, 0), showing("sea"))) == ["tokyo", "rome", "paris"]
    both = Rank(annotation=Annotation(data=Data(concepts=[Concept(id="city", value=1), Concept(id="sea", value=0)])))
    assert inputs(ranks=(both,))[-1] == "tokyo"


def test_counts_and_debug(call: Call, shelf: UserAppIDSet) -> None:
    search = Search(query=Query(filters=[labelled("city")], ranks=[near(1, 0, 0)]), debug=True)
    request = PostInputsSearchesRequest(user_app_id=shelf, searches=[search, Search()], only_count=True)
    counted = call("PostInputsSearches", request)
    assert [count.estimated_total for count in counted.hit_counts] == [3, 4]
    assert not counted.hits
    request.only_count = False
    told = call("PostInputsSearches", request).debug
    assert [(one.plan, list(one.walks), one.matching) for one in told] == [("scan", ["gather"], 3)]
    assert sum(step.micros for step in told[0].steps) > 0


def test_the_next_search_sees_a_label_and_a_deletion(call: Call, shelf: UserAppIDSet, inputs: Find) -> None:
    boat = Annotation(input_id="rome", data=Data(concepts=[Concept(id="boat", value=1)]))
    call("PostAnnotations", PostAnnotationsRequest(user_app_id=shelf, annotations=[boat]))
    assert inputs(labelled("boat")) == ["rome", "tokyo"]
    call("DeleteInput", DeleteInputRequest(user_app_id=shelf, input_id="tokyo"))
    assert inputs(labelled("boat")) == ["rome"]
    assert inputs(labelled("boat"), ranks=(near(0, 1, 0),)) == ["rome"]


def test_the_past(call: Call, shelf: UserAppIDSet, inputs: Find) -> None:
    then = call("GetInput", GetInputRequest(user_app_id=shelf, input_id="note")).input.created_at
    call("PostInputs", PostInputsRequest(user_app_id=shelf, inputs=[vectored("oslo", 1, 0, 0)]))
    assert inputs(as_of=then) == ["paris", "rome", "tokyo", "note"]
    assert inputs(ranks=(near(1, 0, 0),), as_of=then) == ["paris", "rome", "tokyo"]
    assert "oslo" in inputs(ranks=(near(1, 0, 0),))


def off_the_globe() -> Filter:
    one = Filter()
    one.annotation.data.geo.geo_point.latitude = 91
    one.annotation.data.geo.geo_limit.type = "withinMiles"
    return one


def without_limit() -> Filter:
    one = Filter()
    one.annotation.data.geo.geo_point.latitude = 1
    return one


@pytest.mark.parametrize(
    ("bad", "named"),
    [
        (Filter(input=Input(dataset_ids=["d"])), "filters[0].input.dataset_ids"),
        (off_the_globe(), "geo_point.latitude is 91"),
        (without_limit(), "geo_limit is missing"),
        (labelled("city", value=0.5), "concepts[0].value is 0.5"),
        (Filter(annotation=Annotation(data=Data(regions=[Region(id="r")]))), "regions[0]"),
    ],
)
def test_what_cannot_be_asked_is_refused_by_name(inputs: Find, bad: Filter, named: str) -> None:
    assert named in inputs(bad, code=StatusCode.SEARCH_INVALID_REQUEST)


def test_what_is_no_time_is_refused_by_name(inputs: Find) -> None:
    beyond = Filter()
    beyond.last_updated_time_range.end_time.seconds = 1 << 60
    assert "last_updated_time_range.end_time" in inputs(beyond, code=StatusCode.SEARCH_INVALID_REQUEST)
    assert "as_of" in inputs(as_of=Timestamp(nanos=-1), code=StatusCode.SEARCH_INVALID_REQUEST)
