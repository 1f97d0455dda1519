"""The part of the store's contract about evaluations of trained versions.

Mixed into the Protocols of `store/base.py`, whose promises hold here too.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol


class EvaluationRecord(NamedTuple):
    """An evaluation: how far it is, or what it found."""

    row: int
    app: int
    version: int  # row
    id: str
    status: int  # StatusCode.MODEL_* about evaluation
    message: bytes  # postil.v1.EvalMetrics in short


class EvaluationQueries(Protocol):
    """Reads of evaluations."""

    def evaluation(self, version: int, evaluation_id: str) -> EvaluationRecord | None: ...
    def evaluation_by_row(self, row: int) -> EvaluationRecord | None: ...
    def evaluations(self, version: int, offset: int, limit: int) -> list[EvaluationRecord]:
        """Newest first."""
        ...

    def evaluation_details(self, row: int) -> bytes:
        """The rest of the message; to be put behind it. Empty when there is none. Raises Corrupt."""
        ...

    def waiting_evaluations(self, app: int | None, limit: int) -> list[EvaluationRecord]:
        """Those queued or under way (21303, 21301), of one app or of all, oldest first."""
        ...


class EvaluationWrites(Protocol):
    """Writes of evaluations. They go with their version."""

    def add_evaluation(self, version: int, evaluation_id: str, status: int, message: bytes) -> EvaluationRecord:
        """Raises Missing when there is no such version, Duplicate(id) when it has one of that id."""
        ...

    def update_evaluation(self, row: int, status: int, message: bytes, details: bytes | None = None) -> None:
        """Replaces the message, and the details where they are given. Raises Missing."""
        ...

    def delete_evaluations(self, version: int, keep: int) -> None:
        """All of a version but the newest."""
        ...
