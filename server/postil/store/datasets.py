"""The part of the store's contract about datasets: named sets of inputs, and frozen copies of them.

Mixed into the Protocols of `store/base.py`, whose promises hold here too. A dataset's members are inputs of its app;
an input that is deleted leaves every dataset. A version is a copy and stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from postil.store.records import Rows


class DatasetRecord(NamedTuple):
    """A dataset."""

    row: int  # never given out twice
    id: str
    edition: int  # grows whenever members come or go, but for inputs that are deleted
    message: bytes  # postil.v1.Dataset


class Member(NamedTuple):
    """An input in a dataset."""

    input: int  # row
    added_us: int
    message: bytes  # postil.v1.Input, as it is now


class DatasetVersionRecord(NamedTuple):
    """A frozen copy of a dataset."""

    row: int
    id: str
    message: bytes  # postil.v1.DatasetVersion


class Part(NamedTuple):
    """Some inputs of a version, in order: the store knows how many, and nothing of what they say."""

    inputs: int  # how many
    content: bytes
    blobs: frozenset[str] = frozenset()  # digests that must be kept while the version lives


class DatasetQueries(Protocol):
    """Reads of datasets."""

    def dataset(self, app: int, dataset_id: str) -> DatasetRecord | None: ...
    def datasets(self, app: int, ids: Sequence[str]) -> dict[str, DatasetRecord]: ...
    def list_datasets(self, app: int, offset: int, limit: int) -> list[DatasetRecord]:
        """Newest first."""
        ...

    def members(self, dataset: int, offset: int, limit: int) -> list[Member]:
        """In order of the inputs' rows."""
        ...

    def members_among(self, dataset: int, inputs: Sequence[int]) -> dict[int, Member]:
        """Those of these input rows that are in it."""
        ...

    def member_rows(self, dataset: int) -> Rows:
        """The rows of its inputs, ascending."""
        ...

    def member_anchors(self, dataset: int) -> Rows:
        """The input-level annotations of its inputs, ascending."""
        ...

    def inputs_of_annotations(self, rows: Sequence[int]) -> list[int]:
        """The inputs of these annotation rows, ascending and without repeats."""
        ...

    def dataset_version(self, dataset: int, version_id: str) -> DatasetVersionRecord | None: ...
    def dataset_versions(self, dataset: int, offset: int, limit: int) -> list[DatasetVersionRecord]:
        """Newest first."""
        ...

    def version_sizes(self, version: int) -> list[int]:
        """How many inputs each of its parts has, in order."""
        ...

    def version_part(self, version: int, part: int) -> bytes:
        """The content of one part, counted from 0. Raises Missing."""
        ...


class DatasetWrites(Protocol):
    """Writes of datasets."""

    def add_dataset(self, app: int, dataset_id: str, message: bytes) -> DatasetRecord:
        """Raises Duplicate(id), or Missing when there is no such app."""
        ...

    def update_dataset(self, row: int, message: bytes) -> None:
        """Raises Missing."""
        ...

    def delete_datasets(self, app: int, ids: Sequence[str]) -> None:
        """With members and versions."""
        ...

    def add_members(self, dataset: int, inputs: Sequence[int]) -> int:
        """Adds input rows of the dataset's app; returns how many were not in it yet."""
        ...

    def remove_members(self, dataset: int, inputs: Sequence[int]) -> None: ...
    def add_dataset_version(
        self, dataset: int, version_id: str, message: bytes, parts: Iterable[Part]
    ) -> DatasetVersionRecord:
        """Raises Duplicate(id), or Missing when there is no such dataset."""
        ...

    def delete_dataset_versions(self, dataset: int, ids: Sequence[str]) -> None: ...
