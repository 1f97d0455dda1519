"""The part of the store's contract about models that people train: what they are, their versions, what those learned.

Mixed into the Protocols of `store/base.py`, whose promises hold here too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray


class ModelRecord(NamedTuple):
    """A model of an app's own."""

    row: int
    app: int
    id: str
    message: bytes  # postil.v1.Model, without a version


class VersionRecord(NamedTuple):
    """A version of a model: what it shall learn, how far it is, or what it has become."""

    row: int
    app: int
    model: int  # row
    id: str
    status: int  # StatusCode.MODEL_*
    message: bytes  # postil.v1.ModelVersion


class LabelColumns(NamedTuple):
    """Labels as columns, by annotation; all of one length."""

    annotations: NDArray[np.int64]  # rows
    anchors: NDArray[np.int64]  # rows of the annotations whose vectors stand for them
    inputs: NDArray[np.int64]  # rows
    concepts: NDArray[np.int64]  # rows
    values: NDArray[np.float32]


class Examples(NamedTuple):
    """What a version was trained on: with the vectors of these rows, it can be trained again to the bit."""

    space: int  # row of the space whose vectors they are
    sequence: int  # the newest change that was certainly seen
    seed: int
    anchors: NDArray[np.int64]  # [n] annotation rows, ascending: one for each example
    labels: NDArray[np.float32]  # [n, concepts]: 1 present, 0 absent, NaN unknown
    annotations: NDArray[np.int64]  # annotation rows, ascending, whose labels these are


class StoredHeads(NamedTuple):
    """A head for each concept of a version, in the order of its concepts."""

    space: int  # row of the space whose vectors they take
    weights: NDArray[np.float32]  # [concepts, dim]
    biases: NDArray[np.float32]  # [concepts]
    exclusive: bool  # softmax over the concepts, else each for itself


class ModelQueries(Protocol):
    """Reads of models."""

    def model(self, app: int, model_id: str) -> ModelRecord | None: ...
    def model_by_row(self, row: int) -> ModelRecord | None: ...
    def models(self, app: int) -> list[ModelRecord]:
        """In order of creation."""
        ...

    def version(self, app: int, version_id: str) -> VersionRecord | None: ...
    def version_by_row(self, row: int) -> VersionRecord | None: ...
    def versions(self, model: int) -> list[VersionRecord]:
        """Newest first."""
        ...

    def waiting_versions(self, app: int | None, limit: int) -> list[VersionRecord]:
        """Those queued for training or in training (21103, 21101), of one app or of all, oldest first."""
        ...

    def heads(self, version: int) -> StoredHeads | None:
        """Raises Corrupt."""
        ...

    def head_of(self, app: int, concept_id: str, version: int | None = None) -> tuple[int, int] | None:
        """(row of the newest version that has a head for the concept, the place of that head in it); of one version
        only, if given."""
        ...

    def examples(self, version: int) -> Examples | None:
        """Raises Corrupt."""
        ...

    def training_labels(self, app: int, statuses: Sequence[int]) -> LabelColumns:
        """The labels of trusted annotations in these states, on inputs that are ready; by annotation, then concept."""
        ...

    def ready_anchors(self, app: int) -> NDArray[np.int64]:
        """Rows of the input-level annotations of the inputs that are ready, ascending."""
        ...


class ModelWrites(Protocol):
    """Writes of models."""

    def add_model(self, app: int, model_id: str, message: bytes) -> ModelRecord:
        """Raises Duplicate(id), or Missing when there is no such app."""
        ...

    def update_model(self, row: int, message: bytes) -> None:
        """Raises Missing."""
        ...

    def delete_models(self, app: int, ids: Sequence[str]) -> list[str]:
        """With their versions; gives those of the ids that were there."""
        ...

    def add_version(self, model: int, version_id: str, status: int, message: bytes) -> VersionRecord:
        """Raises Missing when there is no such model."""
        ...

    def update_version(self, row: int, status: int, message: bytes) -> None:
        """Raises Missing."""
        ...

    def delete_versions(self, rows: Sequence[int]) -> None: ...
    def put_examples(self, version: int, examples: Examples) -> None:
        """Inserts or replaces. Raises Missing."""
        ...

    def put_heads(self, version: int, concept_ids: Sequence[str], heads: StoredHeads) -> None:
        """Inserts or replaces. Raises Missing."""
        ...
