"""Items that are larger than what is kept: refused one by one, with the limit in words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from postil.core.drafts import MAX_BYTES
from postil.core.filters import MAX_FILTERS
from postil.core.labels import MAX_NAME
from postil.v1.annotation_service_pb2 import PostAnnotationsRequest
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


def test_more_filters_than_a_search_may_have(server: Server) -> None:
    request = PostAnnotationsSearchesRequest(user_app_id=APP)
    query = request.searches.add().query
    for number in range(MAX_FILTERS + 1):
        query.filters.add().annotation.data.concepts.add(id=str(number), value=1)
    status = server.call(OWN, "PostAnnotationsSearches", request).status
    assert status.code == StatusCode.SEARCH_INVALID_REQUEST
    assert str(MAX_FILTERS) in status.details
