"""The part of the store's contract about vectors and the spaces they lie in.

Mixed into the Protocols of `store/base.py`, whose promises hold here too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from postil.store.records import SpaceRecord, Vectors


class SpaceQueries(Protocol):
    """Reads of spaces and vectors."""

    def space(self, app: int, space_id: str) -> SpaceRecord | None: ...
    def spaces(self, app: int) -> list[SpaceRecord]: ...
    def all_spaces(self) -> list[SpaceRecord]: ...
    def vectors(self, space: int, rows: Sequence[int]) -> Vectors:
        """The vectors that exist among these annotation rows, ordered by row. Raises Corrupt on a bad checksum."""
        ...

    def vectors_of_input(self, space: int, input_row: int) -> Vectors:
        """The vectors of this input's annotations, ordered by annotation row. Raises Corrupt."""
        ...

    def scan_vectors(self, space: int, after_row: int, limit: int) -> Vectors:
        """The next `limit` vectors by ascending annotation row; empty when done."""
        ...

    def count_vectors(self, space: int) -> int: ...
    def vector_rows(self, space: int) -> list[int]: ...  # ascending
    def damaged_vectors(self, space: int, rows: Sequence[int] | None = None) -> list[int]:
        """Those of the annotation rows (None: of all) whose vectors fail their checksums, ascending."""
        ...


class SpaceWrites(Protocol):
    """Writes of spaces and vectors."""

    def ensure_space(self, app: int, space_id: str, name: str, kind: str, dim: int) -> SpaceRecord:
        """Returns the space, created on first use with unit=True. The caller compares `dim`."""
        ...

    def put_vectors(self, app: int, vectors: Vectors) -> None:
        """Inserts or replaces, with a checksum each; clears the space's `unit` when a length differs from 1."""
        ...

    def delete_vectors(self, app: int, rows: Sequence[int]) -> None:
        """Takes these annotation rows' own vectors out of every space (the rows stay); the change lists them
        both as gone and as touched."""
        ...

    def mend_vectors(self, vectors: Vectors) -> list[int]:
        """Puts vectors back whose rows were damaged, those that the rows' checksums were made of; returns their rows.
        Nothing has changed by it, so the feed does not tell of it."""
        ...

    def drop_damaged_vectors(self, space: int, rows: Sequence[int]) -> None:
        """Takes those of these vectors out that fail their checksums; only while nobody follows the feed."""
        ...
