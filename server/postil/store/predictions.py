"""The part of the store's contract about what models say of inputs by themselves, apart from what people say.

A predicted annotation is read, listed and deleted like any other, but it is no label: labels, counts, facts, hits and
the change feed know nothing of it. Mixed into the Protocols of `store/base.py`, whose promises hold here too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from postil.store.records import AppRecord


class NewPrediction(NamedTuple):
    """What a model says of one input."""

    row: int  # from Transaction.reserve_annotations
    id: str
    input: int  # row of the input
    anchor: int  # row of its input-level annotation
    model_version_id: str
    message: bytes  # postil.v1.Annotation
    created_us: int
    values: tuple[tuple[int, float], ...]  # (concept number of the model, probability), at most one per concept


class Predicted(NamedTuple):
    """Where a concept was predicted in an app."""

    anchors: NDArray[np.int64]  # [n], ascending
    values: NDArray[np.float32]  # [n], probabilities


class OutputRecord(NamedTuple):
    """A prediction as it was answered."""

    app: int  # 0: of no app, for calls under the public one
    id: str
    time_us: int
    message: bytes  # postil.v1.Output


class PredictionQueries(Protocol):
    """Reads of predictions."""

    def app_by_row(self, row: int) -> AppRecord | None: ...
    def predicted(self, app: int, concept: int) -> Predicted:
        """All inputs of the app for which the concept number is stored."""
        ...

    def has_predictions(self, app: int) -> bool: ...
    def input_anchors(self, app: int) -> NDArray[np.int64]:
        """Rows of the input-level annotations of all inputs, in order of the inputs' creation."""
        ...

    def outputs(self, app: int, ids: Sequence[str]) -> dict[str, OutputRecord]: ...


class PredictionWrites(Protocol):
    """Writes of predictions."""

    def add_predictions(self, app: int, predictions: Sequence[NewPrediction]) -> None:
        """Adds them. Raises Missing when an input is not in the app."""
        ...

    def keep_outputs(self, outputs: Sequence[OutputRecord]) -> None:
        """Adds them, without those of apps that are gone. An id that is there already stays as it is."""
        ...

    def forget_outputs(self, before_us: int, limit: int) -> int:
        """Deletes at most `limit` of the oldest made before this time; returns how many."""
        ...
