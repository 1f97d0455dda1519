"""The part of the store's contract about feedback: what people said, and what searches may learn from it.

Mixed into the Protocols of `store/base.py`, whose promises hold here too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from postil.store.records import Matrix

FOREVER_US = (1 << 63) - 1


class Evidence(NamedTuple):
    """What a click says about its search: which of the vectors shown was chosen, and which stood above it.

    Rows of annotations here are anchors, whose vectors are in `space`.
    """

    search: str  # id of the search
    space: int  # row
    key: str  # queries with different keys are never about the same
    query: Matrix  # float32 [dim], the vector that was searched by before any learning
    chosen: int
    passed: tuple[int, ...]  # in the order shown


class NewFeedback(NamedTuple):
    """Feedback to keep."""

    id: str
    event: int  # postil.v1.EventType
    subject: str  # the search's id, or the output's
    model_id: str
    model_version_id: str
    input_id: str
    end_user: str
    session: str
    matched: bool
    position: int  # of the chosen hit, from 1; 0 unknown
    annotations: tuple[int, ...]  # rows of what was made of it
    message: bytes  # postil.v1.Input, as sent but for media
    evidence: Evidence | None = None


class FeedbackRecord(NamedTuple):
    """Feedback as it is kept."""

    row: int
    id: str
    event: int
    subject: str
    model_id: str
    model_version_id: str
    input_id: str
    end_user: str
    session: str
    matched: bool
    position: int
    annotations: tuple[int, ...]
    time_us: int
    message: bytes


class FeedbackListing(NamedTuple):
    """Which feedback to list. Empty parts are no conditions."""

    event: int = 0
    subject: str = ""
    model_id: str = ""
    input_id: str = ""
    end_user: str = ""
    session: str = ""
    matched: bool | None = None
    start_us: int = 0
    end_us: int = FOREVER_US  # included


class EvidenceRecord(NamedTuple):
    """A click to learn from."""

    row: int  # of the feedback
    end_user: str
    position: int
    time_us: int
    evidence: Evidence


class FeedbackMark(NamedTuple):
    """Tells whether an app's feedback has changed since it was last looked at. All 0 without any."""

    last: int  # row of the newest feedback ever kept
    erased: int  # how often feedback was deleted


class FeedbackQueries(Protocol):
    """Reads of feedback."""

    def feedback_mark(self, app: int) -> FeedbackMark:
        """Cheap enough for every search."""
        ...

    def list_feedback(self, app: int, listing: FeedbackListing, offset: int, limit: int) -> list[FeedbackRecord]:
        """In order of arrival."""
        ...

    def feedback(self, app: int, ids: Sequence[str]) -> list[FeedbackRecord]:
        """Those that exist, in order of arrival."""
        ...

    def evidence(self, app: int, end_user: str, after_row: int, limit: int) -> list[EvidenceRecord]:
        """The next clicks to learn from, in order of arrival; of one person, or with "" of everybody."""
        ...

    def clicks(self, app: int, start_us: int, end_us: int) -> list[tuple[str, str, int]]:
        """(search id, end user, position) of all clicks between two times, both included, in order of arrival."""
        ...

    def searches_by_end_user(self, app: int, start_us: int, end_us: int) -> dict[str, int]:
        """End user ("" unknown) -> number of kept searches that ran between two times, both included."""
        ...


class FeedbackWrites(Protocol):
    """Writes of feedback."""

    def add_feedback(self, app: int, new: NewFeedback) -> FeedbackRecord:
        """Raises Missing when there is no such app."""
        ...

    def delete_feedback(self, app: int, ids: Sequence[str]) -> None:
        """Passes over ids that are not there."""
        ...
