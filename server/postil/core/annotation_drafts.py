"""An annotation on its way in: checked, and given the fields that the server owns."""

from __future__ import annotations

from dataclasses import dataclass, field

from postil.core import ids, labels, records, regions, wire
from postil.core.call import Call
from postil.core.drafts import geo_problem, size_problem
from postil.core.scopes import COLLABORATORS_ADD
from postil.core.vectors import BadVector, SpaceVector, client_vector
from postil.errors import Failure
from postil.store.base import AnnotationRecord, InputRecord
from postil.v1.annotation_pb2 import Annotation
from postil.v1.concept_pb2 import Concept
from postil.v1.data_pb2 import Region
from postil.v1.status_code_pb2 import StatusCode
from postil.v1.status_pb2 import Status

WRITABLE_STATUSES = frozenset(
    {
        StatusCode.ANNOTATION_SUCCESS,
        StatusCode.ANNOTATION_PENDING,
        StatusCode.ANNOTATION_FAILED,
        StatusCode.ANNOTATION_UNKNOWN_STATUS,
        StatusCode.ANNOTATION_AWAITING_REVIEW,
        StatusCode.ANNOTATION_AWAITING_CONSENSUS_REVIEW,
        StatusCode.ANNOTATION_REVIEW_DENIED,
    }
)
_MEDIA = ("image", "video", "audio")
_STATUS = wire.key(Annotation.DESCRIPTOR, "status")
_OWN_FIELDS = ("created_at", "modified_at", "status", "input_level", "consensus_info")


@dataclass(slots=True)
class AnnotationDraft:
    """One annotation of a request.

    Args:
        where: "annotations[3]", to begin sentences about it with.
        message: What will be stored; without vectors.
        explicit_id: The client chose the id.
        concepts: Every concept in its data.
        region: Its one region, if it has one.
        input: The input it is about, once found.
        vectors: Its own vectors; empty when it shares its input's.
        blobs: Digests to keep while its input lives.
        status: The status it is stored with.
        failure: Why it is refused.
    """

    where: str
    message: Annotation
    explicit_id: bool = False
    concepts: list[Concept] = field(default_factory=list)
    region: Region | None = None
    input: InputRecord | None = None
    vectors: list[SpaceVector] = field(default_factory=list)
    blobs: list[str] = field(default_factory=list)
    status: StatusCode.ValueType = StatusCode.ANNOTATION_SUCCESS
    failure: Failure | None = None

    def refuse(self, why: str, code: StatusCode.ValueType = StatusCode.ANNOTATION_INVALID_ARGUMENT) -> None:
        """Marks the item as failed; the first reason stays."""
        if self.failure is None:
            self.failure = Failure(code, f"{self.where}: {why}")


def annotation_draft(item: Annotation, position: int) -> AnnotationDraft:
    """Checks one item of PostAnnotations. Never raises: a bad item carries its failure."""
    made = AnnotationDraft(ids.at("annotations", position), item, explicit_id=bool(item.id))
    check(made)
    if made.failure is None and not item.id:
        item.id = ids.new_id()
    return made


def check(made: AnnotationDraft) -> None:
    """Everything that can be said of an annotation without looking into the store."""
    item = made.message
    if not item.input_id:
        made.refuse("it names no input; give input_id")
    if item.id and (problem := ids.problem(item.id)):
        made.refuse(f"its id {ids.shown(item.id)} {problem}")
    if problem := regions.count_problem(item.data):
        made.refuse(problem)
    if given := [name for name in _MEDIA if item.data.HasField(name)]:  # type: ignore[arg-type]
        made.refuse(f"its data holds {given[0]}; media belong to inputs: post an input, then annotate it")
    _check_region(made)
    made.concepts = list(labels.concepts_in(item.data))
    if problem := labels.check(made.concepts, made.where):
        made.failure = made.failure or Failure(StatusCode.ANNOTATION_INVALID_ARGUMENT, problem)
    if problem := geo_problem(item.data):
        made.refuse(problem)
    if item.HasField("status") and item.status.code:
        made.status = item.status.code
        if made.status not in WRITABLE_STATUSES:
            made.refuse(
                f"status {made.status} cannot be set; use one of {', '.join(map(str, sorted(WRITABLE_STATUSES)))}"
            )
    if item.task_id:
        made.refuse(f"task {item.task_id!r} does not exist; leave task_id out")
    _take_vectors(made)
    _check_size(made)


def _check_size(made: AnnotationDraft) -> None:
    masks = sum(len(region.region_info.mask.image.base64) for region in made.message.data.regions)
    if problem := size_problem(made.message.ByteSize() - masks):
        made.refuse(problem)


def _check_region(made: AnnotationDraft) -> None:
    region = regions.region_of(made.message.data)
    if region is None:
        return
    made.region = region
    if region.HasField("region_info"):
        if problem := regions.shape_problem(region.region_info):
            made.refuse(problem)
    elif not region.id:
        made.refuse("its region has neither id nor region_info; name an existing region or say where a new one lies")
    if region.id and (problem := ids.problem(region.id)):
        made.refuse(f"its region id {ids.shown(region.id)} {problem}")


def _take_vectors(made: AnnotationDraft) -> None:
    holders = [made.message.data] + ([made.region.data] if made.region is not None else [])
    for holder in holders:
        for embedding in holder.embeddings:
            try:
                vector = client_vector(embedding)
            except BadVector as problem:
                made.refuse(f"its embedding is no vector: {problem}")
                continue
            if any(other.space == vector.space for other in made.vectors):
                made.refuse(f"two vectors are for the space {vector.space!r}; name another in embeddings[].space")
            made.vectors.append(vector)
        holder.ClearField("embeddings")


def author(item: Annotation, user_id: str) -> tuple[str, str, str]:
    """Fills in the worker and its deprecated mirrors. Returns (user, model version, workflow version) ids.

    Mirrors of another kind of author go: what a model says would show as said by whatever user was named.
    """
    kind = item.worker.WhichOneof("worker") if item.HasField("worker") else None
    if kind == "model" or (kind is None and item.model_version_id):
        version = item.worker.model.model_version.id or item.model_version_id
        item.worker.model.model_version.id = item.model_version_id = version
        item.ClearField("user_id")
        return "", version, ""
    item.ClearField("model_version_id")
    if kind == "workflow":
        item.ClearField("user_id")
        return "", "", item.worker.workflow.version.id
    user = (item.worker.user.id if kind == "user" else "") or item.user_id or user_id
    item.worker.user.id = item.user_id = user_id if user == "me" else user
    return item.user_id, "", ""


def refuse_impostor(made: AnnotationDraft, call: Call, writer: str = "") -> None:
    """Refuses an annotation that says it is another user's, unless the caller's key may speak for others.

    Args:
        made: The annotation; its author is filled in.
        call: Who writes it.
        writer: Whose it is already, for one that exists.
    """
    user = author(made.message, call.user_id)[0]
    if user not in {"", call.user_id, writer} and not call.caller.has(COLLABORATORS_ADD):
        made.refuse(
            f"it says it is by user {ids.shown(user)}; the key writes as {call.user_id!r}, "
            f"and in other names only with the scope {COLLABORATORS_ADD}",
            StatusCode.ANNOTATION_PERMISSION_DENIED,
        )


def body(made: AnnotationDraft) -> bytes:
    """The annotation without times."""
    for name in _OWN_FIELDS:
        made.message.ClearField(name)  # type: ignore[arg-type]
    return made.message.SerializeToString() + wire.framed(_STATUS, records.status_bytes(made.status))


def record(
    made: AnnotationDraft, source: InputRecord, row: int, message: bytes, who: tuple[str, str, str], now_us: int
) -> AnnotationRecord:
    """The row of a new annotation."""
    return AnnotationRecord(
        row=row,
        id=made.message.id,
        input=source.row,
        anchor=row if made.vectors else source.anchor,
        message=message,
        status=made.status,
        trusted=made.message.trusted,
        input_level=False,
        blank=False,
        user_id=who[0],
        model_version_id=who[1],
        workflow_version_id=who[2],
        task_id=made.message.task_id,
        created_us=now_us,
        modified_us=now_us,
    )


def refused(item: Annotation, status: Status) -> Annotation:
    """What is answered for an item of which nothing is kept."""
    return Annotation(id=ids.echoed(item.id), input_id=ids.echoed(item.input_id), status=status)
