"""What to label next, and which labels are wrong, through a real server."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest

from postil.v1.annotation_pb2 import Annotation
from postil.v1.annotation_service_pb2 import DeleteAnnotationsRequest, PostAnnotationsRequest
from postil.v1.common_pb2 import UserAppIDSet
from postil.v1.concept_pb2 import Concept
from postil.v1.data_pb2 import Data, Embedding
from postil.v1.input_pb2 import Input
from postil.v1.input_service_pb2 import PostInputsRequest
from postil.v1.status_code_pb2 import StatusCode
from postil.v1.suggestion_service_pb2 import FindLabelErrorsRequest, SuggestInputsToLabelRequest
from support.labelled import add_concepts, add_vectors, clusters, label
from support.server import OWN, Server

Call = Callable[..., Any]
NAMES = ["ash", "birch", "cedar"]
VECTORS, BELONGS = clusters(NAMES, 40)


@pytest.fixture
def own(server: Server) -> Call:
    """`own(rpc, request)` under our service names."""
    return lambda rpc, request: server.call(OWN, rpc, request)


@pytest.fixture
def woods(own: Call, app: UserAppIDSet) -> UserAppIDSet:
    add_vectors(own, app, VECTORS)
    add_concepts(own, app, *NAMES)
    return app


def suggest(call: Call, app: UserAppIDSet, **fields: Any) -> Any:
    request = {"concept_ids": NAMES, "concepts_mutually_exclusive": True, **fields}
    return call("SuggestInputsToLabel", SuggestInputsToLabelRequest(user_app_id=app, **request))


def errors(call: Call, app: UserAppIDSet, **fields: Any) -> Any:
    request = {"concept_ids": NAMES, "concepts_mutually_exclusive": True, **fields}
    return call("FindLabelErrors", FindLabelErrorsRequest(user_app_id=app, **request))


def place(input_id: str) -> int:
    return int(input_id.removeprefix("i"))


def test_before_any_label_suggestions_cover_the_space(own: Call, woods: UserAppIDSet) -> None:
    answer = suggest(own, woods, count=3)
    assert answer.status.code == StatusCode.SUCCESS, answer.status
    assert {BELONGS[place(one.input.id)] for one in answer.suggestions} == set(NAMES)
    assert answer.labelled == 0
    assert answer.considered == len(VECTORS)
    assert not answer.suggestions[0].concepts
    assert "Stands for many" in answer.suggestions[0].reason


def test_suggestions_are_unsure_unlabelled_and_repeatable(own: Call, woods: UserAppIDSet) -> None:
    between = (VECTORS[0] + VECTORS[1]) / 2.0  # an ash and a birch
    extra = {n: BELONGS[n] for n in range(60)}
    label(own, woods, extra)
    post_one(own, woods, "between", between)
    answer = suggest(own, woods, count=5)
    assert answer.status.code == StatusCode.SUCCESS, answer.status
    assert answer.labelled == 60
    found = [one.input.id for one in answer.suggestions]
    assert len(found) == len(set(found)) == 5
    assert not {f"i{n}" for n in extra} & set(found)
    assert "between" in found
    shown = answer.suggestions[found.index("between")]
    assert {one.id for one in shown.concepts[:2]} == {"ash", "birch"}
    assert shown.uncertainty > 0.2
    assert shown.reason
    assert suggest(own, woods, count=5).suggestions == answer.suggestions
    without = suggest(own, woods, count=5, exclude_input_ids=["between"])
    assert "between" not in [one.input.id for one in without.suggestions]


def test_copies_are_not_suggested_beside_each_other(own: Call, woods: UserAppIDSet) -> None:
    label(own, woods, {n: BELONGS[n] for n in range(60)})
    between = (VECTORS[0] + VECTORS[1]) / 2.0
    for n in range(4):
        post_one(own, woods, f"copy{n}", between)
    found = [one.input.id for one in suggest(own, woods, count=20).suggestions]
    assert sum(one.startswith("copy") for one in found) == 1


def test_single_concepts_are_suggested_for_too(own: Call, woods: UserAppIDSet) -> None:
    label(own, woods, {n: BELONGS[n] for n in range(60)})
    answer = suggest(own, woods, concept_ids=["ash"], concepts_mutually_exclusive=False, count=4)
    assert answer.status.code == StatusCode.SUCCESS, answer.status
    assert all([one.id for one in suggestion.concepts] == ["ash"] for suggestion in answer.suggestions)
    assert "'ash' is open" in answer.suggestions[0].reason


@pytest.mark.parametrize("exclusive", [True, False])
def test_flipped_labels_come_first(own: Call, woods: UserAppIDSet, exclusive: bool) -> None:
    flipped = {5: "ash", 33: "cedar", 70: "ash", 100: "cedar"}
    assert all(BELONGS[n] != name for n, name in flipped.items())
    label(own, woods, {n: flipped.get(n, name) for n, name in enumerate(BELONGS)})
    answer = errors(own, woods, concepts_mutually_exclusive=exclusive, count=len(flipped))
    assert answer.status.code == StatusCode.SUCCESS, answer.status
    assert {one.annotation.id for one in answer.label_errors} == {f"a{n}" for n in flipped}
    assert answer.examined == len(VECTORS)
    assert answer.estimated == len(flipped)
    for one in answer.label_errors:
        n = place(one.annotation.input_id)
        assert one.label.id == flipped[n]
        assert one.label.value == 1.0
        assert one.concepts[0].id == BELONGS[n]
        assert one.score > 0.8
        assert "20 labelled neighbours" in one.reason
    scores = [one.score for one in answer.label_errors]
    assert scores == sorted(scores, reverse=True)
    assert not errors(own, woods, min_score=1.0).label_errors


def test_absent_labels_can_be_wrong_too(own: Call, woods: UserAppIDSet) -> None:
    label(own, woods, dict(enumerate(BELONGS)))
    ash = next(n for n, name in enumerate(BELONGS) if name == "ash" and n > 9)
    own("DeleteAnnotations", delete(woods, ash))
    deny(own, woods, ash, "ash")
    answer = errors(own, woods, concept_ids=["ash"], concepts_mutually_exclusive=False, count=1)
    assert answer.label_errors[0].annotation.input_id == f"i{ash}"
    assert answer.label_errors[0].label.value == 0.0


def test_bad_requests_say_what_to_do(own: Call, woods: UserAppIDSet) -> None:
    for answer, words in (
        (suggest(own, woods, concept_ids=[]), "concept_ids is 0; use 1 to 50"),
        (suggest(own, woods, concept_ids=["oak"], concepts_mutually_exclusive=False), "no concept 'oak'"),
        (suggest(own, woods, concept_ids=["ash"]), "name the others"),
        (suggest(own, woods, count=129), "count is 129; use 1 to 128"),
        (suggest(own, woods, candidates=99), "candidates is 99"),
        (suggest(own, woods, embed_model_version_id="nowhere"), "no space 'nowhere'"),
        (errors(own, woods, count=1001), "count is 1001"),
        (errors(own, woods, min_score=float("nan")), "min_score"),
    ):
        assert answer.status.code == StatusCode.MODEL_INVALID_ARGUMENT, answer.status
        assert words in answer.status.details, answer.status.details
    assert errors(own, woods).status.code == StatusCode.MODEL_TRAINING_NO_DATA
    label(own, woods, {0: "ash"})
    assert errors(own, woods).status.code == StatusCode.MODEL_TRAINING_ONE_VS_N_SINGLE_CLASS


def test_the_json_door_answers_as_well(server: Server, own: Call, woods: UserAppIDSet) -> None:
    where = f"/v2/users/{woods.user_id or 'me'}/apps/{woods.app_id}/label_suggestions"
    with urllib.request.urlopen(f"{server.http}{where}?concept_ids=ash&concept_ids=birch&count=2") as answer:
        body = json.load(answer)
    assert body["status"]["code"] == 10000
    assert len(body["suggestions"]) == 2


def post_one(call: Call, app: UserAppIDSet, input_id: str, vector: Any) -> None:
    one = Input(id=input_id, data=Data(embeddings=[Embedding(vector=vector)]))
    assert call("PostInputs", PostInputsRequest(user_app_id=app, inputs=[one])).status.code == StatusCode.SUCCESS


def delete(app: UserAppIDSet, n: int) -> Any:
    return DeleteAnnotationsRequest(user_app_id=app, ids=[f"a{n}"], input_ids=[f"i{n}"])


def deny(call: Call, app: UserAppIDSet, n: int, name: str) -> None:
    one = Annotation(id=f"n{n}", input_id=f"i{n}", data=Data(concepts=[Concept(id=name, value=0.0)]))
    assert call("PostAnnotations", PostAnnotationsRequest(user_app_id=app, annotations=[one])).status.code == 10000
