"""The store's contract: what core may ask of the truth, and what every backend must promise.

Three Protocols. `Queries` are the reads; `Transaction` adds the writes and is only ever seen inside an op
given to `Store.write`; `Store` owns the connections, the writer and the change feed. No SQL leaves this package.

Rows are positive integers below 2**32, never reused, growing in order of creation within a table.
Times are microseconds since the epoch, UTC. Messages are serialized `postil.v1` messages (bytes), returned
exactly as they were put. Vectors are float32, C-contiguous, little-endian, raw (not normalised).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol, TypeVar

from postil.store.datasets import (
    DatasetQueries,
    DatasetRecord,
    DatasetVersionRecord,
    DatasetWrites,
    Member,
    Part,
)
from postil.store.evaluations import EvaluationQueries, EvaluationRecord, EvaluationWrites
from postil.store.faults import Corrupt, Duplicate, Missing, Paged, StoreClosed, TooMuch, TooOld, WriteFailed
from postil.store.feedback import (
    FOREVER_US,
    Evidence,
    EvidenceRecord,
    FeedbackListing,
    FeedbackMark,
    FeedbackQueries,
    FeedbackRecord,
    FeedbackWrites,
    NewFeedback,
)
from postil.store.kept import KeptHit, KeptQueries, KeptSearch, KeptWrites, NamedRecord
from postil.store.keys import KeyQueries, KeyRecord, KeyStore, KeyTransaction, KeyWrites, Stamp
from postil.store.models import (
    Examples,
    LabelColumns,
    ModelQueries,
    ModelRecord,
    ModelWrites,
    StoredHeads,
    VersionRecord,
)
from postil.store.predictions import NewPrediction, OutputRecord, Predicted, PredictionQueries, PredictionWrites
from postil.store.records import (
    AnnotationFact,
    AnnotationListing,
    AnnotationRecord,
    AppRecord,
    Change,
    ConceptRecord,
    ConceptTally,
    Facts,
    HitRecord,
    InputFact,
    InputRecord,
    JobRecord,
    Matrix,
    NewInput,
    Rows,
    SpaceRecord,
    Vectors,
)
from postil.store.vectors import SpaceQueries, SpaceWrites
from postil.store.vocabulary import ConceptName, RelationRecord, VocabularyQueries, VocabularyWrites

T = TypeVar("T")
__all__ = [
    "FOREVER_US",
    "AnnotationFact",
    "AnnotationListing",
    "AnnotationRecord",
    "AppRecord",
    "Blobs",
    "Change",
    "ConceptName",
    "ConceptRecord",
    "ConceptTally",
    "Corrupt",
    "DatasetRecord",
    "DatasetVersionRecord",
    "Duplicate",
    "EvaluationRecord",
    "Evidence",
    "EvidenceRecord",
    "Examples",
    "Facts",
    "FeedbackListing",
    "FeedbackMark",
    "FeedbackRecord",
    "HitRecord",
    "InputFact",
    "InputRecord",
    "JobRecord",
    "KeptHit",
    "KeptSearch",
    "KeyRecord",
    "KeyStore",
    "KeyTransaction",
    "LabelColumns",
    "Matrix",
    "Member",
    "Missing",
    "ModelRecord",
    "NamedRecord",
    "NewFeedback",
    "NewInput",
    "NewPrediction",
    "OutputRecord",
    "Part",
    "Predicted",
    "Queries",
    "RelationRecord",
    "Rows",
    "SpaceRecord",
    "Stamp",
    "Store",
    "StoreClosed",
    "StoredHeads",
    "TooMuch",
    "TooOld",
    "Transaction",
    "Vectors",
    "VersionRecord",
    "WriteFailed",
]


class Queries(
    VocabularyQueries,
    KeptQueries,
    KeyQueries,
    PredictionQueries,
    FeedbackQueries,
    ModelQueries,
    DatasetQueries,
    EvaluationQueries,
    SpaceQueries,
    Paged,
    Protocol,
):
    """Reads. Each sees everything committed before it began. `offset`/`limit` are counts of rows."""

    def setting(self, name: str) -> str | None:
        """A fact that the store keeps about itself, None when it was never put."""
        ...

    # apps
    def app(self, user_id: str, app_id: str) -> AppRecord | None: ...
    def apps(self, user_id: str, offset: int, limit: int) -> list[AppRecord]:
        """In order of creation."""
        ...

    def erasing_apps(self) -> list[int]:
        """Apps (rows) that were deleted and are not erased yet."""
        ...

    # inputs
    def input(self, app: int, input_id: str) -> InputRecord | None: ...
    def inputs(self, app: int, input_ids: Sequence[str]) -> dict[str, InputRecord]: ...
    def inputs_by_row(self, rows: Sequence[int]) -> dict[int, InputRecord]: ...
    def inputs_by_url(self, app: int, urls: Sequence[str]) -> dict[str, str]:
        """url -> id of the first input posted with it."""
        ...

    def anchors_by_url(self, app: int, url: str) -> list[int]: ...  # of all inputs posted with it, oldest first

    def list_inputs(
        self, app: int, ids: Sequence[str], statuses: Sequence[int], offset: int, limit: int
    ) -> list[InputRecord]:
        """Newest first, ties by id."""
        ...

    def stream_inputs(self, app: int, last_id: str, *, by_id: bool, descending: bool, limit: int) -> list[InputRecord]:
        """Keyset paging after `last_id` ("" from the start). An unknown last_id gives an empty list."""
        ...

    def count_inputs(self, app: int) -> dict[int, int]:
        """status -> number of inputs."""
        ...

    def pending_inputs(self, after_app: int, apps: int, limit: int) -> dict[int, list[int]]:
        """app row -> its inputs still to be processed (30001, 30003), oldest first; of the next apps that have any."""
        ...

    def hosted_inputs(self, after_row: int, limit: int) -> list[InputRecord]:
        """Inputs of every app that keep blobs, by ascending row."""
        ...

    def pending_of_job(self, app: int, job_id: str) -> list[InputRecord]:
        """Inputs posted under a job that are still to be processed."""
        ...

    def jobs(self, app: int, offset: int, limit: int) -> list[JobRecord]: ...
    def job(self, app: int, job_id: str) -> JobRecord | None: ...

    # annotations
    def annotation(self, app: int, input_id: str, annotation_id: str) -> AnnotationRecord | None: ...
    def annotations(self, app: int, pairs: Sequence[tuple[str, str]]) -> dict[tuple[str, str], AnnotationRecord]: ...
    def annotations_by_row(self, rows: Sequence[int]) -> dict[int, AnnotationRecord]: ...
    def annotations_of_inputs(self, inputs: Sequence[int]) -> list[AnnotationRecord]:
        """All annotations of these input rows, oldest first."""
        ...

    def list_annotations(self, app: int, listing: AnnotationListing, offset: int, limit: int) -> list[AnnotationRecord]:
        """Oldest first, ties by id."""
        ...

    def annotation_workers(self, app: int, trusted_only: bool) -> list[tuple[str, str, str]]:
        """Distinct (user_id, model_version_id, workflow_version_id), sorted."""
        ...

    # facts
    def facts(self, rows: Sequence[int]) -> Facts:
        """Of those annotation rows that exist, and of the inputs whose input-level annotations they are."""
        ...

    def scan_facts(self, after_row: int, limit: int) -> dict[int, Facts]:
        """app row -> the facts of the next `limit` annotations of all apps, by ascending row; empty when done."""
        ...

    # blobs
    def blob_used(self, digest: str, app: int | None = None) -> bool:
        """Whether an input of this app keeps the blob; without an app, whether any input or dataset version does."""
        ...

    def loose_blobs(self, digests: Iterable[str]) -> list[str]:
        """Those of them that nothing keeps."""
        ...

    def hits(self, anchors: Sequence[int], *, alone: bool = False) -> list[HitRecord]:
        """All annotations with these anchors, or those that are these anchors `alone`; by (anchor, annotation row)."""
        ...


class Transaction(
    Queries,
    VocabularyWrites,
    KeptWrites,
    KeyWrites,
    PredictionWrites,
    FeedbackWrites,
    ModelWrites,
    DatasetWrites,
    EvaluationWrites,
    SpaceWrites,
    Protocol,
):
    """Writes, all or nothing per op. Rows given out by reserve_* must be used in the same op or are skipped.

    A row that should exist in the app and does not (any more) raises Missing: what was read before the op may have been
    deleted since. Deletes ignore rows that are not there. A row that was not reserved in this op raises ValueError.
    """

    now_us: int  # one time for the whole op; strictly greater than any earlier op's

    def put_setting(self, name: str, value: str) -> None: ...

    def put_app(self, user_id: str, app_id: str, message: bytes) -> AppRecord:
        """Create; raises Duplicate when it exists."""
        ...

    def update_app(self, row: int, message: bytes) -> None: ...
    def delete_app(self, row: int) -> None:
        """With everything in it. Nobody finds it or its keys any more; the rest of a large one is for `erase_app`."""
        ...

    def erase_app(self, row: int) -> bool:
        """Erases the next piece of an app that was deleted; whether anything is left."""
        ...

    def reserve_inputs(self, n: int) -> range: ...
    def reserve_annotations(self, n: int) -> range: ...
    def add_inputs(self, app: int, inputs: Sequence[NewInput]) -> None:
        """Raises Duplicate(id) when an id exists; callers check first."""
        ...

    def update_input(self, row: int, message: bytes, *, status: int | None = None, blobs: Iterable[str] = ()) -> None:
        """Replaces the message (and status), adds blob references, sets modified_us, counts in its job.

        A change of status moves the input between its job's counters. The input's anchor is in `Change.touched`.
        """
        ...

    def replace_input(self, row: int, message: bytes) -> None: ...  # the message alone; modified_us stays
    def delete_inputs(self, app: int, rows: Sequence[int]) -> None:
        """With annotations, labels, vectors and blob references."""
        ...

    def add_annotations(
        self,
        app: int,
        annotations: Sequence[AnnotationRecord],
        labels: Sequence[tuple[int, int, float]],
    ) -> None:
        """`labels`: (annotation row, concept row, value), at most one per pair. Raises Duplicate(id)."""
        ...

    def update_annotation(self, record: AnnotationRecord, labels: Sequence[tuple[int, float]]) -> None:
        """Replaces message, columns and labels (concept row, value) of an annotation that exists."""
        ...

    def replace_messages(self, messages: Mapping[int, bytes]) -> None:
        """Replaces messages of annotations (by row) alone; columns, labels and vectors stay."""
        ...

    def delete_annotations(self, app: int, rows: Sequence[int]) -> None:
        """With labels and vectors. An input-level annotation goes only with its input: ValueError."""
        ...

    def add_blobs(self, input_row: int, digests: Iterable[str]) -> None:
        """Keeps blobs for as long as the input lives."""
        ...

    def put_job(self, app: int, job_id: str) -> None:
        """Creates the job when it is new."""
        ...

    def count_job(self, app: int, job_id: str, *, pending: int = 0, success: int = 0, failed: int = 0) -> None:
        """Adds to its counters (negative numbers subtract)."""
        ...

    def cancel_job(self, app: int, job_id: str) -> None: ...


class Blobs(Protocol):
    """Content-addressed files: hosted pictures, videos and masks."""

    def put(self, content: bytes) -> str:
        """Durable on return (fsync, rename). Returns the sha256 in hex; the same content is stored once."""
        ...

    def get(self, digest: str) -> bytes | None: ...
    def path(self, digest: str) -> Path | None: ...
    def checked(self, digest: str) -> Path | None:
        """As `path`; raises Corrupt when the file is not what was put."""
        ...

    def keep(self, digest: str) -> bool:
        """Holds sweeps off a blob that an op is about to refer to, until the op is through; False when it is gone."""
        ...

    def sweep(self, keep: Callable[[str], bool], older_than_s: float, go_on: Callable[[], bool] = lambda: True) -> int:
        """Removes files nobody refers to and that are older, until `go_on` says no; returns how many."""
        ...


class Store(Protocol):
    """The truth. Thread-safe. One writer thread with group commit; readers never wait for it."""

    @property
    def blobs(self) -> Blobs: ...

    @property
    def identity(self) -> str:
        """32 hex digits drawn when the store was created: sequence numbers mean something only beside it."""
        ...

    def read(self) -> Queries:
        """Reads on this thread's own connection."""
        ...

    def snapshot(self) -> AbstractContextManager[Queries]:
        """Reads that all see what was committed when the first of them began. For the thread that enters it, and
        for seconds: the log cannot be folded into the file meanwhile."""
        ...

    def write(self, op: Callable[[Transaction], T]) -> T:
        """Runs `op` on the writer thread in its own savepoint; returns its value once it is durable and every
        subscriber has applied its change. An exception rolls back this op alone and is raised here. WriteFailed
        when the disk refused. Not to be called from inside an op or a subscriber."""
        ...

    def subscribe(self, consumer: Callable[[Change], None]) -> int:
        """Hands each later change to `consumer`, in order, on the writer thread, before writers are answered.
        Returns the sequence after which the hand-over begins: replay `changes` up to there first."""
        ...

    def changes(self, since: int) -> Iterator[Change]:
        """What was committed after `since`, in order, read from rows: put holds vectors that still exist.
        Sequence numbers have no gaps. Raises TooOld when the feed was trimmed past `since`, or never reached it:
        rebuild from rows instead."""
        ...

    def trim_changes(self, up_to: int) -> None:
        """Forgets changes up to and including this sequence number: every consumer has them on disk."""
        ...

    @property
    def committed(self) -> int:
        """The newest durable sequence number."""
        ...

    def close(self) -> None: ...
