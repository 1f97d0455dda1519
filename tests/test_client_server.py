"""The Python client against a real server: what a user does on the first day."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest

from postil.v1.common_pb2 import UserAppIDSet
from postil.v1.model_service_pb2 import ListModelsRequest
from postil.v1.model_service_pb2_grpc import ModelsStub
from postil.v1.status_code_pb2 import StatusCode
from postil_client import Client, PostilError, build
from support.server import Server


@pytest.fixture
def client(server: Server, app: UserAppIDSet) -> Iterator[Client]:
    with Client(server.grpc, user_id=app.user_id, app_id=app.app_id) as client:
        yield client


def test_pictures_are_found_by_example_in_every_form(client: Client, photos: dict[str, bytes], tmp_path: Path) -> None:
    kept = client.add_pictures(photos, concepts=["photo"])
    assert [one.id for one in kept] == list(photos)
    client.wait_until_processed(photos)
    file = tmp_path / "cup.png"
    file.write_bytes(photos["cup"])
    for answer in (
        client.search_by_bytes(photos["cup"]),
        client.search_by_picture(file),
        client.search_by_picture(client.get("cup").data.image.url),
        client.search_by_input("cup"),
    ):
        assert answer.hits[0].input.id == "cup"
        assert answer.hits[0].score == pytest.approx(1.0, abs=1e-3)
        assert len(answer.hits) == 3
    assert client.get("cup").data.image.url.startswith("http://")


def test_texts_are_found_by_meaning(client: Client) -> None:
    client.add_texts({"tea": "a pot of green tea", "car": "an old red car", "snow": "snow on the mountains"})
    assert client.search_by_text("something hot to drink", top=1).hits[0].input.id == "tea"
    assert client.search_by_text("winter", unit="inputs", top=1).hits[0].input.id == "snow"


def test_vectors_of_ones_own_come_in_thousands(client: Client) -> None:
    vectors = np.random.default_rng(7).standard_normal((1000, 16)).astype(np.float32)
    names = [f"v{n}" for n in range(len(vectors))]
    kept = client.add_vectors(dict(zip(names, vectors.tolist(), strict=True)), space="mine")
    assert len(kept) == 1000
    assert sorted(one.id for one in client.inputs()) == sorted(names)
    near = np.argsort(np.linalg.norm(vectors - vectors[0], axis=1))[:10]
    query = vectors[0].tolist()
    assert [hit.input.id for hit in client.search_by_vector(query, space="mine").hits] == [names[n] for n in near]
    second = client.search_by_vector(query, space="mine", top=5, page=2).hits
    assert [hit.input.id for hit in second] == [names[n] for n in near[5:]]
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    aligned = np.argsort(-(unit @ unit[0]))[:10]
    hits = client.search_by_vector(query, space="mine", metric="cosine").hits
    assert [hit.input.id for hit in hits] == [names[n] for n in aligned]


def test_labels_are_kept_listed_and_deleted(client: Client, photos: dict[str, bytes]) -> None:
    client.add_pictures(photos)
    whole = client.label("cat", "cat", absent=["dog"])
    boxed = client.label("cat", "eye", region=build.box(0.2, 0.3, 0.5, 0.6))
    assert {one.id for one in client.annotations("cat")} == {whole.id, boxed.id}
    assert list(client.annotations("cup")) == []
    assert {"cat", "dog", "eye"} <= {one.id for one in client.concepts()}
    assert client.search_by_concept("cat", unit="inputs").hits[0].input.id == "cat"
    client.delete_annotations([boxed])
    assert [one.id for one in client.annotations("cat")] == [whole.id]


def test_one_bad_item_does_not_hide_the_good_ones(client: Client, photos: dict[str, bytes]) -> None:
    client.add_texts({"taken": "first come"})
    with pytest.raises(PostilError) as caught:
        client.add_texts({"fresh": "second", "taken": "third"})
    error = caught.value
    assert error.code == StatusCode.MIXED_STATUS
    assert error.req_id
    assert [one.id for one in error.succeeded] == ["fresh"]
    assert [one.status.code for one in error.failed] == [StatusCode.INPUT_DUPLICATE]
    assert client.get("taken").data.text.raw == "first come"
    with pytest.raises(PostilError) as caught:
        client.label("nobody", "x")
    assert caught.value.failed[0].status.code == StatusCode.ANNOTATION_INVALID_ARGUMENT


def test_what_is_deleted_is_gone(client: Client) -> None:
    client.add_texts({"a": "one", "b": "two"})
    client.delete(["a", "never-there"])
    assert [one.id for one in client.inputs()] == ["b"]
    with pytest.raises(PostilError) as caught:
        client.get("a")
    assert caught.value.code == StatusCode.CONN_DOES_NOT_EXIST
    with pytest.raises(PostilError, match="'a'"):
        client.wait_until_processed(["a", "b"])


def test_other_calls_go_through_the_same_channel(client: Client) -> None:
    models = client.call(ModelsStub(client.channel).ListModels, ListModelsRequest())
    assert models.models


def test_says_when_nobody_is_there() -> None:
    with Client("127.0.0.1:1", timeout=1) as client, pytest.raises(grpc.RpcError):
        client.get("a")
