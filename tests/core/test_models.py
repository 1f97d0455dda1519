"""Models: built-in embedders and client vector spaces, found by every name they have."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from postil.core.models import Models
from postil.core.public_models import PublicModels
from postil.embed.base import EmbedQueue, Outputs, Spec
from postil.errors import Failure
from postil.store.base import Store
from postil.v1.common_pb2 import Visibility
from postil.v1.model_pb2 import Model
from postil.v1.model_service_pb2 import (
    GetModelRequest,
    GetModelTypeRequest,
    GetModelVersionRequest,
    ListModelsRequest,
    ListModelTypesRequest,
    ListModelVersionsRequest,
)
from postil.v1.status_code_pb2 import StatusCode
from support import nouns

PICTURE = Spec("general-image-embedding", "a" * 32, "picture", 1280, "Looks of a picture.")
TEXT = Spec("general-text-embedding", "b" * 32, "text", 256, "Meaning of a text.")
ALIAS = "bbb5f41425b8468d9b7a554ff10f8581"
PUBLIC = nouns.call(None, "clarifai", public=True)


class NoQueue:
    """A queue that nothing may be put into: telling what models there are must not run them."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec

    def infer(self, contents: Sequence[Any]) -> Future[Outputs]:
        raise NotImplementedError

    def submit(self, contents: Sequence[Any]) -> Future[NDArray[np.float32]]:
        raise AssertionError(contents)


class FakeEmbedders:
    """Two embedders, the first with an alias."""

    def specs(self) -> list[Spec]:
        return [PICTURE, TEXT]

    def default(self, kind: str) -> EmbedQueue | None:
        raise AssertionError(kind)

    def by_version(self, version_id: str) -> EmbedQueue | None:
        for spec in self.specs():
            if version_id in {spec.model_id, spec.version_id} or (version_id == ALIAS and spec is PICTURE):
                return NoQueue(spec)
        return None

    def close(self) -> None: ...


class World:
    """An app with two client spaces and one of a built-in embedder."""

    def __init__(self, store: Store) -> None:
        self.app = nouns.app(store)
        self.call = nouns.call(self.app)
        self.store = store
        self.space("mine", 512)
        self.space("other", 3)
        store.write(lambda tx: tx.ensure_space(self.app.row, PICTURE.version_id, PICTURE.model_id, "picture", 1280))
        self.models = Models(store, PublicModels(FakeEmbedders()))

    def space(self, name: str, dim: int) -> None:
        self.store.write(lambda tx: tx.ensure_space(self.app.row, name, name, "client", dim))

    def listed(self, call: Any = None, **wanted: Any) -> list[str]:
        return [model.id for model in self.models.list(call or self.call, ListModelsRequest(**wanted)).models]

    def get(self, model_id: str, version_id: str = "", call: Any = None) -> Model:
        request = GetModelRequest(model_id=model_id, version_id=version_id)
        return self.models.get(call or self.call, request).model


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with nouns.opened(tmp_path / "data") as store:
        yield World(store)


def test_the_list_shows_the_apps_own_spaces_and_then_the_public_models(world: World) -> None:
    assert world.listed() == ["mine", "other", PICTURE.model_id, TEXT.model_id]
    assert world.listed(dont_fetch_from_main=True) == ["mine", "other"]
    assert world.listed(PUBLIC) == [PICTURE.model_id, TEXT.model_id]
    assert world.listed(PUBLIC, dont_fetch_from_main=True) == [PICTURE.model_id, TEXT.model_id]


def test_a_built_in_model(world: World) -> None:
    model = world.get(PICTURE.model_id)
    assert (model.app_id, model.user_id, model.model_type_id) == ("main", "clarifai", "visual-embedder")
    assert model.name
    assert model.created_at.seconds
    assert model.model_version.id == PICTURE.version_id
    assert model.model_version.status.code == StatusCode.MODEL_TRAINED
    assert model.model_version.status.description == "Model trained successfully"
    assert model.model_version.metadata["dimensions"] == 1280
    assert model.output_info.output_config.embed_model_version_id == PICTURE.version_id
    assert world.get(PICTURE.model_id) == model


@pytest.mark.parametrize("name", [PICTURE.model_id, PICTURE.version_id, ALIAS])
def test_a_model_is_found_by_every_name_it_has(world: World, name: str) -> None:
    for call in (world.call, PUBLIC):
        assert world.get(name, call=call).id == PICTURE.model_id


def test_a_client_space_is_a_model_of_its_app(world: World) -> None:
    model = world.get("mine")
    assert (model.app_id, model.user_id, model.model_type_id) == ("main", "postil", "client-embedder")
    assert model.model_version.id == "mine"
    assert model.model_version.metadata["dimensions"] == 512
    with pytest.raises(Failure):
        world.get("mine", call=PUBLIC)
    with pytest.raises(Failure):
        world.get("mine", call=nouns.call(nouns.app(world.store, "elsewhere")))


def test_the_apps_own_model_comes_before_a_public_one_of_the_same_name(world: World) -> None:
    world.space(TEXT.model_id, 7)
    assert world.get(TEXT.model_id).model_type_id == "client-embedder"
    assert world.get(TEXT.version_id).model_type_id == "text-embedder"


def test_a_missing_model_or_version(world: World) -> None:
    for model_id, version_id in (("nobody", ""), (PICTURE.model_id, TEXT.version_id), ("", "")):
        with pytest.raises(Failure) as caught:
            world.get(model_id, version_id)
        assert caught.value.code == StatusCode.CONN_DOES_NOT_EXIST
    assert world.get(PICTURE.model_id, PICTURE.version_id).id == PICTURE.model_id


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"model_type_id": "visual-embedder"}, [PICTURE.model_id]),
        ({"model_type_id": "client-embedder"}, ["mine", "other"]),
        ({"model_type_id": "visual-classifier"}, []),
        ({"name": "GENERAL"}, [PICTURE.model_id, TEXT.model_id]),
        ({"name": "general-*-embedding"}, [PICTURE.model_id, TEXT.model_id]),
        ({"name": "*image"}, []),
        ({"name": "m?ne"}, []),
        ({"search": "meaning of"}, [TEXT.model_id]),
        ({"query": "looks"}, [PICTURE.model_id]),
        ({"model_version_ids": [TEXT.version_id, "mine"]}, ["mine", TEXT.model_id]),
        ({"input_fields": ["image"]}, [PICTURE.model_id]),
        ({"output_fields": ["concepts"]}, []),
        ({"filter_by_user_id": True}, ["mine", "other"]),
        ({"visibility": Visibility(gettable=Visibility.PUBLIC)}, [PICTURE.model_id, TEXT.model_id]),
        ({"trained_only": True, "per_page": 1, "page": 2}, ["other"]),
        ({"page": 50}, []),
        ({"sort_by_name": True, "sort_ascending": True}, [PICTURE.model_id, TEXT.model_id, "mine", "other"]),
    ],
)
def test_filters_and_order(world: World, wanted: dict[str, Any], found: list[str]) -> None:
    assert world.listed(**wanted) == found


@pytest.mark.parametrize(
    "wanted",
    [{"license": "mit"}, {"toolkits": ["x"]}, {"sort_by_num_inputs": True}, {"min_replicas": 1}, {"name": "n" * 257}],
)
def test_filters_that_are_not_supported_are_refused(world: World, wanted: dict[str, Any]) -> None:
    with pytest.raises(Failure) as caught:
        world.listed(**wanted)
    assert caught.value.code == StatusCode.MODEL_INVALID_REQUEST
    assert next(iter(wanted)) in caught.value.details


def test_versions(world: World) -> None:
    response = world.models.versions(world.call, ListModelVersionsRequest(model_id=PICTURE.model_id))
    assert [version.id for version in response.model_versions] == [PICTURE.version_id]
    beyond = world.models.versions(world.call, ListModelVersionsRequest(model_id=PICTURE.model_id, page=2))
    assert not beyond.model_versions
    with pytest.raises(Failure) as caught:
        world.models.versions(world.call, ListModelVersionsRequest(model_id="mine", concept_ids=["dog"]))
    assert caught.value.code == StatusCode.MODEL_INVALID_REQUEST
    with pytest.raises(Failure) as caught:
        world.models.versions(world.call, ListModelVersionsRequest(model_id="nobody"))
    assert caught.value.code == StatusCode.CONN_DOES_NOT_EXIST


def test_one_version(world: World) -> None:
    request = GetModelVersionRequest(model_id="mine", version_id="mine")
    assert world.models.version(world.call, request).model_version.user_id == "postil"
    for model_id, version_id in (("mine", "other"), ("mine", ""), ("nobody", "mine")):
        with pytest.raises(Failure) as caught:
            world.models.version(world.call, GetModelVersionRequest(model_id=model_id, version_id=version_id))
        assert caught.value.code == StatusCode.CONN_DOES_NOT_EXIST


def test_types(world: World) -> None:
    listed = [one.id for one in world.models.types(PUBLIC, ListModelTypesRequest()).model_types]
    assert listed == [
        "visual-embedder", "text-embedder", "client-embedder", "visual-classifier", "embedding-classifier",
        "text-classifier", "knn-concept", "concept-thresholder", "concept-threshold",
    ]  # fmt: skip
    assert {model.model_type_id for model in world.models.list(world.call, ListModelsRequest()).models} <= set(listed)
    assert len(world.models.types(PUBLIC, ListModelTypesRequest(page=3, per_page=4)).model_types) == 1
    one = world.models.type(PUBLIC, GetModelTypeRequest(model_type_id="text-embedder")).model_type
    assert list(one.input_fields) == ["text"]
    with pytest.raises(Failure, match="visual-embedder, text-embedder") as caught:
        world.models.type(PUBLIC, GetModelTypeRequest(model_type_id="oracle"))
    assert caught.value.code == StatusCode.CONN_DOES_NOT_EXIST
