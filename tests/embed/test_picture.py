"""The default picture model sees what is there, and is converted once, whole."""

from __future__ import annotations

import ast
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import skimage.data
from PIL import Image

from postil.embed import convert
from postil.embed.packaged import Unusable, digest, package_file
from postil.embed.picture import CLASSES, SPEC, SQUARE, PictureModel
from postil.embed.torch_file import read_state
from postil.media import squares
from postil.media.squares import Square

# ImageNet classes by number: espresso 967, cup 968; tabby, tiger cat, Egyptian cat 281, 282, 285; tripod 872;
# missile 657, projectile 744.
ESPRESSO, TABBY, TIGER_CAT, EGYPTIAN_CAT, TRIPOD, MISSILE = 967, 281, 282, 285, 872, 657


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def model(folder: Path) -> PictureModel:
    return PictureModel(folder, threads=2)


def photograph(name: str) -> Image.Image:
    return Image.fromarray(getattr(skimage.data, name)()).convert("RGB")


def chances(model: PictureModel, picture: Image.Image) -> np.typing.NDArray[np.float64]:
    _, logits = model.run(model.prepare(picture)[None])
    assert logits.shape == (1, CLASSES)
    powers: np.typing.NDArray[np.float64] = np.exp(logits[0].astype(np.float64) - logits[0].max())
    powers /= powers.sum()
    return powers


@pytest.mark.parametrize(
    ("name", "classes", "least"),
    [
        ("coffee", [ESPRESSO], 0.94),
        ("camera", [TRIPOD], 0.92),
        ("chelsea", [TABBY, TIGER_CAT, EGYPTIAN_CAT], 0.9),
        ("rocket", [MISSILE], 0.25),
    ],
)
def test_it_knows_what_it_sees(model: PictureModel, name: str, classes: list[int], least: float) -> None:
    found = chances(model, photograph(name))
    assert int(found.argmax()) in classes
    assert found[classes].sum() > least


def test_likeness_follows_looks(model: PictureModel) -> None:
    cat, coffee = photograph("chelsea"), photograph("coffee")
    variants = [cat, cat.transpose(Image.Transpose.FLIP_LEFT_RIGHT), cat.resize((200, 133)), coffee]
    vectors = model.embed([model.prepare(picture) for picture in variants])
    mirrored, smaller, other = vectors[1:] @ vectors[0]
    assert mirrored > 0.85
    assert smaller > 0.85
    assert other < 0.3


def test_the_middle_square_is_seen(model: PictureModel) -> None:
    wide = Image.new("RGB", (1000, 256), (255, 0, 0))
    wide.paste((0, 0, 255), (500 - 128, 0, 500 + 128, 256))
    seen = model.prepare(wide)
    assert seen.shape == (224, 224, 3)
    assert (seen == [0, 0, 255]).all()


def test_a_square_that_is_cut_already_is_taken_as_it_is(model: PictureModel) -> None:
    picture = photograph("coffee")
    assert model.prepare(squares.cut(picture, SQUARE)).tobytes() == model.prepare(picture).tobytes()
    with pytest.raises(ValueError, match="square"):
        model.prepare(squares.cut(picture, Square(64, 64)))


def test_the_version_is_a_constant() -> None:
    """It names vector spaces that are on people's disks: when this fails, vectors changed, or they must not have."""
    assert SPEC.version_id == "053e211b7b9f0890a78aa3e074487f08"


def test_the_vectors_are_a_constant(model: PictureModel) -> None:
    """The first numbers of one vector, as other machines had them: guards the version id above."""
    vector = model.embed([model.prepare(photograph("coffee"))])[0]
    assert vector[:6] == pytest.approx(REFERENCE, abs=2e-5)


REFERENCE = [0.00425491, 0.00684322, 0.09592088, 0.0, 0.00343159, 0.0]


def converted(folder: Path) -> Path:
    return folder / f"{SPEC.model_id}-{SPEC.version_id}.onnx"


def test_it_is_converted_once(folder: Path, model: PictureModel) -> None:
    before = converted(folder).stat().st_mtime_ns
    PictureModel(folder, threads=1)
    assert converted(folder).stat().st_mtime_ns == before
    assert sorted(path.suffix for path in folder.iterdir()) == [".onnx", ".sha256"]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def lose_checksum(path: Path) -> None:
    path.with_name(path.name + ".sha256").unlink()


def empty_checksum(path: Path) -> None:
    path.with_name(path.name + ".sha256").write_bytes(b"")


@pytest.mark.parametrize("harm", [cut, flip, Path.unlink, lose_checksum, empty_checksum])
def test_a_damaged_conversion_is_made_anew(folder: Path, model: PictureModel, harm: Callable[[Path], None]) -> None:
    path = converted(folder)
    whole = digest(path)
    harm(path)
    again = PictureModel(folder, threads=1)
    assert digest(path) == whole
    picture = photograph("coffee")
    assert again.embed([again.prepare(picture)]).tobytes() == model.embed([model.prepare(picture)]).tobytes()


def test_a_failed_conversion_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = tmp_path / "models"
    blocked.write_text("a file where a folder should be")
    with pytest.raises(OSError, match="models"):
        PictureModel(blocked, threads=1)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no-python"))
    with pytest.raises(Unusable, match="no-python"):
        PictureModel(tmp_path / "other", threads=1)


def test_other_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convert, "WEIGHTS_SHA256", "0" * 64)
    with pytest.raises(Unusable, match="is not the file"):
        convert.convert(tmp_path / "model.onnx")
    monkeypatch.setattr(convert, "WEIGHTS_PACKAGE", "no_such_package")
    with pytest.raises(Unusable, match="no_such_package"):
        convert.convert(tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_folding_the_batch_normalisation_changes_nothing(model: PictureModel) -> None:
    """The first convolution of the graph against the unfolded arithmetic, at one place."""
    with package_file(convert.WEIGHTS_PACKAGE, convert.WEIGHTS_FILE).open("rb") as file:
        tensors = read_state(file)
    picture = model.prepare(photograph("coffee"))
    patch = ((picture[100:103, 60:63].astype(np.float64) - 127) / 128).transpose(2, 0, 1)
    plain = (tensors["_conv_stem.weight"] * patch).sum((1, 2, 3))
    spread = np.sqrt(tensors["_bn0.running_var"].astype(np.float64) + 1e-3)
    wanted = (plain - tensors["_bn0.running_mean"]) / spread * tensors["_bn0.weight"] + tensors["_bn0.bias"]
    assert stem(model, picture)[:, 50, 30] == pytest.approx(wanted.clip(0, 6), abs=1e-4)


def stem(model: PictureModel, picture: np.typing.NDArray[np.uint8]) -> np.typing.NDArray[np.float32]:
    """What the first convolution gives, [32, 112, 112]."""
    import onnx

    graph = onnx.load(model._session._model_path)
    graph.graph.output.append(onnx.helper.make_tensor_value_info("_conv_stem.relu6", onnx.TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    (out,) = session.run(["_conv_stem.relu6"], {"pictures": picture[None]})
    found: np.typing.NDArray[np.float32] = out[0]
    return found


def test_the_server_never_imports_the_converter() -> None:
    """`onnx` and what it needs stay in the process that converts."""
    source = Path(convert.__file__).read_text()
    top = {name.name for node in ast.parse(source).body if isinstance(node, ast.Import) for name in node.names}
    assert top <= {"os", "subprocess", "sys"}


def test_one_picture_takes_milliseconds(model: PictureModel) -> None:
    ready = model.prepare(photograph("coffee"))
    model.embed([ready])
    start = time.perf_counter()
    for _ in range(5):
        model.embed([ready])
    assert (time.perf_counter() - start) / 5 < 0.5
