"""A user's own encoder: read from its files and settings, refused with a reason where it cannot work."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from PIL import Image

from embed.models import custom_operator, picture_encoder, text_encoder, tokenizer
from postil.embed.onnx_model import OnnxModel, UserModel
from postil.embed.packaged import Unusable


@pytest.fixture
def picture_settings(tmp_path: Path) -> UserModel:
    return UserModel("mine", "picture", picture_encoder(tmp_path / "mine.onnx"), side=32)


@pytest.fixture
def text_settings(tmp_path: Path) -> UserModel:
    path = text_encoder(tmp_path / "words.onnx")
    return UserModel("words", "text", path, tokenizer=tokenizer(tmp_path / "words.json"), max_tokens=4)


def test_the_dimension_is_read_from_the_model(picture_settings: UserModel, text_settings: UserModel) -> None:
    assert OnnxModel(picture_settings, 1).spec.dim == 24
    assert OnnxModel(text_settings, 1).spec.dim == 12


def test_pictures_are_prepared_as_the_settings_say(picture_settings: UserModel) -> None:
    settings = dataclasses.replace(picture_settings, mean=(0.5, 0.25, 0.0), std=(0.5, 0.25, 2.0))
    picture = Image.new("RGB", (100, 60), (255, 255, 255))
    ready = OnnxModel(settings, 1).prepare(picture)
    assert ready.shape == (3, 32, 32)
    assert [float(plane.mean()) for plane in ready] == pytest.approx([1.0, 3.0, 0.5])


def test_the_model_is_what_computes(picture_settings: UserModel) -> None:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8))
    model = OnnxModel(picture_settings, 1)
    ready = model.prepare(picture)
    session = onnxruntime.InferenceSession(str(picture_settings.path), providers=["CPUExecutionProvider"])
    (plain,) = session.run(None, {"pixel_values": ready[None]})
    assert model.embed([ready])[0] == pytest.approx(plain[0] / np.linalg.norm(plain[0]), abs=1e-6)


def test_texts_are_averaged_over_tokens_and_cut(text_settings: UserModel) -> None:
    model = OnnxModel(text_settings, 1)
    both, cat, dog = model.embed(["cat dog", "cat", "dog"])
    assert both @ cat > 0.4
    assert both @ dog > 0.4
    first, second = model.embed(["cat dog river stone", "cat dog river stone a a a a"])
    assert (first == second).all()


def test_the_version_follows_files_and_settings(picture_settings: UserModel, tmp_path: Path) -> None:
    version = OnnxModel(picture_settings, 1).spec.version_id
    assert OnnxModel(picture_settings, 2).spec.version_id == version
    moved = dataclasses.replace(picture_settings, name="other", path=picture_encoder(tmp_path / "copy.onnx"))
    assert OnnxModel(moved, 1).spec.version_id == version
    brighter = dataclasses.replace(picture_settings, mean=(0.0, 0.0, 0.0))
    trained = dataclasses.replace(picture_settings, path=picture_encoder(tmp_path / "new.onnx", seed=1))
    versions = {OnnxModel(settings, 1).spec.version_id for settings in (picture_settings, brighter, trained)}
    assert len(versions) == 3


def test_weights_beside_the_model_belong_to_its_version(picture_settings: UserModel) -> None:
    path = picture_settings.path
    model = onnx.load(path)
    onnx.save(model, path, save_as_external_data=True, location=path.name + ".data", size_threshold=16)
    before = OnnxModel(picture_settings, 1).spec.version_id
    weights = path.with_name(path.name + ".data")
    content = bytearray(weights.read_bytes())
    content[0] ^= 1
    weights.write_bytes(content)
    assert OnnxModel(picture_settings, 1).spec.version_id != before


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "mine"), (b"", "mine"), (b"not a model", "cannot load"), (b"\x80\x02cos\nsystem\n.", "cannot load")],
)
def test_broken_files(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "broken.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(Unusable, match=message):
        OnnxModel(UserModel("mine", "picture", path, side=32), 1)


def test_custom_operators_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Unusable, match="cannot load"):
        OnnxModel(UserModel("mine", "picture", custom_operator(tmp_path / "c.onnx"), side=32), 1)


def test_a_wrong_side_is_told_at_once(picture_settings: UserModel) -> None:
    with pytest.raises(Unusable, match="trial run"):
        OnnxModel(dataclasses.replace(picture_settings, side=64), 1)


def test_an_unknown_output_is_told_at_once(picture_settings: UserModel) -> None:
    with pytest.raises(Unusable, match="trial run"):
        OnnxModel(dataclasses.replace(picture_settings, output="nothing"), 1)


def test_a_text_model_called_a_picture_model(text_settings: UserModel) -> None:
    with pytest.raises(Unusable, match="one input"):
        OnnxModel(dataclasses.replace(text_settings, kind="picture", tokenizer=None), 1)


def test_a_broken_tokenizer(text_settings: UserModel, tmp_path: Path) -> None:
    (tmp_path / "words.json").write_text("{}")
    with pytest.raises(Unusable, match=r"words\.json"):
        OnnxModel(text_settings, 1)


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"name": "a/b"},
        {"name": "x" * 129},
        {"kind": "sound"},
        {"kind": "text"},
        {"side": 0},
        {"side": 5000},
        {"max_tokens": 0},
        {"std": [0, 1, 1]},
        {"mean": [1, 2]},
        {"mean": ["red", "green", "blue"]},
        {"code": "import os"},
    ],
)
def test_wrong_settings(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        UserModel.from_table({"name": "mine", "kind": "picture", "path": "m.onnx"} | wrong)


def test_settings_come_from_a_table() -> None:
    table = {"name": "m", "kind": "text", "path": "m.onnx", "tokenizer": "t.json", "mean": [0, 0, 0], "default": True}
    settings = UserModel.from_table(table)
    assert settings.path == Path("m.onnx")
    assert settings.tokenizer == Path("t.json")
    assert settings.mean == (0.0, 0.0, 0.0)
    assert settings.default
    with pytest.raises(ValueError, match="path"):
        UserModel.from_table({"name": "m", "kind": "picture"})
