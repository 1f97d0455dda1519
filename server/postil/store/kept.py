"""The part of the store's contract about what is kept for later: named things of an app, and the searches that ran.

Mixed into the Protocols of `store/base.py`, whose promises hold here too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol


class NamedRecord(NamedTuple):
    """A thing that an app keeps under an id of its own: a saved search, an annotation filter, a knowledge graph."""

    row: int
    kind: str  # ids are unique within an app and a kind
    id: str
    detail: str  # whatever the kind needs to know without reading the message
    message: bytes


class KeptHit(NamedTuple):
    """A hit as it was shown."""

    annotation: int
    input: int
    score: float  # float32


class KeptSearch(NamedTuple):
    """A search that ran: what was asked, and what was shown."""

    app: int
    id: str  # the search id of its response
    time_us: int
    sequence: int  # the newest change that it saw
    endpoint: str  # name of the RPC
    request: bytes  # the serialized request of that RPC; without the bytes of pictures when it was large
    page: int
    per_page: int
    end_user: str  # whoever searched, as the caller's application knows them; ""
    hits: tuple[KeptHit, ...]  # in the order shown


class KeptQueries(Protocol):
    """Reads of what is kept."""

    def named(self, app: int, kind: str, thing_id: str) -> NamedRecord | None: ...
    def named_many(self, app: int, kind: str, ids: Sequence[str]) -> dict[str, NamedRecord]: ...
    def list_named(self, app: int, kind: str, offset: int, limit: int) -> list[NamedRecord]:
        """In order of creation."""
        ...

    def kept_search(self, app: int, search_id: str) -> KeptSearch | None: ...
    def count_kept_searches(self, app: int) -> int: ...


class KeptWrites(Protocol):
    """Writes of what is kept."""

    def add_named(self, app: int, kind: str, thing_id: str, detail: str, message: bytes) -> NamedRecord:
        """Raises Duplicate(id), or Missing when there is no such app."""
        ...

    def update_named(self, row: int, message: bytes) -> None:
        """Raises Missing."""
        ...

    def delete_named(self, app: int, kind: str, ids: Sequence[str]) -> list[str]:
        """Those of the ids that were there."""
        ...

    def keep_searches(self, searches: Sequence[KeptSearch]) -> None:
        """Adds them, without those of apps that are gone. An id that is there already stays as it is."""
        ...

    def forget_searches(self, before_us: int, limit: int) -> int:
        """Deletes at most `limit` of the oldest that ran before this time; returns how many."""
        ...
