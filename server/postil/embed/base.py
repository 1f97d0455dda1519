"""The embedders' contract: pictures, texts to vectors, batched off the RPC threads.

An embedder is named and versioned; its version id names the vector space on the wire (`embed_model_version_id`).
Output is deterministic: the same content gives the same vector, bit for bit, whatever the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from postil.media.squares import Square

Matrix = NDArray[np.float32]


class Spec(NamedTuple):
    """What a client may know about an embedder."""

    model_id: str  # "general-image-embedding"
    version_id: str  # 32 hex digits, stable across machines for the same weights
    kind: str  # "picture" or "text"
    dim: int
    description: str
    classes: int = 0  # how many logits come with each embedding; 0: none
    square: Square | None = None  # picture: all that it looks at; `prepare` takes that as well, uint8 [side, side, 3]


class Outputs(NamedTuple):
    """What one pass through a model gives."""

    embeddings: Matrix  # float32 [n, dim], unit length
    logits: Matrix | None  # float32 [n, classes]; None when the model has none


class Embedder(Protocol):
    """One model. Thread-safe."""

    spec: Spec
    batch: int  # how many items one call of `embed` should get at most: a trade of speed against memory

    def prepare(self, content: Any) -> Any:
        """Per-item work that can run on any thread (picture: an RGB `PIL.Image.Image` to the array that the model
        takes; text: the str itself).

        Raises:
            Failure: This content cannot be embedded, for example a text without a word.
        """
        ...

    def embed(self, prepared: Sequence[Any]) -> Matrix:
        """float32 [n, dim], unit length."""
        ...


@runtime_checkable
class Classifier(Embedder, Protocol):
    """An embedder that says what it sees in the same pass: one with `spec.classes` above 0."""

    def infer(self, prepared: Sequence[Any]) -> Outputs: ...


class EmbedQueue(Protocol):
    """Gathers single requests into batches and runs them on its own thread(s)."""

    spec: Spec

    def submit(self, contents: Sequence[Any]) -> Future[Matrix]:
        """Embeds all of `contents` (prepared on the queue's threads); the future gives float32 [n, dim], or the
        first error that one of them caused. Submit items one by one where each needs a fate of its own: they are
        gathered into batches all the same. Cancelling the future drops what has not begun."""
        ...

    def infer(self, contents: Sequence[Any]) -> Future[Outputs]:
        """As `submit`, with the logits that the same pass gives."""
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
