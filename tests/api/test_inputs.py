"""Inputs through a real server, under both service names: what is accepted, refused, listed, patched, deleted."""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest

from postil.v1.common_pb2 import UserAppIDSet
from postil.v1.concept_pb2 import Concept
from postil.v1.data_pb2 import Data, Embedding
from postil.v1.input_pb2 import Input, InputIDConflictResolution
from postil.v1.input_service_pb2 import (
    CancelInputsAddJobRequest,
    DeleteInputRequest,
    DeleteInputsRequest,
    GetInputCountRequest,
    GetInputRequest,
    GetInputsAddJobRequest,
    ListInputsRequest,
    PatchInputsRequest,
    PostInputsRequest,
    StreamInputsRequest,
)
from postil.v1.status_code_pb2 import StatusCode
from support.web import WebServer

Call = Callable[..., Any]


def vector_input(name: str, *numbers: float, space: str = "", **data: Any) -> Input:
    """An input that is a bare vector."""
    return Input(id=name, data=Data(embeddings=[Embedding(vector=numbers or (1.0, 0.0), space=space)], **data))


def post(call: Call, app: UserAppIDSet, *inputs: Input, **fields: Any) -> Any:
    return call("PostInputs", PostInputsRequest(user_app_id=app, inputs=inputs, **fields))


def get(call: Call, app: UserAppIDSet, name: str) -> Any:
    return call("GetInput", GetInputRequest(user_app_id=app, input_id=name))


def test_a_picture_comes_back_hosted_and_described(call: Call, app: UserAppIDSet, photos: dict[str, bytes]) -> None:
    item = Input(id="cat", data=Data(concepts=[Concept(id="animal", value=1)]))
    item.data.image.base64 = photos["cat"]
    answer = post(call, app, item)
    assert answer.status.code == StatusCode.SUCCESS, answer.status
    stored = answer.inputs[0]
    assert stored.status.code == StatusCode.INPUT_SUCCESS
    assert (stored.data.image.image_info.width, stored.data.image.image_info.height) == (451, 300)
    assert stored.data.image.image_info.format == "PNG"
    assert not stored.data.image.base64
    assert stored.data.concepts[0].name == "animal"
    with urllib.request.urlopen(stored.data.image.url) as served:
        assert served.read() == photos["cat"]
    assert get(call, app, "cat").input == stored


def test_a_text_and_a_vector(call: Call, app: UserAppIDSet) -> None:
    text = Input(id="note", data=Data())
    text.data.text.raw = "A ginger kitten sleeps on the sofa."
    answer = post(call, app, text, vector_input("v", 3.0, 4.0))
    assert answer.status.code == StatusCode.SUCCESS, answer.status
    assert answer.inputs[0].data.text.text_info.char_count == 35
    assert not answer.inputs[1].data.embeddings, "vectors stay out of answers"


def test_a_text_nobody_can_embed_fails_alone(call: Call, app: UserAppIDSet) -> None:
    blank, good = Input(id="blank", data=Data()), Input(id="good", data=Data())
    blank.data.text.raw, good.data.text.raw = "   ", "Some words."
    answer = post(call, app, blank, good)
    assert answer.status.code == StatusCode.MIXED_STATUS
    assert "inputs[0]" in answer.inputs[0].status.details
    assert answer.inputs[1].status.code == StatusCode.INPUT_SUCCESS


def test_a_url_is_pending_then_processed(
    call: Call, app: UserAppIDSet, photos: dict[str, bytes], web: WebServer
) -> None:
    item = Input(id="cup", data=Data())
    item.data.image.url = f"  {web.serve('cup.png', photos['cup'])}  "
    assert post(call, app, item).inputs[0].status.code == StatusCode.INPUT_PENDING
    done = wait(call, app, "cup")
    assert done.status.code == StatusCode.INPUT_SUCCESS, done.status
    assert done.data.image.url == web.url("cup.png"), "the client's own url stays"
    assert done.data.image.image_info.width == 600
    with urllib.request.urlopen(done.data.image.hosted.prefix + done.data.image.hosted.suffix) as served:
        assert served.read() == photos["cup"]


@pytest.mark.parametrize(
    ("path", "code"), [("missing.png", StatusCode.INPUT_FAILED), ("words.jpg", StatusCode.INPUT_UNSUPPORTED_FORMAT)]
)
def test_a_url_that_gives_no_picture_fails_the_input(
    call: Call, app: UserAppIDSet, web: WebServer, path: str, code: int
) -> None:
    web.serve("words.jpg", b"These are words, not a picture.")
    item = Input(id="bad", data=Data())
    item.data.image.url = web.url(path)
    post(call, app, item)
    failed = wait(call, app, "bad")
    assert failed.status.code == code
    assert "bad" in failed.status.details


def test_a_url_nobody_answers(call: Call, app: UserAppIDSet) -> None:
    item = Input(id="nobody", data=Data())
    item.data.image.url = "http://127.0.0.1:9/cat.png"
    post(call, app, item)
    assert wait(call, app, "nobody").status.code == StatusCode.INPUT_CONNECTION_FAILED


def wait(call: Call, app: UserAppIDSet, name: str, seconds: float = 20) -> Input:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found: Input = get(call, app, name).input
        if found.status.code not in (StatusCode.INPUT_PENDING, StatusCode.INPUT_IN_PROGRESS):
            return found
        time.sleep(0.05)
    raise TimeoutError(f"{name} is still pending")


def test_good_items_are_kept_beside_bad_ones(call: Call, app: UserAppIDSet, photos: dict[str, bytes]) -> None:
    broken = Input(id="broken", data=Data())
    broken.data.image.base64 = photos["cat"][:5000]
    words = Input(id="words", data=Data())
    words.data.image.base64 = b"only words"
    nan = vector_input("nan", 1.0, float("nan"))
    both = vector_input("both")
    both.data.image.base64 = photos["cat"]
    both.data.text.raw = "and a text"
    items = [
        vector_input("good", 1.0, 0.0),
        broken,
        words,
        nan,
        vector_input("wrong-size", 1.0, 2.0, 3.0),
        Input(id="empty", data=Data()),
        vector_input("a/b"),
        vector_input("x" * 10_000),
        both,
    ]
    answer = post(call, app, *items)
    assert answer.status.code == StatusCode.MIXED_STATUS
    codes = [item.status.code for item in answer.inputs]
    assert codes == [
        StatusCode.INPUT_SUCCESS,
        StatusCode.ALL_INPUT_INVALID_BYTES,
        StatusCode.INPUT_UNSUPPORTED_FORMAT,
        *[StatusCode.INPUT_INVALID_ARGUMENT] * 6,
    ]
    for position, item in enumerate(answer.inputs[1:], start=1):
        assert f"inputs[{position}]" in item.status.details
    listed = call("ListInputs", ListInputsRequest(user_app_id=app))
    assert [item.id for item in listed.inputs] == ["good"]


@pytest.mark.parametrize("count", [0, 129])
def test_one_to_128_items(call: Call, app: UserAppIDSet, count: int) -> None:
    answer = post(call, app, *[vector_input(f"i{n}") for n in range(count)])
    assert answer.status.code == StatusCode.INPUT_INVALID_ARGUMENT
    assert "1 to 128" in answer.status.details


def test_a_taken_id_is_refused_or_given_a_suffix(call: Call, app: UserAppIDSet) -> None:
    assert post(call, app, vector_input("one")).status.code == StatusCode.SUCCESS
    again = post(call, app, vector_input("one"), vector_input("two"), vector_input("two"))
    assert again.status.code == StatusCode.MIXED_STATUS
    assert [item.status.code for item in again.inputs] == [
        StatusCode.INPUT_DUPLICATE,
        StatusCode.INPUT_SUCCESS,
        StatusCode.INPUT_DUPLICATE,
    ]
    assert again.inputs[0].status.details == "Input has a duplicate ID."
    renamed = post(call, app, vector_input("one"), input_id_conflict_resolution=InputIDConflictResolution.SUFFIX)
    assert renamed.inputs[0].id == "one-1"
    assert get(call, app, "one-1").status.code == StatusCode.SUCCESS


def test_a_url_counts_once_unless_allowed(call: Call, app: UserAppIDSet, web: WebServer) -> None:
    first, second, third = (Input(id=name, data=Data()) for name in "abc")
    for item in (first, second, third):
        item.data.image.url = web.url("same.png")
    third.data.image.allow_duplicate_url = True
    answer = post(call, app, first, second, third)
    assert [item.status.code for item in answer.inputs] == [
        StatusCode.INPUT_PENDING,
        StatusCode.INPUT_DUPLICATE,
        StatusCode.INPUT_PENDING,
    ]


def test_geo_off_the_globe_and_values_that_are_no_probability(call: Call, app: UserAppIDSet) -> None:
    lost = vector_input("lost")
    lost.data.geo.geo_point.latitude = 91
    sure = vector_input("sure", concepts=[Concept(id="x", value=float("nan"))])
    answer = post(call, app, lost, sure)
    assert answer.status.code == StatusCode.FAILURE
    assert "latitude" in answer.inputs[0].status.details
    assert "value" in answer.inputs[1].status.details


def test_lists_newest_first_and_streams_oldest_first(call: Call, app: UserAppIDSet) -> None:
    for name in ("a", "b", "c", "d", "e"):
        post(call, app, vector_input(name))
    listed = call("ListInputs", ListInputsRequest(user_app_id=app, page=2, per_page=2))
    assert [item.id for item in listed.inputs] == ["c", "b"]
    beyond = call("ListInputs", ListInputsRequest(user_app_id=app, page=9, per_page=2))
    assert (beyond.status.code, len(beyond.inputs)) == (StatusCode.SUCCESS, 0)
    streamed = call("StreamInputs", StreamInputsRequest(user_app_id=app, per_page=2, last_id="b"))
    assert [item.id for item in streamed.inputs] == ["c", "d"]
    named = call("ListInputs", ListInputsRequest(user_app_id=app, ids=["d", "nobody", "a"]))
    assert {item.id for item in named.inputs} == {"a", "d"}


@pytest.mark.parametrize(("page", "per_page"), [(1, 1001), (2**32 - 1, 10)])
def test_pages_that_cannot_be(call: Call, app: UserAppIDSet, page: int, per_page: int) -> None:
    answer = call("ListInputs", ListInputsRequest(user_app_id=app, page=page, per_page=per_page))
    assert answer.status.code == StatusCode.CONN_INVALID_REQUEST


def test_patch_merges_removes_and_overwrites_labels(call: Call, app: UserAppIDSet) -> None:
    post(call, app, vector_input("v", concepts=[Concept(id="tree", value=1)]))

    def patch(action: str, *concepts: Concept) -> list[tuple[str, float]]:
        item = Input(id="v", data=Data(concepts=concepts))
        answer = call("PatchInputs", PatchInputsRequest(user_app_id=app, inputs=[item], action=action))
        assert answer.status.code == StatusCode.SUCCESS, answer.status
        stored = get(call, app, "v").input.data.concepts
        assert list(answer.inputs[0].data.concepts) == list(stored)
        return [(concept.id, concept.value) for concept in stored]

    assert patch("merge", Concept(id="water", value=0)) == [("tree", 1), ("water", 0)]
    assert patch("merge", Concept(id="tree", value=0), Concept(id="sky", value=1)) == [
        ("tree", 0),
        ("water", 0),
        ("sky", 1),
    ]
    assert patch("remove", Concept(id="water")) == [("tree", 0), ("sky", 1)]
    assert patch("overwrite", Concept(id="sea", value=1)) == [("sea", 1)]


def test_a_label_by_its_name_alone(call: Call, app: UserAppIDSet) -> None:
    first = vector_input("first", concepts=[Concept(id="c1", name="cat", value=1)])
    assert post(call, app, first).status.code == StatusCode.SUCCESS
    second = vector_input("second", concepts=[Concept(name="cat", value=1), Concept(name="new", value=0)])
    answer = post(call, app, second)
    assert answer.status.code == StatusCode.SUCCESS, answer.status
    named = [(one.id, one.name, one.value) for one in answer.inputs[0].data.concepts]
    assert named == [("c1", "cat", 1.0), ("new", "new", 0.0)]
    assert get(call, app, "second").input.data.concepts == answer.inputs[0].data.concepts


def test_patch_keeps_the_medium(call: Call, app: UserAppIDSet, photos: dict[str, bytes]) -> None:
    item = Input(id="cat", data=Data(concepts=[Concept(id="animal", value=1)]))
    item.data.image.base64 = photos["cat"]
    url = post(call, app, item).inputs[0].data.image.url
    change = Input(id="cat", data=Data())
    change.data.metadata["room"] = "kitchen"
    patched = call("PatchInputs", PatchInputsRequest(user_app_id=app, inputs=[change], action="overwrite")).inputs[0]
    assert patched.data.image.url == url
    assert patched.data.metadata["room"] == "kitchen"
    assert not patched.data.concepts


def test_patch_of_what_is_not_there_and_by_what_is_no_action(call: Call, app: UserAppIDSet) -> None:
    post(call, app, vector_input("v"))
    items = [Input(id="v", data=Data(concepts=[Concept(id="x", value=1)])), Input(id="nobody")]
    mixed = call("PatchInputs", PatchInputsRequest(user_app_id=app, inputs=items, action="merge"))
    assert mixed.status.code == StatusCode.MIXED_STATUS
    assert mixed.inputs[1].status.code == StatusCode.INPUT_DOES_NOT_EXIST
    wrong = call("PatchInputs", PatchInputsRequest(user_app_id=app, inputs=items, action="replace"))
    assert wrong.status.code == StatusCode.CONN_INVALID_REQUEST
    assert "overwrite" in wrong.status.details


def test_deleting_takes_everything_and_is_no_error_twice(call: Call, app: UserAppIDSet) -> None:
    post(call, app, *[vector_input(name) for name in "abc"])
    assert call("DeleteInput", DeleteInputRequest(user_app_id=app, input_id="a")).status.code == StatusCode.SUCCESS
    assert get(call, app, "a").status.code == StatusCode.CONN_DOES_NOT_EXIST
    for _ in range(2):
        gone = call("DeleteInputs", DeleteInputsRequest(user_app_id=app, ids=["b", "nobody"]))
        assert gone.status.code == StatusCode.SUCCESS
    counts = call("GetInputCount", GetInputCountRequest(user_app_id=app)).counts
    assert (counts.processed, counts.to_process, counts.errors) == (1, 0, 0)
    assert post(call, app, vector_input("a")).status.code == StatusCode.SUCCESS, "the id is free again"


def test_an_add_job_counts(call: Call, app: UserAppIDSet, web: WebServer, photos: dict[str, bytes]) -> None:
    by_url = Input(id="cup", data=Data())
    by_url.data.image.url = web.serve("job.png", photos["cup"])
    answer = post(call, app, vector_input("v"), vector_input("a/b"), by_url, inputs_add_job_id="job-1")
    assert answer.inputs_add_job.id == "job-1"
    wait(call, app, "cup")
    job = call("GetInputsAddJob", GetInputsAddJobRequest(user_app_id=app, id="job-1")).inputs_add_job
    assert (job.progress.success_count, job.progress.failed_count, job.progress.pending_count) == (2, 1, 0)
    assert job.status.code == StatusCode.JOB_COMPLETED
    missing = call("GetInputsAddJob", GetInputsAddJobRequest(user_app_id=app, id="nobody"))
    assert missing.status.code == StatusCode.CONN_DOES_NOT_EXIST


def test_a_cancelled_job_fails_what_is_pending(call: Call, app: UserAppIDSet, web: WebServer) -> None:
    slow = Input(id="slow", data=Data())
    slow.data.image.url = web.hang("slow.png")
    post(call, app, vector_input("v"), slow, inputs_add_job_id="job-2")
    answer = call("CancelInputsAddJob", CancelInputsAddJobRequest(user_app_id=app, id="job-2"))
    assert answer.inputs_add_job.status.code == StatusCode.JOB_CANCELLED
    assert get(call, app, "slow").input.status.code == StatusCode.INPUT_FAILED
    assert get(call, app, "v").input.status.code == StatusCode.INPUT_SUCCESS


def test_apps_are_walls(call: Call, app: UserAppIDSet) -> None:
    post(call, app, vector_input("mine"))
    other = UserAppIDSet(user_id="me", app_id=app.app_id + "x")
    assert get(call, other, "mine").status.code == StatusCode.CONN_DOES_NOT_EXIST
    assert post(call, other, vector_input("mine", 1, 2, 3)).status.code == StatusCode.SUCCESS
