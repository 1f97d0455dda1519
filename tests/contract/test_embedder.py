"""The embedder contract (`embed/base.py`), which every embedder must keep: shape, length, and the same bits always."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from embed.models import picture_encoder, text_encoder, tokenizer
from postil import errors
from postil.embed.base import Embedder
from postil.embed.onnx_model import OnnxModel, UserModel
from postil.embed.picture import PictureModel
from postil.embed.queue import BatchingQueue
from postil.embed.text import TextModel

TEXTS = [
    "a cat",
    "the dog by the river",
    "Stone",
    "Über den Fluß und in die Wälder",
    "猫が川のそばに座っている",
    "🐈‍⬛ " * 50,
    "a " * 20_000,
    "\x00\x01 \ufeff\u200b x",
]


def pictures() -> list[Image.Image]:
    rng = np.random.default_rng(0)
    sizes = [(224, 224), (400, 300), (300, 400), (1, 1), (2, 500), (900, 7), (1280, 853), (33, 32)]
    return [Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)) for width, height in sizes]


@pytest.fixture(scope="module", params=["picture", "text", "user-picture", "user-text"])
def embedder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Embedder:
    folder: Path = tmp_path_factory.mktemp("models")
    match request.param:
        case "picture":
            return PictureModel(folder, threads=2)
        case "text":
            return TextModel()
        case "user-picture":
            path = picture_encoder(folder / "p.onnx")
            return OnnxModel(UserModel(name="mine", kind="picture", path=path, side=32), threads=2)
    settings = UserModel("words", "text", text_encoder(folder / "t.onnx"), tokenizer=tokenizer(folder / "t.json"))
    return OnnxModel(settings, threads=2)


@pytest.fixture
def contents(embedder: Embedder) -> list[Any]:
    return list(pictures() if embedder.spec.kind == "picture" else TEXTS)


@pytest.fixture
def queue(embedder: Embedder) -> Iterator[BatchingQueue]:
    made = BatchingQueue(embedder.spec, lambda: embedder, workers=2)
    yield made
    made.close()


def test_the_spec_is_complete(embedder: Embedder) -> None:
    spec = embedder.spec
    assert spec.kind in {"picture", "text"}
    assert len(spec.version_id) == 32
    assert set(spec.version_id) <= set("0123456789abcdef")
    assert spec.model_id
    assert spec.dim > 0
    assert spec.description
    assert embedder.batch >= 1


def test_vectors_have_the_dimension_and_length_one(embedder: Embedder, contents: list[Any]) -> None:
    matrix = embedder.embed([embedder.prepare(content) for content in contents])
    assert matrix.shape == (len(contents), embedder.spec.dim)
    assert matrix.dtype == np.float32
    assert matrix.flags.c_contiguous
    assert np.abs(np.linalg.norm(matrix.astype(np.float64), axis=1) - 1).max() < 1e-6


def test_different_contents_have_different_vectors(embedder: Embedder) -> None:
    two = pictures()[1:3] if embedder.spec.kind == "picture" else ["cat", "river"]
    first, second = embedder.embed([embedder.prepare(content) for content in two])
    assert first @ second < 0.999


@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_the_bits_do_not_depend_on_the_batch(embedder: Embedder, contents: list[Any], size: int) -> None:
    ready = [embedder.prepare(content) for content in contents]
    alone = np.concatenate([embedder.embed([item]) for item in ready])
    batches = [embedder.embed(ready[start : start + size]) for start in range(0, len(ready), size)]
    assert np.concatenate(batches).tobytes() == alone.tobytes()
    backwards = embedder.embed(ready[::-1])[::-1]
    assert backwards.tobytes() == alone.tobytes()


def test_the_bits_do_not_depend_on_the_company(queue: BatchingQueue, contents: list[Any]) -> None:
    alone = np.concatenate([queue.submit([content]).result(60) for content in contents])
    together = [queue.submit(contents) for _ in range(5)] + [queue.submit([content]) for content in contents]
    for future in together[:5]:
        assert future.result(60).tobytes() == alone.tobytes()
    assert np.concatenate([future.result(60) for future in together[5:]]).tobytes() == alone.tobytes()


def test_many_threads_at_once(embedder: Embedder, contents: list[Any]) -> None:
    ready = [embedder.prepare(content) for content in contents[:4]]
    wanted = embedder.embed(ready).tobytes()
    found: list[bytes] = []

    def work() -> None:
        found.extend(embedder.embed(ready).tobytes() for _ in range(3))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [wanted] * 12


def test_nothing_in_nothing_out(queue: BatchingQueue) -> None:
    assert queue.submit([]).result(1).shape == (0, queue.spec.dim)


@pytest.mark.parametrize("blank", ["", " ", "\n\t"])
def test_texts_without_a_word_are_refused(embedder: Embedder, blank: str) -> None:
    if embedder.spec.kind != "text":
        pytest.skip("a picture model")
    with pytest.raises(errors.Failure) as caught:
        embedder.prepare(blank)
    assert "empty" in caught.value.details
