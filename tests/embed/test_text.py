"""The default text model: near in meaning is near in space; the same vectors as wordllama's own code gives."""

from __future__ import annotations

import logging
import resource
import subprocess
import sys
import time

import numpy as np
import pytest

from postil import errors
from postil.embed import text as module
from postil.embed.packaged import Unusable, package_file
from postil.embed.text import MAX_CHARACTERS, SPEC, TextModel
from postil.v1.status_code_pb2 import StatusCode

TEXTS = ["a cat", "a kitten", "the stock market crashed", "Börsenkrach", "x" * 3000, "1 2 3", "el gato", "\n a\n"]


@pytest.fixture(scope="module")
def model() -> TextModel:
    return TextModel()


def test_likeness_follows_meaning(model: TextModel) -> None:
    cat, kitten, market = model.embed(TEXTS[:3])
    assert cat @ kitten > 0.5
    assert cat @ market < 0.2


def test_the_vectors_are_those_of_wordllama(model: TextModel) -> None:
    # Its import sets up the root logger, which this process must not suffer.
    root = logging.getLogger()
    before = list(root.handlers), root.level
    from wordllama import WordLlama

    root.handlers[:], level = before
    root.setLevel(level)
    folder = package_file("wordllama", "__init__.py").parent
    theirs = WordLlama.load(cache_dir=folder, disable_download=True).embed(TEXTS, norm=True)
    assert np.abs(model.embed(TEXTS) - theirs).max() < 1e-5


def test_the_version_and_the_vectors_are_constants(model: TextModel) -> None:
    """The id names vector spaces that are on people's disks."""
    assert SPEC.version_id == "77f377338148e8a56c08c74ad200db0d"
    vector = model.embed(["a cat by the river"])[0]
    assert vector[:4] == pytest.approx([-0.12101794, 0.02768981, -0.02367403, 0.09531845], abs=1e-6)


def test_nothing_is_imported_but_the_files() -> None:
    """wordllama's code would bring a client for HTTP, and set up logging."""
    script = (
        "import sys, logging; from postil.embed.text import TextModel; TextModel().embed(['a']); "
        "print([m for m in ('wordllama', 'requests', 'onnx') if m in sys.modules], logging.getLogger().handlers)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] []"


def test_a_long_text_in_a_batch_stays_small(model: TextModel) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    long = "word " * (MAX_CHARACTERS // 5)
    matrix = model.embed([long, *["short"] * 63])
    assert np.isfinite(matrix).all()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # kilobytes; padded: 13 GB


def test_texts_over_the_limit(model: TextModel) -> None:
    with pytest.raises(errors.Failure) as caught:
        model.prepare("x" * (MAX_CHARACTERS + 1))
    assert caught.value.code == StatusCode.INPUT_OVER_LIMIT
    assert "1,000,000" in caught.value.details


def test_an_empty_text_has_its_own_code(model: TextModel) -> None:
    with pytest.raises(errors.Failure) as caught:
        model.prepare(" ")
    assert caught.value.code == StatusCode.INPUT_INVALID_ARGUMENT


def test_other_weights_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_WEIGHTS_SHA256", "0" * 64)
    with pytest.raises(Unusable, match="not the file"):
        TextModel()


def test_it_is_fast(model: TextModel) -> None:
    start = time.perf_counter()
    model.embed(["the quick brown fox jumps over the lazy dog"] * 1000)
    assert time.perf_counter() - start < 2
