"""Apps and users against a real store."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict

from postil.core.apps import Apps, Users
from postil.errors import Failure
from postil.store.base import AppRecord, Store
from postil.v1.app_pb2 import App
from postil.v1.app_service_pb2 import (
    DeleteAppRequest,
    GetAppRequest,
    ListAppsRequest,
    PatchAppRequest,
    PatchAppsRequest,
    PostAppsRequest,
)
from postil.v1.common_pb2 import PatchAction, Visibility
from postil.v1.image_pb2 import Image
from postil.v1.status_code_pb2 import StatusCode
from postil.v1.user_service_pb2 import GetUserRequest
from postil.v1.workflow_pb2 import Workflow
from support import nouns


class World:
    """One user's apps and the verbs on them."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.user = nouns.call(None, "ann")
        self.apps = Apps(store)

    def post(self, *wanted: App | str) -> list[App]:
        items = [App(id=one) if isinstance(one, str) else one for one in wanted]
        return list(self.apps.post(self.user, PostAppsRequest(apps=items)).apps)

    def record(self, app_id: str) -> AppRecord:
        found = self.apps.resolve("ann", app_id, create=False)
        assert found is not None
        return found

    def get(self, app_id: str) -> App:
        return self.apps.get(nouns.call(self.record(app_id)), GetAppRequest()).app

    def listed(self, **wanted: Any) -> list[str]:
        return [app.id for app in self.apps.list(self.user, ListAppsRequest(**wanted)).apps]

    def patch(self, *changes: App, action: str = "overwrite", metadata: PatchAction | None = None) -> list[App]:
        request = PatchAppsRequest(apps=changes, action=action, metadata_action=metadata)
        return list(self.apps.patch(self.user, request).apps)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with nouns.opened(tmp_path / "data") as store:
        yield World(store)


def with_metadata(app_id: str, metadata: dict[str, Any], **fields: Any) -> App:
    app = App(id=app_id, **fields)
    app.metadata.update(metadata)
    return app


# Post and get.


def test_a_posted_app_comes_back_whole(world: World) -> None:
    workflow = Workflow(id="General", app_id="main", user_id="clarifai")
    wanted = with_metadata("pets", {"k": 1}, description="cats", default_workflow=workflow, sample_ms=500)
    (posted,) = world.post(wanted)
    assert (posted.id, posted.name, posted.user_id, posted.default_language) == ("pets", "pets", "ann", "en")
    assert (posted.description, posted.sample_ms, posted.default_workflow) == ("cats", 500, workflow)
    assert posted.visibility.gettable == Visibility.PRIVATE
    assert posted.created_at.seconds > 1_700_000_000
    assert world.get("pets") == posted


def test_the_server_makes_an_id(world: World) -> None:
    first, second = world.post(App(name="a"), App(name="a"))
    assert len(first.id) == len(second.id) == 32
    assert first.id != second.id


def test_fields_of_the_server_are_not_taken_from_the_client(world: World) -> None:
    (posted,) = world.post(App(id="a", star_count=99, is_starred=True, user_id="me"))
    assert (posted.star_count, posted.is_starred, posted.user_id) == (0, False, "ann")


def test_a_taken_id_fails_the_whole_call_and_is_named(world: World) -> None:
    world.post("a")
    with pytest.raises(Failure) as caught:
        world.post("b", "a")
    assert caught.value.code == StatusCode.DATABASE_DUPLICATE_KEY
    assert "apps[1]" in caught.value.details
    assert "'a'" in caught.value.details
    assert world.listed() == ["a"]


def test_an_id_may_come_once_in_a_call(world: World) -> None:
    with pytest.raises(Failure, match=r"apps\[1\]: duplicate id 'a', also in apps\[0\]") as caught:
        world.post("a", "a")
    assert caught.value.code == StatusCode.DATABASE_DUPLICATE_KEY


def test_users_have_apps_of_the_same_name(world: World) -> None:
    world.post("a")
    world.user = nouns.call(None, "bob")
    assert world.listed() == []
    assert world.post("a")[0].user_id == "bob"


@pytest.mark.parametrize(
    "bad",
    [
        App(id="my app"),
        App(id="a/b"),
        App(id="x" * 49),
        App(id="a", user_id="bob"),
        App(id="a", default_language="klingon"),
        App(id="a", visibility=Visibility(gettable=Visibility.PUBLIC)),
        App(id="a", image=Image(base64=b"x")),
        App(id="a", data_tier_id="gold"),
        App(id="a", embeddings_storage=App.QDRANT),
        App(id="a", name="n" * 257),
        App(id="a", description="n" * 100_001),
    ],
)
def test_what_cannot_be_kept_is_refused(world: World, bad: App) -> None:
    for verb in (world.post, world.patch):
        with pytest.raises(Failure, match=r"apps\[0\]") as caught:
            verb(bad)
        assert caught.value.code == StatusCode.CONN_INVALID_REQUEST
        assert len(caught.value.details) < 300


@pytest.mark.parametrize("count", [0, 129])
def test_the_number_of_items_is_limited(world: World, count: int) -> None:
    with pytest.raises(Failure, match=f"holds {count} items; send 1 to 128"):
        world.post(*[f"a{number}" for number in range(count)])


def test_the_public_app(world: World) -> None:
    call = nouns.call(None, "clarifai", public=True)
    assert world.apps.get(call, GetAppRequest()).app.id == "main"
    world.user = nouns.call(None, "clarifai")
    with pytest.raises(Failure) as caught:
        world.post("main")
    assert caught.value.code == StatusCode.DATABASE_DUPLICATE_KEY


# List.


def test_the_list_is_in_order_of_creation_and_paged(world: World) -> None:
    world.post("c", "a", "b")
    assert world.listed() == ["c", "a", "b"]
    assert world.listed(page=2, per_page=2) == ["b"]
    assert world.listed(page=9) == []


def test_the_list_can_be_ordered(world: World) -> None:
    world.post(App(id="x", name="beta"), App(id="y", name="Alpha"), App(id="z", name="gamma"))
    world.patch(App(id="x", description="changed"))
    assert world.listed(sort_by_name=True, sort_ascending=True) == ["y", "x", "z"]
    assert world.listed(sort_by_name=True) == ["z", "x", "y"]
    assert world.listed(sort_by_id=True) == ["z", "y", "x"]
    assert world.listed(sort_by_modified_at=True)[0] == "x"
    assert world.listed(sort_by_created_at=True, sort_ascending=True, per_page=2, page=2) == ["z"]


def test_the_list_can_be_filtered(world: World) -> None:
    world.post(App(id="pets", description="Cats and dogs"), App(id="cars", name="Cats eyes"), "birds")
    assert world.listed(search="CATS") == ["pets", "cars"]
    assert world.listed(query="dogs") == ["pets"]
    assert world.listed(name="cats") == ["cars"]
    assert world.listed(id="ird") == ["birds"]


@pytest.mark.parametrize(
    "wanted",
    [{"featured_only": True}, {"starred_only": True}, {"sort_by_star_count": True}, {"name": "n" * 257}],
)
def test_filters_that_are_not_supported_are_refused(world: World, wanted: dict[str, Any]) -> None:
    with pytest.raises(Failure) as caught:
        world.listed(**wanted)
    assert caught.value.code == StatusCode.CONN_INVALID_REQUEST


# Patch.


def test_patch_changes_what_is_sent(world: World) -> None:
    (posted,) = world.post(with_metadata("a", {"k": 1}, description="old"))
    (patched,) = world.patch(with_metadata("a", {"l": 2}, name="New"))
    assert (patched.name, patched.description) == ("New", "old")
    assert MessageToDict(patched.metadata) == {"l": 2}
    assert patched.created_at == posted.created_at
    assert patched.modified_at.ToMicroseconds() > posted.modified_at.ToMicroseconds()
    assert world.get("a") == patched


@pytest.mark.parametrize("action", ["merge", ""])
def test_merge_deep_merges_metadata(world: World, action: str) -> None:
    world.post(with_metadata("a", {"k": {"x": 1}}))
    (patched,) = world.patch(with_metadata("a", {"k": {"y": 2}}), action=action)
    assert MessageToDict(patched.metadata) == {"k": {"x": 1, "y": 2}}


@pytest.mark.parametrize(
    ("op", "expected"), [("overwrite", {"b": 2}), ("merge", {"a": 1, "b": 2}), ("delete", {}), ("", {"b": 2})]
)
def test_metadata_has_an_action_of_its_own(world: World, op: str, expected: dict[str, int]) -> None:
    world.post(with_metadata("a", {"a": 1}))
    (patched,) = world.patch(with_metadata("a", {"b": 2}), metadata=PatchAction(op=op))
    assert MessageToDict(patched.metadata) == expected


@pytest.mark.parametrize(
    "action",
    [
        PatchAction(op="replace"),
        PatchAction(op="merge", path="tag[1].data"),
        PatchAction(op="merge", merge_conflict_resolution="do_nothing"),
    ],
)
def test_metadata_actions_that_are_not_supported_are_refused(world: World, action: PatchAction) -> None:
    world.post("a")
    with pytest.raises(Failure) as caught:
        world.patch(App(id="a"), metadata=action)
    assert caught.value.code == StatusCode.METADATA_INVALID_PATCH_ARGUMENTS


def test_an_app_that_was_got_can_be_sent_back(world: World) -> None:
    (posted,) = world.post(with_metadata("a", {"k": [1, 2]}))
    (patched,) = world.patch(posted)
    patched.modified_at.CopyFrom(posted.modified_at)
    assert patched == posted


def test_a_missing_app_fails_the_whole_patch(world: World) -> None:
    world.post("a")
    with pytest.raises(Failure, match=r"apps\[1\]") as caught:
        world.patch(App(id="a", name="changed"), App(id="nobody"))
    assert caught.value.code == StatusCode.CONN_DOES_NOT_EXIST
    assert world.get("a").name == "a"


def test_the_language_is_fixed(world: World) -> None:
    world.post(App(id="a", default_language="de"))
    world.patch(App(id="a", default_language="de", name="x"))
    with pytest.raises(Failure, match="fixed when an app is made"):
        world.patch(App(id="a", default_language="fr"))


@pytest.mark.parametrize("action", ["remove", "delete"])
def test_actions_that_are_not_supported(world: World, action: str) -> None:
    world.post("a")
    with pytest.raises(Failure, match="use overwrite or merge") as caught:
        world.patch(App(id="a"), action=action)
    assert caught.value.code == StatusCode.CONN_INVALID_REQUEST


def test_reindexing_is_refused(world: World) -> None:
    world.post("a")
    with pytest.raises(Failure, match="reindex"):
        world.apps.patch(world.user, PatchAppsRequest(apps=[App(id="a")], action="overwrite", reindex=True))


def test_patching_the_app_of_the_call(world: World) -> None:
    world.post("a")
    request = PatchAppRequest(app=App(id="ignored", name="New"), action="overwrite")
    assert world.apps.patch_one(nouns.call(world.record("a")), request).app.name == "New"
    assert world.get("a").name == "New"


# Delete and resolve.


def test_a_deleted_app_is_gone_with_everything_in_it(world: World) -> None:
    world.post("a", "b")
    record = world.record("a")
    nouns.add_input(world.store, record, "i", {"dog": 1.0})
    call = nouns.call(record)
    assert world.apps.delete(call, DeleteAppRequest()).status.code == StatusCode.SUCCESS
    assert world.listed() == ["b"]
    assert world.apps.resolve("ann", "a", create=False) is None
    assert world.store.read().concepts(record.row, ["dog"]) == {}
    with pytest.raises(Failure) as caught:
        world.apps.get(call, GetAppRequest())
    assert caught.value.code == StatusCode.CONN_DOES_NOT_EXIST


def test_the_public_app_cannot_be_deleted(world: World) -> None:
    with pytest.raises(Failure) as caught:
        world.apps.delete(nouns.call(None, "clarifai", public=True), DeleteAppRequest())
    assert caught.value.code == StatusCode.CONN_DOES_NOT_EXIST


def test_resolving_creates_only_when_it_may(world: World) -> None:
    assert world.apps.resolve("ann", "new", create=False) is None
    made = world.apps.resolve("ann", "new", create=True)
    assert made is not None
    assert world.get("new").name == "new"
    assert world.apps.resolve("ann", "new", create=True) == made


@pytest.mark.parametrize("name", ["a b", "", "a/b"])
def test_resolving_creates_no_app_with_a_bad_id(world: World, name: str) -> None:
    for pair in ((name, "a"), ("ann", name)):
        with pytest.raises(Failure) as caught:
            world.apps.resolve(*pair, create=True)
        assert caught.value.code == StatusCode.CONN_INVALID_REQUEST


def test_threads_that_race_for_an_app_get_the_same_one(world: World) -> None:
    barrier, found = threading.Barrier(8), []

    def resolve() -> None:
        barrier.wait()
        found.append(world.apps.resolve("ann", "contested", create=True))

    threads = [threading.Thread(target=resolve) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len({record.row for record in found if record}) == 1
    assert world.listed() == ["contested"]


def test_a_user_is_told_its_id(world: World) -> None:
    user = Users(world.store).get(world.user, GetUserRequest()).user
    assert user.id == "ann"
    assert not user.HasField("created_at")
