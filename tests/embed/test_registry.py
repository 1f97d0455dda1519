"""The registry: what there is, under which names, loaded when it is needed."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from PIL import Image

from embed.models import picture_encoder
from postil.embed import picture, text
from postil.embed.onnx_model import UserModel
from postil.embed.packaged import Unusable
from postil.embed.queue import BatchingQueue
from postil.embed.registry import ModelRegistry


def loaded(queue: BatchingQueue | None) -> bool:
    assert queue is not None
    return queue._embedder is not None


def test_specs_load_nothing(tmp_path: Path) -> None:
    registry = ModelRegistry(tmp_path, threads=2)
    assert registry.specs() == [picture.SPEC, text.SPEC]
    assert registry.default("picture") is registry.by_version("general-image-embedding")
    assert not loaded(registry.default("picture"))
    assert not loaded(registry.default("text"))
    assert not list(tmp_path.iterdir())
    registry.close()


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("general-image-embedding", "picture"),
        (picture.SPEC.version_id, "picture"),
        ("bbb5f41425b8468d9b7a554ff10f8581", "picture"),
        ("general-text-embedding", "text"),
        (text.SPEC.version_id, "text"),
    ],
)
def test_names(tmp_path: Path, name: str, kind: str) -> None:
    registry = ModelRegistry(tmp_path, threads=1)
    assert registry.by_version(name) is registry.default(kind)
    registry.close()


@pytest.mark.parametrize("name", ["", "unknown", "0" * 32, "GENERAL-IMAGE-EMBEDDING"])
def test_unknown_names(tmp_path: Path, name: str) -> None:
    registry = ModelRegistry(tmp_path, threads=1)
    assert registry.by_version(name) is None
    assert registry.default(name) is None
    registry.close()


def test_it_works_from_a_cold_start(tmp_path: Path) -> None:
    registry = ModelRegistry(tmp_path, threads=2)
    pictures, texts = registry.default("picture"), registry.default("text")
    assert pictures is not None
    assert texts is not None
    futures = [pictures.submit([Image.new("RGB", (60, 40), (9, 99, 199))]), texts.submit(["a cat"])]
    assert [future.result(60).shape for future in futures] == [(1, 1280), (1, 256)]
    assert [path.name for path in tmp_path.iterdir()] == ["models"]
    registry.close()


def test_warming(tmp_path: Path) -> None:
    registry = ModelRegistry(tmp_path, threads=2)
    registry.warm().join(60)
    assert loaded(registry.default("picture"))
    assert loaded(registry.default("text"))
    registry.close()


def test_warming_survives_what_cannot_be_loaded(tmp_path: Path) -> None:
    (tmp_path / "models").write_text("in the way")
    registry = ModelRegistry(tmp_path, threads=1)
    registry.warm().join(60)
    queue = registry.default("picture")
    assert queue is not None
    with pytest.raises(OSError, match="models"):
        queue.submit([Image.new("RGB", (8, 8))]).result(60)
    assert loaded(registry.default("text"))
    registry.close()


def test_a_users_model(tmp_path: Path) -> None:
    settings = UserModel("mine", "picture", picture_encoder(tmp_path / "mine.onnx"), side=32)
    registry = ModelRegistry(tmp_path / "data", 2, [settings])
    mine = registry.by_version("mine")
    assert mine is not None
    assert mine is registry.by_version(mine.spec.version_id)
    assert mine.spec in registry.specs()
    assert registry.default("picture") is not mine
    assert mine.submit([Image.new("RGB", (50, 50), (200, 30, 30))]).result(10).shape == (1, 24)
    registry.close()


def test_a_users_model_as_default(tmp_path: Path) -> None:
    settings = UserModel("mine", "picture", picture_encoder(tmp_path / "mine.onnx"), side=32, default=True)
    registry = ModelRegistry(tmp_path / "data", 2, [settings])
    assert registry.default("picture") is registry.by_version("mine")
    builtin = registry.by_version("general-image-embedding")
    assert builtin is not None
    assert builtin.spec == picture.SPEC
    registry.close()


def test_names_must_differ(tmp_path: Path) -> None:
    path = picture_encoder(tmp_path / "mine.onnx")
    for name in ("mine", "general-image-embedding"):
        twice = [UserModel("mine", "picture", path, side=32), UserModel(name, "picture", path, side=32)]
        with pytest.raises(ValueError, match="name of its own"):
            ModelRegistry(tmp_path / "data", 1, twice)


def test_a_missing_file_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(Unusable, match=r"gone\.onnx"):
        ModelRegistry(tmp_path, 1, [UserModel("mine", "picture", tmp_path / "gone.onnx")])


def test_closing_leaves_no_threads(tmp_path: Path) -> None:
    before = threading.active_count()
    registry = ModelRegistry(tmp_path, threads=3)
    queue = registry.default("text")
    assert queue is not None
    queue.submit(["a"]).result(30)
    assert threading.active_count() == before + 3
    registry.close()
    assert threading.active_count() == before
