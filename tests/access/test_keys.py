"""What a key opens: its app, its scopes, until it ends or is revoked; and how it is shown."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
import requests

from postil.core.keys import digest
from postil.v1.annotation_pb2 import Annotation
from postil.v1.annotation_service_pb2 import PatchAnnotationsRequest, PostAnnotationsRequest
from postil.v1.app_pb2 import App
from postil.v1.app_service_pb2 import DeleteAppRequest, PostAppsRequest
from postil.v1.common_pb2 import UserAppIDSet
from postil.v1.concept_pb2 import Concept
from postil.v1.data_pb2 import Data, Text
from postil.v1.image_pb2 import Image
from postil.v1.input_pb2 import Input
from postil.v1.input_service_pb2 import GetInputRequest, ListInputsRequest, PostInputsRequest
from postil.v1.key_pb2 import Key
from postil.v1.key_service_pb2 import (
    DeleteKeyRequest,
    ListAppKeysRequest,
    ListKeysRequest,
    ListScopesRequest,
    MyScopesRequest,
    PatchKeysRequest,
    PostKeysRequest,
)
from postil.v1.model_service_pb2 import ListModelsRequest
from postil.v1.search_pb2 import Query, Rank, Search
from postil.v1.search_service_pb2 import PostInputsSearchesRequest
from support.keys import created, posted, run, shows
from support.server import OWN, VENDOR, Server
from support.waiting import until
from support.walls import World

ME = UserAppIDSet(user_id="me")
LIST = ["Apps:Get", "Annotations:Get", "Concepts:Get", "Inputs:Get"]
WRITE = [*LIST, "Annotations:Add", "Models:Get", "Workflows:Get"]


def lists(world: World, token: str, place: UserAppIDSet | None = None) -> int:
    """The code of ListInputs with a key."""
    request = ListInputsRequest(user_app_id=place)
    code: int = world.server.call(VENDOR, "ListInputs", request, metadata=shows(token)).status.code
    return code


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Key {}"},
        {"Authorization": "KEY {}"},
        {"AUTHORIZATION": "bearer {}"},
        {"authorization": "Bearer  {} "},
        {"X-Clarifai-Session-Token": "{}"},
    ],
)
def test_ways_to_show_a_key(headers: dict[str, str], world: World) -> None:
    shown = {name: value.format(world.ann) for name, value in headers.items()}
    url = f"{world.server.http}/v2/users/me/apps/ours/inputs"
    assert requests.get(url, headers=shown, timeout=60).status_code == 200
    answer = world.server.call(
        OWN, "ListInputs", ListInputsRequest(user_app_id=world.ours),
        metadata=tuple((name.lower(), value.strip()) for name, value in shown.items()),
    )  # fmt: skip
    assert answer.status.code == 10000


@pytest.mark.parametrize("good_first", [True, False])
def test_two_keys_are_none(good_first: bool, world: World) -> None:
    """A proxy may have looked at the other."""
    values = [f"Key {world.ann}", "Key other"][:: 1 if good_first else -1]
    request = ListInputsRequest(user_app_id=world.ours)
    answer = world.server.call(OWN, "ListInputs", request, metadata=tuple(("authorization", one) for one in values))
    assert answer.status.code == 11008
    connection = http.client.HTTPConnection(world.server.http.removeprefix("http://"), timeout=60)
    connection.putrequest("GET", "/v2/users/me/apps/ours/inputs")
    for value in values:
        connection.putheader("Authorization", value)
    connection.endheaders()
    assert connection.getresponse().status == 401
    connection.close()


def test_http_says_401_and_403(world: World) -> None:
    url = f"{world.server.http}/v2/users/bob/apps/theirs/inputs"
    assert requests.get(url, timeout=60).status_code == 401
    assert requests.get(url, headers={"authorization": "Key x"}, timeout=60).status_code == 401
    weak = posted(world.server, world.bob, scopes=["Inputs:Get"]).token
    assert requests.get(url, headers=dict(shows(weak)), timeout=60).status_code == 403


@pytest.mark.parametrize("body", ["{", "[1]", '{"inputs": 5}', "[" * 10_000])
def test_a_stranger_is_not_told_what_is_wrong_with_his_request(world: World, body: str) -> None:
    url = f"{world.server.http}/v2/users/bob/apps/theirs/inputs"
    for headers, code in [({}, 11102), ({"authorization": "Key x"}, 11008)]:
        answer = requests.post(url, data=body, headers=headers, timeout=60)
        assert (answer.status_code, answer.json()["status"]["code"]) == (401, code)
    answer = requests.post(url, data=body, headers=dict(shows(world.bob)), timeout=60)
    assert (answer.status_code, answer.json()["status"]["code"] in {11100, 11102}) == (400, True)


def test_old_clients_get_the_code_they_know(world: World) -> None:
    old = {"authorization": "Key x", "x-clarifai-client": "python:2.6.2"}
    answer = requests.get(f"{world.server.http}/v2/models", headers=old, timeout=60)
    assert (answer.status_code, answer.json()["status"]["code"]) == (401, 11009)


def test_an_apps_key_stands_for_its_app(world: World) -> None:
    key = posted(world.server, world.bob, "theirs")
    assert lists(world, key.token) == 10000
    assert lists(world, key.token, world.theirs) == 10000
    assert lists(world, key.token, UserAppIDSet(user_id="clarifai", app_id="main")) == 11008
    mine = world.server.call(OWN, "MyScopes", MyScopesRequest(), metadata=shows(key.token))
    assert (list(mine.scopes), mine.app.id, mine.app.user_id) == (["All"], "theirs", "bob")
    listed = world.good("ListAppKeys", ListAppKeysRequest(user_app_id=world.theirs), world.bob).keys
    assert key.id in {one.id for one in listed}
    assert not any(one.token for one in listed)


def test_a_token_names_its_app_and_reaches_the_public_models(world: World) -> None:
    assert lists(world, world.ann) == 11102
    assert lists(world, world.ann, UserAppIDSet(app_id="not-made-yet")) == 11101  # and does not make it
    public = ListModelsRequest(user_app_id=UserAppIDSet(user_id="clarifai", app_id="main"))
    assert world.good("ListModels", public, world.ann).models
    assert list(world.good("MyScopes", MyScopesRequest(), world.ann).scopes) == ["All"]


def test_endpoints_open_calls_by_name(world: World) -> None:
    key = posted(world.server, world.bob, "theirs", scopes=["/clarifai.api.V2/ListInputs"])
    assert (list(key.scopes), list(key.endpoints)) == ([], ["/clarifai.api.V2/ListInputs"])
    assert lists(world, key.token) == 10000
    request = GetInputRequest(input_id="their-input")
    assert world.server.call(OWN, "GetInput", request, metadata=shows(key.token)).status.code == 11007


def test_revoking_and_changing_count_at_once(world: World) -> None:
    key = posted(world.server, world.bob, "theirs", scopes=LIST)
    assert lists(world, key.token) == 10000
    change = PatchKeysRequest(user_app_id=ME, keys=[Key(id=key.id, scopes=["Apps:Get"])])
    world.good("PatchKeys", change, world.bob)
    assert lists(world, key.token) == 11007
    world.good("DeleteKey", DeleteKeyRequest(user_app_id=ME, key_id=key.id), world.bob)
    assert lists(world, key.token) == 11008


def test_the_command_beside_the_server_counts_at_once(world: World) -> None:
    data = world.server.data_dir
    token = created(data, "--user", "bob", "--app", "theirs", "--scopes", ",".join(LIST), "--description", "for one")
    assert lists(world, token) == 10000
    listed = [line.split("\t") for line in run(data, "list", "--user", "bob").stdout.splitlines()]
    (key_id,) = [line[0] for line in listed if line[-1] == "for one"]
    done = run(data, "revoke", "--user", "bob", key_id)
    assert done.returncode == 0, done.stderr
    assert lists(world, token) == 11008
    assert "does not exist" in run(data, "revoke", "--user", "bob", key_id).stderr
    assert "does not exist" in run(data, "create", "--user", "bob", "--app", "nowhere").stderr


def test_a_key_ends(world: World) -> None:
    key = posted(world.server, world.bob, "theirs", expires_at={"seconds": int(time.time()) + 4})
    assert lists(world, key.token) == 10000
    until(lambda: lists(world, key.token) == 11008)
    wanted = ListKeysRequest(user_app_id=ME, not_expired=True)
    assert key.id not in {one.id for one in world.good("ListKeys", wanted, world.bob).keys}


def test_the_keys_of_an_app_go_with_it(world: World) -> None:
    place = UserAppIDSet(user_id="bob", app_id="short-lived")
    request = PostAppsRequest(user_app_id=ME, apps=[App(id=place.app_id)])
    world.good("PostApps", request, world.bob)
    key = posted(world.server, world.bob, place.app_id)
    assert lists(world, key.token) == 10000
    world.good("DeleteApp", DeleteAppRequest(user_app_id=place), world.bob)
    world.good("PostApps", request, world.bob)
    assert lists(world, key.token) == 11008


@pytest.mark.parametrize(
    ("key", "code"),
    [
        (Key(scopes=["All"]), 11007),
        (Key(scopes=["Inputs:Add"]), 11007),
        (Key(endpoints=["/clarifai.api.V2/DeleteApp"]), 11007),
        (Key(scopes=["Apps:Get"], expires_at={"seconds": 4_000_000_000}), 11007),  # type: ignore[arg-type]
        (Key(scopes=["Nonsense"]), 11102),
        (Key(), 11102),
        (Key(scopes=["Apps:Get"], token="mine"), 11102),  # noqa: S106
        (Key(scopes=["Apps:Get"], type="app_specific_key"), 11102),
        (Key(scopes=["Apps:Get"], apps=[App(id="nowhere")]), 11101),
        (Key(scopes=["Apps:Get"], apps=[App(id="ours", user_id="ann")]), 11102),
        (Key(scopes=["Apps:Get"], organization_id="x"), 11102),
    ],
)
def test_nobody_gives_away_more_than_they_have(key: Key, code: int, world: World) -> None:
    ends = {"seconds": int(time.time()) + 1000}
    maker = posted(world.server, world.bob, scopes=["Apps:Get", "Keys:Add", "Keys:Get"], expires_at=ends)
    request = PostKeysRequest(user_app_id=ME, keys=[key])
    assert world.server.call(OWN, "PostKeys", request, metadata=shows(maker.token)).status.code == code
    change = Key(id=maker.id, scopes=["All"])
    patch = PatchKeysRequest(user_app_id=ME, keys=[change])
    assert world.server.call(OWN, "PatchKeys", patch, metadata=shows(maker.token)).status.code == 11007


def test_what_the_content_of_a_call_needs(world: World) -> None:
    key = posted(world.server, world.bob, "theirs", scopes=[*WRITE, "Search"])

    def invoke(rpc: str, request: Any) -> Any:
        return world.server.call(OWN, rpc, request, metadata=shows(key.token))

    def label(concept: str, user: str = "") -> Any:
        data = Data(concepts=[Concept(id=concept, value=1)])
        annotation = Annotation(input_id="their-input", data=data, user_id=user)
        return invoke("PostAnnotations", PostAnnotationsRequest(annotations=[annotation]))

    assert label("their-concept").status.code == 10000
    new = label("never-seen")
    assert (new.status.code, "Concepts:Add" in new.status.details) == (11007, True)
    assert label("their-concept", "bob").status.code == 10000
    assert label("their-concept", "eve").annotations[0].status.code == 24156
    renamed = Annotation(input_id="their-input", id="their-annotation", user_id="eve")
    patch = PatchAnnotationsRequest(annotations=[renamed], action="merge")
    assert invoke("PatchAnnotations", patch).annotations[0].status.code == 24156

    def ask(data: Data) -> Any:
        query = Query(ranks=[Rank(annotation=Annotation(data=data))])
        return invoke("PostInputsSearches", PostInputsSearchesRequest(searches=[Search(query=query)]))

    assert ask(Data(concepts=[Concept(id="their-concept", value=1)])).status.code == 10000
    found = ask(Data(text=Text(raw="a cat")))
    assert (found.status.code, "Predict" in found.status.details) == (11007, True)


def test_scopes_are_listed(world: World) -> None:
    answer = world.good("ListScopes", ListScopesRequest(user_app_id=ME), world.ann)
    needs = {one.scope: list(one.depending_scopes) for one in answer.scope_deps}
    assert needs["Inputs:Delete"] == ["Inputs:Add", "Inputs:Get"]
    endpoints = {one.endpoint: list(one.depending_scopes) for one in answer.endpoint_deps}
    assert "Inputs:Get" in endpoints["/clarifai.api.V2/ListInputs"]
    narrower = world.good("ListScopes", ListScopesRequest(user_app_id=ME, key_type="app_specific_key"), world.ann)
    assert "/clarifai.api.V2/PostKeys" not in {one.endpoint for one in narrower.endpoint_deps}


def test_tokens_are_nowhere_on_disk(world: World) -> None:
    token = posted(world.server, world.bob, "theirs").token
    assert lists(world, token) == 10000
    files = [path for path in world.server.data_dir.rglob("*") if path.is_file()]
    content = b"".join(path.read_bytes() for path in [*files, world.server.log])
    assert digest(token) in content  # the database is among the files
    assert token.encode() not in content
    assert token.removeprefix("postil_").encode() not in content


def test_the_audit_log_tells_who_and_not_their_tokens(world: World) -> None:
    key = posted(world.server, world.bob, "theirs")
    items = [Input(id=f"audited-{number}", data=Data(text=Text(raw="secret words"))) for number in range(30)]
    wrote = world.server.call(OWN, "PostInputs", PostInputsRequest(inputs=items), metadata=shows(key.token))
    refused = world.server.call(OWN, "ListInputs", ListInputsRequest(user_app_id=world.ours), metadata=shows(key.token))
    read = world.server.call(OWN, "ListInputs", ListInputsRequest(), metadata=shows(key.token))
    path = world.server.data_dir / "audit/audit.log"
    until(lambda: refused.status.req_id in path.read_text())
    lines = {line["req_id"]: line for line in map(json.loads, path.read_text().splitlines()) if "req_id" in line}
    line = lines[wrote.status.req_id]
    assert (line["rpc"], line["code"], line["key"], line["user"], line["app"]) == (
        "PostInputs", 10000, key.id, "bob", "theirs",
    )  # fmt: skip
    assert (line["items"], len(line["ids"]), line["ids"][0]) == (30, 20, "audited-0")
    assert "127.0.0.1" in line["from"]
    assert (lines[refused.status.req_id]["code"], lines[refused.status.req_id]["key"]) == (11008, key.id)
    assert read.status.req_id not in lines
    assert "secret words" not in path.read_text()
    assert path.stat().st_mode & 0o077 == 0


def test_media_are_for_whoever_was_told_their_digest(world: World, photos: dict[str, bytes]) -> None:
    place = world.theirs
    picture = Input(id="their-picture", data=Data(image=Image(base64=photos["cat"])))
    made = world.good("PostInputs", PostInputsRequest(user_app_id=place, inputs=[picture]), world.bob)
    url = made.inputs[0].data.image.url
    assert len(url.rpartition("/")[2].partition(".")[0]) == 64
    assert requests.get(url, timeout=60).content == photos["cat"]
    for path in ("/blobs", "/blobs/", f"/blobs/{'0' * 64}", f"/blobs/{url.rpartition('/')[2][:10]}"):
        assert requests.get(world.server.http + path, timeout=60).status_code == 404


def test_pages_beside_the_calls(world: World) -> None:
    def get(path: str, token: str = "") -> int:
        headers = dict(shows(token)) if token else {}
        return requests.get(world.server.http + path, headers=headers, timeout=60).status_code

    assert [get(path) for path in ("/healthz", "/readyz", "/docs", "/openapi.json")] == [200] * 4
    key = posted(world.server, world.bob, "theirs").token
    assert [get("/metrics", token) for token in ("", "nonsense", key, world.bob)] == [401, 401, 403, 200]


def test_the_first_key_closes_the_doors_for_good(start_server: Callable[..., Server]) -> None:
    server = start_server()
    request = ListInputsRequest()
    assert server.call(OWN, "ListInputs", request, metadata=()).status.code == 10000
    token = created(server.data_dir, "--scopes", "All")
    assert server.call(OWN, "ListInputs", request, metadata=()).status.code == 11102
    place = UserAppIDSet(user_id="me", app_id="main")
    assert (
        server.call(OWN, "ListInputs", ListInputsRequest(user_app_id=place), metadata=shows(token)).status.code == 10000
    )
    keys = server.call(OWN, "ListKeys", ListKeysRequest(), metadata=shows(token)).keys
    server.call(OWN, "DeleteKey", DeleteKeyRequest(key_id=keys[0].id), metadata=shows(token))
    server.restart()
    assert server.call(OWN, "ListInputs", request, metadata=()).status.code == 11102
