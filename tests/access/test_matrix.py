"""Every RPC of the descriptors × what a caller may show × both doors, with ids that belong to another user's app.

An RPC that is added is tried without a line of test. Without a line in core/scopes.tsv it fails here.
"""

from __future__ import annotations

import time
from typing import Any

import grpc
import pytest

from postil.core import scopes
from postil.doors.rpc.methods import Scope
from postil.v1.common_pb2 import UserAppIDSet
from postil.v1.feedback_service_pb2 import ListFeedbackRequest
from postil.v1.key_service_pb2 import DeleteKeyRequest
from support.belongings import MARKER
from support.doors import METHODS
from support.keys import Metadata, posted, shows
from support.walls import World, code, names_things, request_for, settled

CALLS = sorted(METHODS)
GUARDED = [name for name in CALLS if not scopes.rule(name).anybody]
DOORS = ("rpc", "http")
MISSING_HEADER, NO_SCOPE, BAD_KEY, ABSENT = 11102, 11007, 11008, 11101
UNBUILT = 10040


def answer(world: World, door: str, name: str, request: Any, metadata: Metadata) -> dict[str, Any]:
    try:
        found: dict[str, Any] = getattr(world, door)(name, request, metadata)
    except grpc.RpcError as error:
        if error.code() is grpc.StatusCode.UNIMPLEMENTED:
            pytest.skip("declared, not built")
        raise
    if code(found) == UNBUILT:
        pytest.skip("declared, not built")
    return found


@pytest.fixture(scope="session")
def refused(world: World) -> dict[str, Metadata]:
    """What opens nothing, by why."""
    revoked = posted(world.server, world.ann)
    request = DeleteKeyRequest(user_app_id=UserAppIDSet(user_id="me"), key_id=revoked.id)
    world.good("DeleteKey", request, world.ann)
    expired = posted(world.server, world.bob, expires_at={"seconds": int(time.time()) - 10})
    return {
        "wrong": shows("postil_" + "A" * 43),
        "malformed": (("authorization", f"Basic {world.bob}"),),
        "revoked": shows(revoked.token),
        "expired": shows(expired.token),
    }


@pytest.fixture(scope="session")
def others(world: World) -> dict[str, str]:
    """Keys that are good elsewhere: of another app, and with next to no scopes."""
    return {
        "app": posted(world.server, world.ann, "ours").token,
        "weak": posted(world.server, world.bob, scopes=["Pipelines:Get"]).token,
    }


def test_every_rpc_has_a_line_in_the_table() -> None:
    assert [name for name in CALLS if name not in scopes.RULES] == []


def test_only_what_tells_nothing_of_anybody_is_open() -> None:
    assert [name for name in CALLS if scopes.rule(name).anybody] == ["GetStatusCode", "ListStatusCodes"]
    assert all(METHODS[name].scope is Scope.NONE for name in CALLS if scopes.rule(name).anybody)
    assert all(METHODS[name].scope is not Scope.NONE for name in GUARDED)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("name", GUARDED)
def test_who_shows_nothing_or_nothing_good(name: str, door: str, world: World, refused: dict[str, Metadata]) -> None:
    real, none = (request_for(METHODS[name], world.theirs, ids) for ids in (world.ids, world.absent))
    assert code(answer(world, door, name, real, ())) == MISSING_HEADER
    found = {why: answer(world, door, name, real, shown) for why, shown in refused.items()}
    assert {code(one) for one in found.values()} == {BAD_KEY}
    assert len({settled(one) for one in found.values()}) == 1, "the answers tell why a key is refused"
    shown = refused["expired"]
    assert settled(answer(world, door, name, none, shown)) == settled(found["expired"])


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("name", GUARDED)
def test_a_key_without_the_scopes(name: str, door: str, world: World, others: dict[str, str]) -> None:
    rule = scopes.rule(name)
    if not rule.scopes:
        pytest.skip("any key may call it")
    found = answer(world, door, name, request_for(METHODS[name], world.theirs, world.ids), shows(others["weak"]))
    assert code(found) == NO_SCOPE
    assert all(scope in found["status"]["details"] for scope in rule.scopes - {"Pipelines:Get"})


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("name", GUARDED)
def test_the_key_of_another_app(name: str, door: str, world: World, others: dict[str, str]) -> None:
    shown, nowhere = shows(others["app"]), UserAppIDSet(user_id="bob", app_id="nowhere")
    found = answer(world, door, name, request_for(METHODS[name], world.theirs, world.ids), shown)
    assert code(found) == (NO_SCOPE if scopes.rule(name).personal else BAD_KEY)
    assert settled(found) == settled(
        answer(world, door, name, request_for(METHODS[name], nowhere, world.absent), shown)
    ), "the answer tells whether the app exists"


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("name", GUARDED)
def test_the_token_of_another_user(name: str, door: str, world: World) -> None:
    shown = shows(world.ann)
    found = answer(world, door, name, request_for(METHODS[name], world.theirs, world.ids), shown)
    assert code(found) == ABSENT
    assert MARKER not in str(found)
    nowhere = UserAppIDSet(user_id="bob", app_id="nowhere")
    other = answer(world, door, name, request_for(METHODS[name], nowhere, world.absent), shown)
    assert settled(found, {"app": "theirs"}) == settled(other, {"app": "nowhere"})
    nobody = UserAppIDSet(user_id="eve", app_id="nowhere")
    other = answer(world, door, name, request_for(METHODS[name], nobody, world.absent), shown)
    assert settled(found, {"app": "theirs", "user": "bob"}) == settled(other, {"app": "nowhere", "user": "eve"})


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("name", GUARDED)
def test_ids_of_another_app_in_ones_own(name: str, door: str, world: World) -> None:
    """Not yours answers as not there."""
    method = METHODS[name]
    if not names_things(method, world.ours, world.ids):
        pytest.skip("its requests name nothing but an app")
    real, none = (request_for(method, world.ours, ids) for ids in (world.ids, world.absent))
    found = answer(world, door, name, real, shows(world.ann))
    assert MARKER not in str(found)
    other = answer(world, door, name, none, shows(world.ann))
    assert settled(found, world.ids) == settled(other, world.absent)


def test_nothing_of_theirs_was_touched(world: World) -> None:
    """Last in the file: after all of that their things are there, as they were."""
    wanted = {
        "GetInput": "input", "GetAnnotation": "annotation", "GetConcept": "concept", "GetSearch": "search",
        "GetAnnotationFilter": "filter", "GetDataset": "dataset", "GetDatasetVersion": "dataset_version",
        "ListDatasetVersionInputs": "input", "GetModel": "model", "GetModelVersion": "model_version",
        "GetModelVersionEvaluation": "evaluation", "GetWorkflow": "workflow", "GetInputsAddJob": "job", "GetKey": "key",
    }  # fmt: skip
    given = world.good("ListFeedback", ListFeedbackRequest(user_app_id=world.theirs), world.bob)
    assert [one.id for one in given.feedback] == [world.ids["feedback"]]
    for name, kind in wanted.items():
        found = world.good(name, request_for(METHODS[name], world.theirs, world.ids), world.bob)
        assert world.ids[kind] in str(found)
    assert MARKER in str(world.good("GetInput", request_for(METHODS["GetInput"], world.theirs, world.ids), world.bob))
