"""A user's own ONNX encoder of pictures or texts, named in the configuration: CLIP and its kin.

Only standard operators are run and nothing but numbers, names and paths is read from the settings, so a model can
compute but not act.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from postil.embed.base import Matrix, Spec
from postil.embed.packaged import Unusable, digest, version_id
from postil.embed.session import open_session
from postil.embed.text import checked_text
from postil.embed.vectors import unit_rows
from postil.media.squares import Square, as_square

_MODEL_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_INPUT_TYPES: dict[str, np.dtype[Any]] = {
    "tensor(float)": np.dtype(np.float32),
    "tensor(float16)": np.dtype(np.float16),
    "tensor(int64)": np.dtype(np.int64),
    "tensor(int32)": np.dtype(np.int32),
}


@dataclass(frozen=True)
class UserModel:
    """What the configuration says about one model.

    Args:
        name: The model id that clients use.
        kind: "picture" or "text".
        path: The ONNX file. Weights kept beside it must share its name, as in `model.onnx` and `model.onnx.data`.
        side: Picture: pixels of the square that the model takes.
        mean: Picture: subtracted from the channels R, G, B after they are scaled to 0..1.
        std: Picture: divides them afterwards.
        tokenizer: Text: a `tokenizer.json` of the tokenizers library.
        max_tokens: Text: what is longer is cut.
        output: Name of the output that is the embedding; "" takes the first.
        default: Use it instead of the built-in model of its kind.
    """

    name: str
    kind: str
    path: Path
    side: int = 224
    mean: tuple[float, float, float] = (0.48145466, 0.4578275, 0.40821073)  # CLIP's
    std: tuple[float, float, float] = (0.26862954, 0.26130258, 0.27577711)
    tokenizer: Path | None = None
    max_tokens: int = 77
    output: str = ""
    default: bool = False

    def __post_init__(self) -> None:
        if not _MODEL_ID.fullmatch(self.name):
            raise ValueError(f"model name {self.name!r}: use up to 128 letters, digits, '_', '-' and '.'")
        if self.kind not in {"picture", "text"}:
            raise ValueError(f"model {self.name}: kind must be 'picture' or 'text', not {self.kind!r}")
        if self.kind == "text" and self.tokenizer is None:
            raise ValueError(f"model {self.name}: a text model needs `tokenizer`, the path of its tokenizer.json")
        if not 1 <= self.side <= 4096 or not 1 <= self.max_tokens <= 65536:
            raise ValueError(f"model {self.name}: side goes from 1 to 4096, max_tokens from 1 to 65536")
        if {len(self.mean), len(self.std)} != {3} or min(self.std) <= 0:
            raise ValueError(f"model {self.name}: mean and std take three numbers each, std above zero")

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> UserModel:
        """From a table of a configuration file. Raises ValueError for a key that is unknown or missing."""
        unknown = set(table) - set(cls.__dataclass_fields__)
        missing = {"name", "kind", "path"} - set(table)
        if unknown or missing:
            raise ValueError(f"model settings: unknown {sorted(unknown)}, missing {sorted(missing)}")
        values = dict(table)
        values["path"] = Path(values["path"])
        if values.get("tokenizer") is not None:
            values["tokenizer"] = Path(values["tokenizer"])
        for key in {"mean", "std"} & set(values):
            values[key] = tuple(float(number) for number in values[key])
        return cls(**values)


class OnnxModel:
    """Thread-safe. One item goes into one run: the kernels of a foreign graph may sum in another order for another
    batch, and the same content must give the same bits. Runs overlap on the queue's workers instead.

    Raises:
        Unusable: A file is missing, or the model does not take or give what its kind needs.
    """

    batch = 1

    def __init__(self, settings: UserModel, threads: int) -> None:
        self._settings = settings
        self._tokenizer = _open_tokenizer(settings)
        try:
            self._session = open_session(settings.path, threads)
        except Exception as error:  # onnxruntime has a dozen exception classes without a common base
            raise Unusable(f"model {settings.name}: cannot load {settings.path}: {error}") from error
        self._inputs = {value.name: _input_type(settings, value.type) for value in self._session.get_inputs()}
        self._output = settings.output or self._session.get_outputs()[0].name
        self.spec = Spec(
            model_id=settings.name,
            version_id=_version(settings),
            kind=settings.kind,
            dim=self._probe(),
            description=f"The ONNX {settings.kind} encoder {settings.path.name}.",
            square=_square(settings) if settings.kind == "picture" else None,
        )

    def prepare(self, content: Any) -> Any:
        if self._tokenizer is not None:
            return checked_text(content)
        pixels = as_square(content, _square(self._settings)).astype(np.float32) / np.float32(255)
        mean, std = np.asarray(self._settings.mean, np.float32), np.asarray(self._settings.std, np.float32)
        return np.ascontiguousarray(((pixels - mean) / std).transpose(2, 0, 1))

    def embed(self, prepared: Sequence[Any]) -> Matrix:
        return unit_rows(np.concatenate([self._run(item) for item in prepared]))

    def _run(self, item: Any) -> NDArray[np.float32]:
        """One item to float32 [1, dim], not normalised."""
        feed = self._text_feed(item) if self._tokenizer is not None else self._picture_feed(item)
        (output,) = self._session.run([self._output], feed)
        if output.ndim == 3:  # one vector a token: their mean, as sentence encoders want it
            output = output.mean(axis=1)
        if output.ndim != 2 or len(output) != 1:
            raise Unusable(f"model {self._settings.name}: output {self._output} has the shape {output.shape}")
        return np.asarray(output, np.float32)

    def _picture_feed(self, tensor: NDArray[np.float32]) -> dict[str, Any]:
        if len(self._inputs) != 1:
            raise Unusable(f"model {self._settings.name}: a picture model takes one input, not {list(self._inputs)}")
        return {name: tensor[None].astype(dtype, copy=False) for name, dtype in self._inputs.items()}

    def _text_feed(self, text: str) -> dict[str, Any]:
        assert self._tokenizer is not None  # noqa: S101 a text model has one; for mypy
        encoding = self._tokenizer.encode(text)
        rows = {"ids": encoding.ids, "mask": encoding.attention_mask, "type": encoding.type_ids}
        return {name: np.asarray([rows[_role(name)]], dtype) for name, dtype in self._inputs.items()}

    def _probe(self) -> int:
        """The dimension, read from the answer to a grey picture or a short text."""
        grey = np.full((self._settings.side, self._settings.side, 3), 127, np.uint8)
        sample = "sample" if self._tokenizer is not None else grey
        try:
            return int(self._run(self.prepare(sample)).shape[1])
        except Unusable:
            raise
        except Exception as error:  # see __init__
            raise Unusable(f"model {self._settings.name}: a trial run failed: {error}") from error


def _square(settings: UserModel) -> Square:
    return Square(settings.side, settings.side)


def _role(name: str) -> str:
    """What an input of a text model is for, by the names that exporters give."""
    lowered = name.lower()
    return "mask" if "mask" in lowered else "type" if "type" in lowered else "ids"


def _input_type(settings: UserModel, name: str) -> np.dtype[Any]:
    if name not in _INPUT_TYPES:
        raise Unusable(f"model {settings.name}: inputs of the type {name} are not supported")
    return _INPUT_TYPES[name]


def _open_tokenizer(settings: UserModel) -> Tokenizer | None:
    if settings.kind != "text":
        return None
    try:
        tokenizer = Tokenizer.from_file(str(settings.tokenizer))
    except Exception as error:  # the library raises plain Exception
        raise Unusable(f"model {settings.name}: cannot read {settings.tokenizer}: {error}") from error
    tokenizer.no_padding()
    tokenizer.enable_truncation(settings.max_tokens)
    return tokenizer


def _version(settings: UserModel) -> str:
    """32 hex digits over the model's files and the settings that change its vectors."""
    files = sorted(settings.path.parent.glob(glob.escape(settings.path.name) + "*"))
    if settings.tokenizer is not None:
        files.append(settings.tokenizer)
    numbers = (settings.side, settings.mean, settings.std, settings.max_tokens, settings.output)
    return version_id(*(digest(file) for file in files if file.is_file()), repr(numbers))
