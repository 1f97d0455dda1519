"""Items that are larger than what is kept: refused one by one, with the limit in words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from postil.core.drafts import MAX_BYTES
from postil.core.filters import MAX_FILTERS, MAX_JSON
from postil.core.labels import MAX_NAME
from postil.doors.rpc.weights import MAX_NAMED
from postil.v1.annotation_service_pb2 import ListAnnotationsRequest, PostAnnotationsRequest
from postil.v1.common_pb2 import UserAppIDSet
from postil.v1.input_pb2 import Input
from postil.v1.input_service_pb2 import PatchInputsRequest, PostInputsRequest
from postil.v1.search_service_pb2 import PostAnnotationsSearchesRequest
from postil.v1.status_code_pb2 import StatusCode
from support.server import OWN, Server

APP = UserAppIDSet(app_id="sizes")


def an_input(input_id: str) -> Input:
    made = Input(id=input_id)
    made.data.embeddings.add(vector=[1.0, 2.0])
    return made


def large(item: Any) -> None:
    item.data.metadata.update({"a": "x" * MAX_BYTES})


def named(item: Any) -> None:
    item.data.concepts.add(id="c", name="n" * (MAX_NAME + 1), value=1)


@pytest.mark.parametrize(("spoil", "said"), [(large, f"{MAX_BYTES:,}"), (named, str(MAX_NAME))])
def test_items_that_are_too_large_are_refused_alone(server: Server, spoil: Callable[[Any], None], said: str) -> None:
    bad, good = an_input("bad"), an_input(f"good-{spoil.__name__}")
    spoil(bad)
    posted = server.call(OWN, "PostInputs", PostInputsRequest(user_app_id=APP, inputs=[bad, good]))
    assert posted.status.code == StatusCode.MIXED_STATUS
    assert said in posted.inputs[0].status.details
    assert posted.inputs[1].status.code == StatusCode.INPUT_SUCCESS
    request = PostAnnotationsRequest(user_app_id=APP)
    spoil(request.annotations.add(input_id=good.id))
    noted = server.call(OWN, "PostAnnotations", request).annotations[0]
    assert noted.status.code == StatusCode.ANNOTATION_INVALID_ARGUMENT
    assert said in noted.status.details
    change = Input(id=good.id)
    spoil(change)
    patched = server.call(OWN, "PatchInputs", PatchInputsRequest(user_app_id=APP, action="merge", inputs=[change]))
    assert said in patched.inputs[0].status.details


def test_of_an_id_that_is_too_long_only_the_beginning_comes_back(server: Server) -> None:
    long, good = "i" * 1_000_000, an_input("short")
    posted = server.call(OWN, "PostInputs", PostInputsRequest(user_app_id=APP, inputs=[an_input(long), good]))
    assert [item.status.code for item in posted.inputs] == [
        StatusCode.INPUT_INVALID_ARGUMENT,
        StatusCode.INPUT_SUCCESS,
    ]
    assert posted.inputs[0].id == "i" * 60 + "…"
    noted = PostAnnotationsRequest(user_app_id=APP)
    noted.annotations.add(id=long, input_id=long)
    patched = PatchInputsRequest(user_app_id=APP, action="merge", inputs=[an_input(long)])
    for answer in (
        posted,
        server.call(OWN, "PostAnnotations", noted),
        server.call(OWN, "PatchInputs", patched),
    ):
        assert answer.ByteSize() < 2000


def test_more_filters_than_a_search_may_have(server: Server) -> None:
    request = PostAnnotationsSearchesRequest(user_app_id=APP)
    query = request.searches.add().query
    for number in range(MAX_FILTERS + 1):
        query.filters.add().annotation.data.concepts.add(id=str(number), value=1)
    status = server.call(OWN, "PostAnnotationsSearches", request).status
    assert status.code == StatusCode.SEARCH_INVALID_REQUEST
    assert str(MAX_FILTERS) in status.details


def test_one_filter_with_more_metadata_than_anybody_means(server: Server) -> None:
    request = PostAnnotationsSearchesRequest(user_app_id=APP)
    wanted = request.searches.add().query.filters.add().annotation.data.metadata
    wanted.update({f"key {number}": 1 for number in range(MAX_JSON // 10)})
    status = server.call(OWN, "PostAnnotationsSearches", request).status
    assert status.code == StatusCode.SEARCH_INVALID_REQUEST
    assert "searches[0].query.filters[0].annotation.data.metadata" in status.details
    assert f"{MAX_JSON:,}" in status.details


@pytest.mark.parametrize("ids", [MAX_NAMED, MAX_NAMED + 1])
def test_more_ids_than_a_call_may_name(server: Server, ids: int) -> None:
    request = ListAnnotationsRequest(user_app_id=APP, input_ids=[f"input number {number}" for number in range(ids)])
    status = server.call(OWN, "ListAnnotations", request).status
    if ids > MAX_NAMED:
        assert status.code == StatusCode.CONN_INVALID_REQUEST
        assert "input_ids has 10,001 items; send at most 10,000" in status.details
    else:
        assert status.code == StatusCode.SUCCESS


def test_a_search_in_what_is_no_language(server: Server) -> None:
    request = PostAnnotationsSearchesRequest(user_app_id=APP)
    request.searches.add().query.language = "x" * 100_000
    status = server.call(OWN, "PostAnnotationsSearches", request).status
    assert status.code == StatusCode.SEARCH_INVALID_REQUEST
    assert len(status.details) < 300
