"""Feedback: what people say of predictions, and which hits they chose. Kept as rows, joined to what it is about.

Nobody has to be known: ids that the server has never seen are taken, and kept as unmatched.
"""

from __future__ import annotations

from collections.abc import Callable

from postil.core import feedback_checks, ids, older_models, pages, statuses
from postil.core.call import Call
from postil.core.feedback_labels import Pending
from postil.core.learning import Learning
from postil.core.learning_trails import Trail
from postil.core.models import Models
from postil.core.outputs import OutputLog
from postil.core.search_log import Request, SearchLog
from postil.core.times import microseconds
from postil.errors import Failure, invalid_request
from postil.store.base import (
    FOREVER_US,
    AnnotationRecord,
    Evidence,
    FeedbackListing,
    FeedbackRecord,
    KeptSearch,
    NewFeedback,
    Queries,
    Store,
    Transaction,
)
from postil.v1.common_pb2 import TimeRange
from postil.v1.feedback_service_pb2 import (
    DeleteFeedbackRequest,
    FeedbackEvent,
    ListFeedbackRequest,
    MultiFeedbackResponse,
    PostModelFeedbackRequest,
    PostSearchFeedbackRequest,
)
from postil.v1.input_pb2 import EventType, Input
from postil.v1.model_service_pb2 import GetModelRequest
from postil.v1.search_service_pb2 import PostAnnotationsSearchesRequest, PostInputsSearchesRequest
from postil.v1.status_code_pb2 import StatusCode
from postil.v1.status_pb2 import BaseResponse, Status

MAX_DELETED = 1000  # ids in one call
_REQUESTS: dict[str, type[PostAnnotationsSearchesRequest | PostInputsSearchesRequest]] = {
    "PostAnnotationsSearches": PostAnnotationsSearchesRequest,
    "PostInputsSearches": PostInputsSearchesRequest,
}
_ERASED = 10_000  # of one person, deleted in one op

FindTrail = Callable[[Call, Request], Trail | None]


class Feedbacks:
    """What the calls of the Feedback service mean, but for the quality of searches. Thread-safe.

    Args:
        store: Where feedback is kept.
        log: The searches that ran.
        outputs: The predictions that were answered.
        resolve: Finds out again where a search had looked; None, or a Failure, when it cannot.
        learning: Knows where the newest searches looked; told what there is to learn.
        models: What the app sees.
    """

    def __init__(
        self,
        store: Store,
        log: SearchLog,
        outputs: OutputLog,
        resolve: FindTrail,
        learning: Learning,
        models: Models,
    ) -> None:
        self._store = store
        self._log = log
        self._outputs = outputs
        self._resolve = resolve
        self._learning = learning
        self._pending = Pending(store)
        self._models = models

    def click(self, call: Call, request: PostSearchFeedbackRequest) -> BaseResponse:
        """Raises Failure SEARCH_INVALID_REQUEST."""
        given = request.input
        feedback_checks.check_click(given)
        info, app = given.feedback_info, call.app
        kept = self._log.find(app.row, info.search_id)
        queries = self._store.read()
        source = queries.input(app.row, given.id)
        shown = [hit.input for hit in kept.hits] if kept else []
        at = shown.index(source.row) if source is not None and source.row in shown else -1
        evidence = self._evidence(call, kept, at, queries) if kept is not None and at >= 0 else None
        position = (kept.page - 1) * kept.per_page + at + 1 if kept is not None and at >= 0 else 0
        new = _new(given, info.search_id, matched=at >= 0)._replace(position=position, evidence=evidence)
        self._store.write(lambda tx: tx.add_feedback(app.row, new))
        if evidence is not None:
            self._learning.refresh(app.row, info.end_user_id, evidence.space, evidence.key, evidence.query)
        return BaseResponse(status=_ok())

    def _evidence(self, call: Call, kept: KeptSearch, at: int, queries: Queries) -> Evidence | None:
        """What the click teaches; None when the search cannot be learned from."""
        trail = self._learning.trails.find(call.app.row, kept.id) or self._resolved(call, kept)
        if trail is None:
            return None
        found = queries.annotations_by_row([hit.annotation for hit in kept.hits[: at + 1]])
        if kept.hits[at].annotation not in found:
            return None
        chosen = found[kept.hits[at].annotation]
        above = [found[hit.annotation] for hit in kept.hits[:at] if hit.annotation in found]
        passed = dict.fromkeys(one.anchor for one in above if _other(one, chosen))
        return Evidence(kept.id, trail.point.space.row, trail.key, trail.point.vector, chosen.anchor, tuple(passed))

    def _resolved(self, call: Call, kept: KeptSearch) -> Trail | None:
        kind = _REQUESTS.get(kept.endpoint)
        if kind is None:
            return None
        try:
            return self._resolve(call, kind.FromString(kept.request))
        except Failure:  # what it searched by is gone, or was too large to keep: the click counts, and teaches nothing
            return None

    def annotation(self, call: Call, request: PostModelFeedbackRequest) -> BaseResponse:
        """Raises Failure MODEL_DOES_NOT_EXIST or PREDICT_INVALID_REQUEST."""
        given, app = request.input, call.app
        self._check_model(call, request)
        feedback_checks.check_annotation(given)
        matched = self._outputs.find(app.row, given.feedback_info.output_id) is not None
        new = _new(given, given.feedback_info.output_id, matched=matched)
        new = new._replace(model_id=request.model_id, model_version_id=request.version_id)
        drafts = self._pending.drafts(call, given)

        def op(tx: Transaction) -> None:
            rows = self._pending.write(tx, call, drafts)
            tx.add_feedback(app.row, new._replace(annotations=rows))

        self._store.write(op)
        return BaseResponse(status=_ok())

    def _check_model(self, call: Call, request: PostModelFeedbackRequest) -> None:
        if older_models.absent(request.model_id):  # the prediction was made elsewhere, by whatever version
            return
        try:
            self._models.get(call, GetModelRequest(model_id=request.model_id, version_id=request.version_id))
        except Failure as failure:
            raise Failure(StatusCode.MODEL_DOES_NOT_EXIST, failure.details, failure.notes) from failure

    def list(self, call: Call, request: ListFeedbackRequest) -> MultiFeedbackResponse:
        """Raises Failure CONN_INVALID_REQUEST for a page, SEARCH_INVALID_REQUEST for a time range."""
        page = pages.of_list(request.page, request.per_page)
        queries = self._store.read()
        listing = _listing(request)
        if listing is None:
            return MultiFeedbackResponse(status=_ok())
        records = queries.list_feedback(call.app.row, listing, page.offset, page.limit)
        made = queries.annotations_by_row([row for record in records for row in record.annotations])
        return MultiFeedbackResponse(status=_ok(), feedback=[_event(record, made) for record in records])

    def delete(self, call: Call, request: DeleteFeedbackRequest) -> BaseResponse:
        """Raises Failure CONN_INVALID_REQUEST."""
        if bool(request.ids) == bool(request.end_user_id):
            raise invalid_request("Give either ids[], or end_user_id to take back all that one person gave.")
        if len(request.ids) > MAX_DELETED:
            raise invalid_request(f"ids[] has {len(request.ids)} items; send at most {MAX_DELETED} at a time.")
        app = call.app.row

        def op(tx: Transaction) -> bool:
            listing = FeedbackListing(end_user=request.end_user_id)
            found = tx.feedback(app, request.ids) if request.ids else tx.list_feedback(app, listing, 0, _ERASED)
            self._pending.take_back(tx, app, [row for record in found for row in record.annotations])
            tx.delete_feedback(app, [record.id for record in found])
            return len(found) == _ERASED

        while self._store.write(op):
            pass
        return BaseResponse(status=_ok())


def time_range(given: TimeRange) -> tuple[int, int]:
    """Microseconds from and to, both included. Raises Failure SEARCH_INVALID_REQUEST for no time, or no range."""
    start = microseconds(given.start_time, "time_range.start_time") if given.HasField("start_time") else 0
    end = microseconds(given.end_time, "time_range.end_time") if given.HasField("end_time") else FOREVER_US
    if start > end:
        raise Failure(StatusCode.SEARCH_INVALID_REQUEST, "time_range starts after its end; swap start_time, end_time.")
    return start, end


def _other(above: AnnotationRecord, chosen: AnnotationRecord) -> bool:
    return above.anchor != chosen.anchor and above.input != chosen.input


def _new(given: Input, subject: str, *, matched: bool) -> NewFeedback:
    info = given.feedback_info
    return NewFeedback(
        id=ids.new_id(),
        event=info.event_type,
        subject=subject,
        model_id="",
        model_version_id="",
        input_id=given.id,
        end_user=info.end_user_id,
        session=info.session_id,
        matched=matched,
        position=0,
        annotations=(),
        message=feedback_checks.without_media(given).SerializeToString(),
    )


def _listing(request: ListFeedbackRequest) -> FeedbackListing | None:
    """None when nothing can match: a search and an output, or another event than the one that its id belongs to."""
    start, end = time_range(request.time_range)
    wanted = {request.event_type} - {EventType.undefined}
    wanted |= {EventType.search_click} if request.search_id else set()
    wanted |= {EventType.annotation} if request.output_id else set()
    if len(wanted) > 1:
        return None
    return FeedbackListing(
        event=max(wanted, default=0),
        subject=request.search_id or request.output_id,
        model_id=request.model_id,
        input_id=request.input_id,
        end_user=request.end_user_id,
        session=request.session_id,
        matched=request.matched.value if request.HasField("matched") else None,
        start_us=start,
        end_us=end,
    )


def _event(record: FeedbackRecord, made: dict[int, AnnotationRecord]) -> FeedbackEvent:
    event = FeedbackEvent(
        id=record.id,
        input=Input.FromString(record.message),
        model_id=record.model_id,
        model_version_id=record.model_version_id,
        matched=record.matched,
        position=record.position,
        annotation_ids=[made[row].id for row in record.annotations if row in made],
    )
    event.created_at.FromMicroseconds(record.time_us)
    return event


def _ok() -> Status:
    return statuses.status(StatusCode.SUCCESS)
