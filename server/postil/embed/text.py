"""The default text model: the token vectors of wordllama, averaged. Offline, tens of thousands of texts a second.

The files come from wordllama's wheel, but its Python code is not used: importing it sets up the root logger, and its
batches pad every text to the longest, so that one long text among 64 would take gigabytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from postil import errors
from postil.embed.base import Matrix, Spec
from postil.embed.packaged import check, package_file, version_id
from postil.embed.vectors import unit_rows
from postil.v1.status_code_pb2 import StatusCode

_PACKAGE = "wordllama"
_WEIGHTS = "weights/l2_supercat_256.safetensors"
_WEIGHTS_SHA256 = "64b47a2dc493cb8e85944076601189739852d7b64e0e1eedcb1937a251cd9fd5"
_TOKENIZER = "tokenizers/l2_supercat_tokenizer_config.json"
_TOKENIZER_SHA256 = "93248f2a9ec36c7b35f700a033d5f36228aae48db61aee31007fa49062cdeb68"

# Raise it when `embed` changes in a way that changes vectors: the version id follows.
_REVISION = "1"

SPEC = Spec(
    model_id="general-text-embedding",
    version_id=version_id("wordllama-l2-supercat-256", _WEIGHTS_SHA256, _TOKENIZER_SHA256, _REVISION),
    kind="text",
    dim=256,
    description="General meaning of a text, English foremost: averaged token vectors of WordLlama (MIT).",
)
BATCH = 64
MAX_CHARACTERS = 1_000_000

_SLICE = 8192  # tokens pooled at a time: 8 MB


class TextModel:
    """Thread-safe. The same text gives the same bits whatever else is in its batch.

    Raises:
        Unusable: The weights are missing or not the ones we know.
    """

    spec = SPEC
    batch = BATCH

    def __init__(self) -> None:
        weights = package_file(_PACKAGE, _WEIGHTS)
        tokenizer = package_file(_PACKAGE, _TOKENIZER)
        check(weights, _WEIGHTS_SHA256)
        check(tokenizer, _TOKENIZER_SHA256)
        # Kept as the float16 that they ship as: half the memory, widened a text at a time.
        self._table: NDArray[np.float16] = load_file(weights)["embedding.weight"]
        self._tokenizer = Tokenizer.from_file(str(tokenizer))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()

    def prepare(self, content: str) -> str:
        return checked_text(content)

    def embed(self, prepared: Sequence[Any]) -> Matrix:
        encodings = self._tokenizer.encode_batch_fast(list(prepared), add_special_tokens=False)
        sums = np.empty((len(prepared), SPEC.dim), np.float32)
        for row, encoding in zip(sums, encodings, strict=True):
            row[:] = self._pool(np.asarray(encoding.ids, np.int64))
        return unit_rows(sums)

    def _pool(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """The sum of the tokens' vectors; its direction is that of their mean."""
        known = np.minimum(ids, len(self._table) - 1)
        total = np.zeros(SPEC.dim, np.float32)
        for start in range(0, len(known), _SLICE):
            total += self._table[known[start : start + _SLICE]].astype(np.float32).sum(axis=0)
        return total


def checked_text(content: str) -> str:
    """The text itself, if it can be embedded.

    Raises:
        Failure: It has no word in it (30104), or is too long (30105).
    """
    if not content.strip():
        raise errors.Failure(
            StatusCode.INPUT_INVALID_ARGUMENT, "The text is empty. Send at least one word in data.text.raw."
        )
    if len(content) > MAX_CHARACTERS:
        raise errors.Failure(
            StatusCode.INPUT_OVER_LIMIT,
            f"The text has {len(content):,} characters; at most {MAX_CHARACTERS:,} can be embedded. Split it.",
        )
    return content
