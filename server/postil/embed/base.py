"""The embedders' contract: pictures, texts to vectors, batched off the RPC threads.

An embedder is named and versioned; its version id names the vector space on the wire (`embed_model_version_id`).
Output is deterministic: the same content gives the same vector, bit for bit, whatever the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float32]


class Spec(NamedTuple):
    """What a client may know about an embedder."""

    model_id: str  # "general-image-embedding"
    version_id: str  # 32 hex digits, stable across machines for the same weights
    kind: str  # "picture" or "text"
    dim: int
    description: str


class Embedder(Protocol):
    """One model. Thread-safe."""

    spec: Spec

    def prepare(self, content: Any) -> Any:
        """Per-item work that can run in the caller's thread (picture: an RGB `PIL.Image.Image` to a float32
        tensor [3, H, W]; text: the str itself)."""
        ...

    def embed(self, prepared: Sequence[Any]) -> Matrix:
        """float32 [n, dim], unit length."""
        ...


class EmbedQueue(Protocol):
    """Gathers single requests into batches and runs them on its own thread(s)."""

    spec: Spec

    def submit(self, contents: Sequence[Any]) -> Future[Matrix]:
        """Embeds all of `contents` (prepared in the calling thread); the future gives float32 [n, dim]."""
        ...


class Embedders(Protocol):
    """The configured embedders: at most one default of each kind, plus the user's own."""

    def specs(self) -> list[Spec]: ...
    def default(self, kind: str) -> EmbedQueue | None:
        """The default embedder of a kind, loaded on first use."""
        ...

    def by_version(self, version_id: str) -> EmbedQueue | None:
        """By version id, or by model id or a well-known alias of it."""
        ...

    def close(self) -> None: ...
