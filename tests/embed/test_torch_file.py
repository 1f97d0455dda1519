"""Reading old torch files: honest ones come back number for number, ill-meant ones never run."""

from __future__ import annotations

import io
import pickle
import struct
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from postil.embed import convert
from postil.embed.packaged import package_file
from postil.embed.torch_file import MAGIC, PROTOCOL, BadFile, read_state

_Pickler: Any = pickle._Pickler  # the one in Python, which lets names be written that do not exist here


class _Writer(_Pickler):  # type: ignore[misc]
    """Writes the state dictionary as torch did, without torch."""

    def persistent_id(self, value: Any) -> Any:
        if isinstance(value, _StorageRef):
            return ("storage", _Global("torch", value.kind), value.key, "cpu", value.length, None)
        return None

    def save(self, value: Any, *args: Any, **options: Any) -> Any:
        if isinstance(value, _Global):
            return self.write(f"c{value.module}\n{value.name}\n".encode())
        return super().save(value, *args, **options)


class _Global:
    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name


class _StorageRef:
    def __init__(self, kind: str, key: str, length: int) -> None:
        self.kind, self.key, self.length = kind, key, length


class _TensorRef:
    def __init__(self, storage: _StorageRef, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> None:
        self.parts: tuple[Any, ...] = (storage, offset, shape, strides, False, OrderedDict())

    def __reduce__(self) -> Any:
        return _Rebuild(), self.parts


class _Rebuild(_Global):
    def __init__(self) -> None:
        super().__init__("torch._utils", "_rebuild_tensor_v2")

    def __call__(self) -> None:
        """pickle wants what it reduces to be callable."""


def torch_file(state: Any, storages: dict[str, bytes], *, itemsize: int = 4, **changes: Any) -> io.BytesIO:
    facts = {"protocol_version": PROTOCOL, "little_endian": True, "type_sizes": {"short": 2}}
    out = io.BytesIO()
    for head in (changes.get("magic", MAGIC), changes.get("protocol", PROTOCOL), changes.get("facts", facts)):
        out.write(pickle.dumps(head, 2))
    _Writer(out, 2).dump(state)
    out.write(pickle.dumps(changes.get("keys", list(storages)), 2))
    for content in storages.values():
        out.write(struct.pack("<q", len(content) // itemsize) + content)
    out.seek(0)
    return out


NUMBERS = np.arange(24, dtype="<f4")


def one(offset: int, shape: tuple[int, ...], strides: tuple[int, ...], **changes: Any) -> io.BytesIO:
    storage = _StorageRef(changes.pop("kind", "FloatStorage"), "1", changes.pop("length", 24))
    state = OrderedDict(w=_TensorRef(storage, offset, shape, strides))
    return torch_file(state, {"1": NUMBERS.tobytes()}, **changes)


def test_the_packaged_weights() -> None:
    with package_file(convert.WEIGHTS_PACKAGE, convert.WEIGHTS_FILE).open("rb") as file:
        tensors = read_state(file)
        assert not file.read(1)
    assert len(tensors) == 296
    assert tensors["_fc.weight"].shape == (1000, 1280)
    assert tensors["_conv_stem.weight"].shape == (32, 3, 3, 3)
    assert all(np.isfinite(tensor).all() and tensor.flags.c_contiguous for tensor in tensors.values())
    assert min(tensors["_bn0.running_var"]) >= 0


@pytest.mark.parametrize(
    ("offset", "shape", "strides", "wanted"),
    [
        (0, (4, 6), (6, 1), NUMBERS.reshape(4, 6)),
        (0, (6, 4), (1, 6), NUMBERS.reshape(4, 6).T),
        (5, (3,), (2,), NUMBERS[5:11:2]),
        (7, (), (), NUMBERS[7]),
        (0, (2, 3), (0, 1), np.stack([NUMBERS[:3], NUMBERS[:3]])),
    ],
)
def test_strides_are_honoured(offset: int, shape: tuple[int, ...], strides: tuple[int, ...], wanted: Any) -> None:
    tensor = read_state(one(offset, shape, strides))["w"]
    assert tensor.shape == shape
    assert (tensor == wanted).all()


def test_two_tensors_may_share_a_storage() -> None:
    storage = _StorageRef("FloatStorage", "1", 24)
    state = {"a": _TensorRef(storage, 0, (12,), (1,)), "b": _TensorRef(storage, 12, (12,), (1,))}
    tensors = read_state(torch_file(state, {"1": NUMBERS.tobytes()}))
    assert (np.concatenate([tensors["a"], tensors["b"]]) == NUMBERS).all()


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (lambda: io.BytesIO(b""), "damaged"),
        (lambda: io.BytesIO(b"PK\x03\x04 a zip, as torch writes today"), "damaged"),
        (lambda: one(0, (4,), (1,), magic=1), "magic"),
        (lambda: one(0, (4,), (1,), protocol=1002), "version"),
        (lambda: one(0, (4,), (1,), facts={"little_endian": False}), "little-endian"),
        (lambda: one(0, (25,), (1,)), "outside"),
        (lambda: one(20, (5,), (1,)), "outside"),
        (lambda: one(0, (5,), (6,)), "outside"),
        (lambda: one(0, (10**12,), (0,)), "outside"),
        (lambda: one(-1, (2,), (1,)), "no place"),
        (lambda: one(0, (2,), (-1,)), "no place"),
        (lambda: one(0, (4,), (1, 1)), "no place"),
        (lambda: one(0, (4,), (1,), length=30), "cut short"),
        (lambda: one(0, (4,), (1,), length=10**12), "cut short"),
        (lambda: one(0, (4,), (1,), keys=["2"]), "no tensor"),
        (lambda: one(0, (4,), (1,), keys=[]), "missing"),
        (lambda: one(0, (4,), (1,), kind="DoubleStorage"), "DoubleStorage"),
        (lambda: torch_file([1, 2], {}), "state dictionary"),
    ],
)
def test_bad_files_are_refused(file: Any, message: str) -> None:
    with pytest.raises(BadFile, match=message):
        read_state(file())


class _Bomb:
    """Would write a file if anything in it were ever called."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return Path.write_text, (self.target, "boom")


def test_nothing_in_a_file_is_executed(tmp_path: Path) -> None:
    target = tmp_path / "boom"
    with pytest.raises(BadFile, match="no place"):
        read_state(io.BytesIO(pickle.dumps(_Bomb(target), 2)))
    for name in (b"cos\nsystem\n", b"cbuiltins\neval\n", b"cposix\nsystem\n"):
        with pytest.raises(BadFile, match="no place"):
            read_state(io.BytesIO(name + f"(S'touch {target}'\ntR.".encode()))
    assert not target.exists()


@pytest.mark.filterwarnings("ignore:invalid escape sequence")
def test_damage_never_raises_anything_else() -> None:
    whole = one(0, (4, 6), (6, 1)).getvalue()
    rng = np.random.default_rng(0)
    for _ in range(3000):
        content = bytearray(whole)
        for place in rng.integers(0, len(content), 3):
            content[place] = rng.integers(0, 256)
        try:
            tensors = read_state(io.BytesIO(content[: rng.integers(1, len(content) + 1)]))
        except BadFile:
            continue
        assert all(tensor.size <= 24 for tensor in tensors.values())
