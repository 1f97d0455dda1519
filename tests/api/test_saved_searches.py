"""Saved searches, older searches, annotation filters and replays through a real server, under both service names."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from postil.v1.annotation_pb2 import Annotation
from postil.v1.common_pb2 import Pagination, UserAppIDSet
from postil.v1.concept_pb2 import Concept
from postil.v1.data_pb2 import Data
from postil.v1.input_pb2 import Input
from postil.v1.input_service_pb2 import PostInputsRequest
from postil.v1.search_pb2 import And, AnnotationFilter, Filter, Query, Rank, Search
from postil.v1.search_service_pb2 import (
    DeleteAnnotationFiltersRequest,
    DeleteSearchRequest,
    GetAnnotationFilterRequest,
    GetSearchRequest,
    ListAnnotationFiltersRequest,
    ListSearchesRequest,
    PatchAnnotationFiltersRequest,
    PatchAnnotationsSearchesRequest,
    PatchInputsSearchesRequest,
    PatchSearchesRequest,
    PostAnnotationFiltersRequest,
    PostAnnotationsSearchesRequest,
    PostInputsSearchesRequest,
    PostSearchesByIDRequest,
    PostSearchesRequest,
)
from postil.v1.status_code_pb2 import StatusCode

Call = Callable[..., Any]
SEVERAL = {"west": (-1.0, 0.0), "east": (1.0, 0.0), "north": (0.0, 1.0)}
FROM_EAST = ["east", "north", "west"]


@pytest.fixture
def compass(call: Call, app: UserAppIDSet) -> UserAppIDSet:
    """An app with inputs that are vectors; "east" is labelled."""
    inputs = []
    for name, vector in SEVERAL.items():
        item = Input(id=name)
        item.data.embeddings.add(vector=vector, space="plane")
        inputs.append(item)
    inputs[1].data.concepts.add(id="right", value=1)
    answer = call("PostInputs", PostInputsRequest(user_app_id=app, inputs=inputs))
    assert answer.status.code == StatusCode.SUCCESS, answer.status
    return app


def near(*vector: float, negate: bool = False) -> Rank:
    rank = Rank(negate=negate)
    rank.annotation.data.embeddings.add(vector=vector)
    return rank


def by_vector(*vector: float, **fields: Any) -> Search:
    return Search(query=Query(ranks=[near(*vector)]), **fields)


def found(answer: Any) -> list[str]:
    assert answer.status.code == StatusCode.SUCCESS, answer.status
    return [hit.input.id for hit in answer.hits]


def names(searches: Iterable[Search]) -> list[str]:
    return [search.id for search in searches]


def refused(answer: Any, code: int, *details: str) -> None:
    assert answer.status.code == code, answer.status
    for text in details:
        assert text in answer.status.details


def by_id(call: Call, app: UserAppIDSet, search_id: str, **page: int) -> Any:
    pagination = Pagination(**page) if page else None
    return call("PostSearchesByID", PostSearchesByIDRequest(user_app_id=app, id=search_id, pagination=pagination))


POSTS = {
    "PostAnnotationsSearches": PostAnnotationsSearchesRequest,
    "PostInputsSearches": PostInputsSearchesRequest,
    "PostSearches": PostSearchesRequest,
}


@pytest.mark.parametrize("rpc", POSTS)
def test_a_search_is_saved_without_running_then_run_got_listed_and_deleted(
    call: Call, compass: UserAppIDSet, rpc: str
) -> None:
    search = by_vector(1.0, 0.0, id="eastwards", name="To the east", save=True)
    answer = call(rpc, POSTS[rpc](user_app_id=compass, searches=[search]))
    assert answer.status.code == StatusCode.SUCCESS, answer.status
    assert not answer.hits
    (saved,) = answer.searches
    assert (saved.id, saved.name, saved.application_id, saved.save) == (
        "eastwards",
        "To the east",
        compass.app_id,
        True,
    )
    assert saved.created_at == saved.modified_at
    assert saved.created_at.seconds > 1_700_000_000
    assert saved.query == search.query
    assert call("GetSearch", GetSearchRequest(user_app_id=compass, id="eastwards")).search == saved
    assert list(call("ListSearches", ListSearchesRequest(user_app_id=compass)).searches) == [saved]
    assert found(by_id(call, compass, "eastwards")) == FROM_EAST
    assert found(by_id(call, compass, "eastwards", page=2, per_page=2)) == ["west"]
    delete = DeleteSearchRequest(user_app_id=compass, id="eastwards")
    assert call("DeleteSearch", delete).status.code == StatusCode.SUCCESS
    refused(call("DeleteSearch", delete), StatusCode.CONN_DOES_NOT_EXIST, "'eastwards'")
    refused(by_id(call, compass, "eastwards"), StatusCode.CONN_DOES_NOT_EXIST)
    refused(call("GetSearch", GetSearchRequest(user_app_id=compass, id="eastwards")), StatusCode.CONN_DOES_NOT_EXIST)


def test_a_saved_search_remembers_whether_it_finds_annotations_or_inputs(call: Call, compass: UserAppIDSet) -> None:
    from postil.v1.annotation_service_pb2 import PostAnnotationsRequest

    more = [Annotation(input_id="east", data=Data(concepts=[Concept(id="sunny", value=1)]))]
    call("PostAnnotations", PostAnnotationsRequest(user_app_id=compass, annotations=more))
    for rpc, request in POSTS.items():
        saved = by_vector(1.0, 0.0, id=rpc, save=True)
        assert call(rpc, request(user_app_id=compass, searches=[saved])).status.code == StatusCode.SUCCESS
    assert found(by_id(call, compass, "PostAnnotationsSearches")) == ["east", *FROM_EAST]
    assert found(by_id(call, compass, "PostInputsSearches")) == FROM_EAST
    assert found(by_id(call, compass, "PostSearches")) == FROM_EAST


def test_a_saved_search_sees_what_came_later(call: Call, compass: UserAppIDSet) -> None:
    save = PostInputsSearchesRequest(user_app_id=compass, searches=[by_vector(0.0, 1.0, save=True)])
    (saved,) = call("PostInputsSearches", save).searches
    assert len(saved.id) == 32
    item = Input(id="northeast")
    item.data.embeddings.add(vector=(0.6, 0.8), space="plane")
    call("PostInputs", PostInputsRequest(user_app_id=compass, inputs=[item]))
    assert found(by_id(call, compass, saved.id))[:2] == ["north", "northeast"]


def test_saved_searches_are_listed_in_order_of_creation_and_stay_in_their_app(
    call: Call, compass: UserAppIDSet
) -> None:
    searches = [by_vector(1.0, 0.0, id=name, save=True) for name in ("c", "a", "b")]
    call("PostInputsSearches", PostInputsSearchesRequest(user_app_id=compass, searches=searches))
    page = ListSearchesRequest(user_app_id=compass, page=2, per_page=2)
    assert names(call("ListSearches", ListSearchesRequest(user_app_id=compass)).searches) == ["c", "a", "b"]
    assert names(call("ListSearches", page).searches) == ["b"]
    other = UserAppIDSet(user_id="me", app_id=f"{compass.app_id}-2")
    assert not call("ListSearches", ListSearchesRequest(user_app_id=other)).searches
    refused(call("GetSearch", GetSearchRequest(user_app_id=other, id="a")), StatusCode.CONN_DOES_NOT_EXIST)


def test_bad_searches_are_not_saved(call: Call, compass: UserAppIDSet) -> None:
    def save(*searches: Search) -> Any:
        return call("PostInputsSearches", PostInputsSearchesRequest(user_app_id=compass, searches=searches))

    good = by_vector(1.0, 0.0, id="a", save=True)
    assert save(good).status.code == StatusCode.SUCCESS
    refused(save(by_vector(0.0, 1.0, id="b", save=True), good), StatusCode.SAVED_SEARCH_MODIFY_FAILED, "[1]", "'a'")
    twice = by_vector(0.0, 1.0, id="c", save=True)
    refused(save(twice, twice), StatusCode.SAVED_SEARCH_MODIFY_FAILED, "searches[1]: duplicate id 'c'")
    refused(save(by_vector(1.0, 0.0, id="a/b", save=True)), StatusCode.CONN_INVALID_REQUEST, "searches[0]", "'/'")
    wrong = by_vector(1.0, 0.0, save=True, algorithm="guess")
    refused(save(wrong), StatusCode.SEARCH_INVALID_REQUEST, "searches[0].algorithm")
    refused(save(good, by_vector(0.0, 1.0)), StatusCode.SEARCH_INVALID_REQUEST, "searches[0].save")
    old = Search(save=True, query=Query(ands=[And(input=Input(id="east"))]))
    refused(save(old), StatusCode.SEARCH_INVALID_REQUEST, "searches[0].query.ands")
    large = Search(save=True)
    large.query.ranks.add().annotation.data.image.base64 = b"x" * (1 << 20)
    refused(save(large), StatusCode.SAVED_SEARCH_MODIFY_FAILED, "searches[0]", "by url")
    many = [by_vector(1.0, 0.0, save=True)] * 129
    refused(save(*many), StatusCode.SEARCH_INVALID_REQUEST, "129 items")
    refused(save(by_vector(1.0, 0.0, save=True, name="n" * 257)), StatusCode.SAVED_SEARCH_MODIFY_FAILED, "257")
    assert names(call("ListSearches", ListSearchesRequest(user_app_id=compass)).searches) == ["a"]


def test_patching_overwrites_what_is_sent(call: Call, compass: UserAppIDSet) -> None:
    save = by_vector(1.0, 0.0, id="s", name="old", save=True)
    (before,) = call("PostInputsSearches", PostInputsSearchesRequest(user_app_id=compass, searches=[save])).searches
    change = Search(id="s", query=Query(ranks=[near(-1.0, 0.0)]), created_at=Timestamp(seconds=1))
    patch = PatchInputsSearchesRequest(user_app_id=compass, searches=[change], action="overwrite")
    answer = call("PatchInputsSearches", patch)
    assert answer.status.code == StatusCode.SUCCESS, answer.status
    (after,) = answer.searches
    assert (after.name, after.query, after.created_at) == ("old", change.query, before.created_at)
    assert after.modified_at.ToMicroseconds() > before.modified_at.ToMicroseconds()
    assert call("GetSearch", GetSearchRequest(user_app_id=compass, id="s")).search == after
    assert found(by_id(call, compass, "s")) == ["west", "north", "east"]


PATCHES = {
    "PatchAnnotationsSearches": PatchAnnotationsSearchesRequest,
    "PatchInputsSearches": PatchInputsSearchesRequest,
    "PatchSearches": PatchSearchesRequest,
}


@pytest.mark.parametrize("rpc", POSTS)
def test_each_call_patches_what_its_like_saved(call: Call, compass: UserAppIDSet, rpc: str) -> None:
    call(rpc, POSTS[rpc](user_app_id=compass, searches=[by_vector(1.0, 0.0, id="s", save=True)]))
    right = rpc.replace("Post", "Patch")
    for name, request in PATCHES.items():
        answer = call(name, request(user_app_id=compass, searches=[Search(id="s", name=name)]))
        if name == right:
            assert answer.searches[0].name == name
        else:
            refused(answer, StatusCode.SAVED_SEARCH_MODIFY_FAILED, "searches[0]", right)


def test_bad_patches_change_nothing(call: Call, compass: UserAppIDSet) -> None:
    save = [by_vector(1.0, 0.0, id="s", name="old", save=True)]
    call("PostInputsSearches", PostInputsSearchesRequest(user_app_id=compass, searches=save))

    def patch(*changes: Search, action: str = "") -> Any:
        request = PatchInputsSearchesRequest(user_app_id=compass, searches=changes, action=action)
        return call("PatchInputsSearches", request)

    renamed = Search(id="s", name="new")
    refused(patch(renamed, action="merge"), StatusCode.CONN_INVALID_REQUEST, "only overwrite")
    refused(patch(renamed, Search(id="t")), StatusCode.CONN_DOES_NOT_EXIST, "searches[1]", "'t'")
    refused(patch(renamed, renamed), StatusCode.SAVED_SEARCH_MODIFY_FAILED, "duplicate")
    refused(patch(), StatusCode.SEARCH_INVALID_REQUEST, "0 items")
    wrong = Search(id="s", query=Query(ranks=[Rank(negate=True)]))
    refused(patch(wrong), StatusCode.SEARCH_INVALID_REQUEST, "searches[0].query.ranks[0]")
    assert call("GetSearch", GetSearchRequest(user_app_id=compass, id="s")).search.name == "old"


# Replays.


def test_a_search_that_ran_is_shown_again_by_its_id(call: Call, compass: UserAppIDSet) -> None:
    search = PostInputsSearchesRequest(user_app_id=compass, searches=[by_vector(1.0, 0.0)])
    answer = call("PostInputsSearches", search)
    item = Input(id="easter")
    item.data.embeddings.add(vector=(1.0, 0.0), space="plane")
    call("PostInputs", PostInputsRequest(user_app_id=compass, inputs=[item]))
    again = by_id(call, compass, answer.id)
    assert again.id == answer.id
    assert list(again.hits) == list(answer.hits)
    assert found(by_id(call, compass, answer.id, page=1, per_page=128)) == FROM_EAST
    refused(by_id(call, compass, answer.id, page=2), StatusCode.SEARCH_INVALID_REQUEST, "page 1 with 128 hits")
    other = UserAppIDSet(user_id="me", app_id=f"{compass.app_id}-2")
    refused(by_id(call, other, answer.id), StatusCode.CONN_DOES_NOT_EXIST)


# Annotation filters.


def test_annotation_filters_are_kept_changed_and_deleted(call: Call, app: UserAppIDSet) -> None:
    everything = Search(query=Query(filters=[Filter()]), name="all")
    new = [AnnotationFilter(id="b", search=everything), AnnotationFilter(search=everything)]
    answer = call("PostAnnotationFilters", PostAnnotationFiltersRequest(user_app_id=app, annotation_filters=new))
    assert answer.status.code == StatusCode.SUCCESS, answer.status
    first, second = answer.annotation_filters
    assert (first.id, first.app_id, first.user_id, len(second.id)) == ("b", app.app_id, "postil", 32)
    assert first.search == everything
    listing = ListAnnotationFiltersRequest(user_app_id=app)
    assert list(call("ListAnnotationFilters", listing).annotation_filters) == [first, second]
    get = GetAnnotationFilterRequest(user_app_id=app, annotation_filter_id="b")
    assert call("GetAnnotationFilter", get).annotation_filter == first
    change = AnnotationFilter(id="b", search=Search(query=Query(filters=[Filter(), Filter()])), user_id="x")
    patch = PatchAnnotationFiltersRequest(user_app_id=app, annotation_filters=[change], action="overwrite")
    (patched,) = call("PatchAnnotationFilters", patch).annotation_filters
    assert (patched.search, patched.user_id, patched.created_at) == (change.search, "postil", first.created_at)
    assert call("GetAnnotationFilter", get).annotation_filter == patched
    delete = DeleteAnnotationFiltersRequest(user_app_id=app, annotation_filter_ids=["b", "none"])
    assert call("DeleteAnnotationFilters", delete).status.code == StatusCode.SUCCESS
    refused(call("GetAnnotationFilter", get), StatusCode.CONN_DOES_NOT_EXIST, "'b'")
    assert list(call("ListAnnotationFilters", listing).annotation_filters) == [second]


def test_bad_annotation_filters_are_refused(call: Call, app: UserAppIDSet) -> None:
    everything = Search(query=Query(filters=[Filter()]))

    def post(*items: AnnotationFilter) -> Any:
        request = PostAnnotationFiltersRequest(user_app_id=app, annotation_filters=items)
        return call("PostAnnotationFilters", request)

    good = AnnotationFilter(id="a", search=everything)
    assert post(good).status.code == StatusCode.SUCCESS
    refused(post(good), StatusCode.SAVED_SEARCH_MODIFY_FAILED, "annotation_filters[0]", "'a'")
    new = AnnotationFilter(id="b", search=everything)
    refused(post(new, new), StatusCode.SAVED_SEARCH_MODIFY_FAILED, "annotation_filters[1]: duplicate id 'b'")
    refused(post(AnnotationFilter(id="b")), StatusCode.SEARCH_INVALID_REQUEST, "search.query.filters is empty")
    ranked = Search(query=Query(filters=[Filter()], ranks=[near(1.0, 0.0)]))
    refused(post(AnnotationFilter(search=ranked)), StatusCode.SEARCH_INVALID_REQUEST, "search.query.ranks")
    refused(post(), StatusCode.SEARCH_INVALID_REQUEST, "0 items")
    refused(post(AnnotationFilter(id="a/b", search=everything)), StatusCode.CONN_INVALID_REQUEST, "'/'")
    patch = PatchAnnotationFiltersRequest(user_app_id=app, annotation_filters=[good, new])
    refused(call("PatchAnnotationFilters", patch), StatusCode.CONN_DOES_NOT_EXIST, "annotation_filters[1]", "'b'")
    patch.action = "remove"
    refused(call("PatchAnnotationFilters", patch), StatusCode.CONN_INVALID_REQUEST, "only overwrite")
    delete = DeleteAnnotationFiltersRequest(user_app_id=app)
    refused(call("DeleteAnnotationFilters", delete), StatusCode.SEARCH_INVALID_REQUEST, "0 ids")
