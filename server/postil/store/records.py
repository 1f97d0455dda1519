"""What the store's Protocols speak of: rows as core sees them. No behaviour; see `store/base.py` for the promises.

Rows are positive integers below 2**32, never reused, growing in order of creation within a table.
Times are microseconds since the epoch, UTC. Messages are serialized `postil.v1` messages.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]
Matrix = NDArray[np.float32]


class AppRecord(NamedTuple):
    """One app: a wall around everything below it."""

    row: int
    user_id: str
    id: str
    message: bytes  # postil.v1.App


class InputRecord(NamedTuple):
    """One picture, text, video or bare vector."""

    row: int
    id: str
    status: int  # 30000, 30001 pending, ... (see StatusCode INPUT_*)
    anchor: int  # row of its input-level annotation
    message: bytes  # postil.v1.Input, as GetInput returns it
    created_us: int
    modified_us: int


class NewInput(NamedTuple):
    """An input to add, with its input-level annotation in the same breath."""

    row: int  # from Transaction.reserve_inputs
    id: str
    status: int
    anchor: int
    message: bytes
    created_us: int
    url: str  # what the client gave, for the duplicate rule; "" when it gave bytes, text or vectors
    job: str  # inputs_add_job_id or ""
    blobs: tuple[str, ...]  # digests that must be kept while the input lives


class AnnotationRecord(NamedTuple):
    """One annotation, with the columns that reads and rules need beside the message."""

    row: int
    id: str
    input: int  # row of its input
    anchor: int  # row of the annotation whose vector stands for this one (itself, or the input-level one)
    message: bytes  # postil.v1.Annotation
    status: int
    trusted: bool
    input_level: bool
    blank: bool  # input-level and without concepts, metadata or geo: left out of listings
    user_id: str
    model_version_id: str
    workflow_version_id: str
    task_id: str
    created_us: int
    modified_us: int
    predicted: bool = False  # by a model of the base workflow: kept apart, see store/predictions.py


class ConceptRecord(NamedTuple):
    """One concept of an app."""

    row: int
    id: str
    name: str
    message: bytes  # postil.v1.Concept


class ConceptTally(NamedTuple):
    """How often a concept was labelled, split by the input's state (processed, pending or failed)."""

    concept: ConceptRecord
    positives: dict[int, int]  # input status -> number of annotations with value > 0
    negatives: dict[int, int]  # input status -> number of annotations with value 0


class SpaceRecord(NamedTuple):
    """One vector space of an app. Spaces never mix."""

    row: int
    app: int
    id: str  # the embed_model_version_id that names it on the wire
    name: str
    kind: str  # "picture", "text" or "client"
    dim: int
    unit: bool  # every vector in it has length 1 (within 1e-3), so that both metrics order alike


class Vectors(NamedTuple):
    """Vectors of one space, by the annotation rows that own them."""

    space: int
    rows: Rows  # int64 [n]
    matrix: Matrix  # float32 [n, dim]


class AnnotationFact(NamedTuple):
    """An annotation as an op left it, with its labels."""

    record: AnnotationRecord
    labels: tuple[tuple[int, float], ...]  # (concept row, value)


class InputFact(NamedTuple):
    """What an op wrote of an input."""

    row: int
    anchor: int  # row of its input-level annotation
    status: int
    message: bytes  # postil.v1.Input


class Facts(NamedTuple):
    """What annotations and inputs say, for whoever keeps them ready to be filtered."""

    annotations: tuple[AnnotationFact, ...] = ()  # by ascending row
    inputs: tuple[InputFact, ...] = ()  # by ascending row


class Change(NamedTuple):
    """What one committed op changed, in the order of the commit sequence. State-based and idempotent.

    Within one change `gone` comes first: a row in `put` or `touched` as well is there again.
    """

    seq: int
    app: int
    touched: Rows  # annotation rows created or changed
    gone: Rows  # annotation rows deleted; their vectors are gone from every space
    put: tuple[Vectors, ...]  # vectors written (a row that had one already has it replaced)
    spaces_gone: tuple[int, ...]  # spaces deleted as a whole (an app was deleted)
    # Of `touched`, handed over without a read; None when the change was read back: ask `Queries.facts`.
    facts: Facts | None = None


class HitRecord(NamedTuple):
    """An annotation with its input, ready to be spliced into a response."""

    anchor: int
    annotation: int
    input: int
    input_message: bytes
    annotation_message: bytes


class AnnotationListing(NamedTuple):
    """Which annotations ListAnnotations asks for. Empty tuples mean no constraint."""

    pairs: tuple[tuple[str, str], ...] = ()  # (input_id, annotation_id); alone when given
    input_ids: tuple[str, ...] = ()
    user_ids: tuple[str, ...] = ()
    model_version_ids: tuple[str, ...] = ()
    workflow_version_ids: tuple[str, ...] = ()
    statuses: tuple[int, ...] = ()
    task_id: str = ""
    trusted_only: bool = True
    blanks: bool = False  # include label-less input-level annotations
    predicted: bool = False  # include what models said by themselves, unless trusted_only


class JobRecord(NamedTuple):
    """Progress of one inputs_add_job_id."""

    id: str
    pending: int
    in_progress: int
    success: int
    failed: int
    cancelled: bool
    created_us: int
    modified_us: int
