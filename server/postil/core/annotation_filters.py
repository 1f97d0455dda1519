"""Annotation filters: named searches, of filters alone, that pick the annotations of a dataset."""

from __future__ import annotations

from collections.abc import Sequence

from postil.core import ids, pages, patch, saved_searches, statuses
from postil.core.call import Call
from postil.core.ranks import invalid, is_empty
from postil.core.saved_searches import MAX_BYTES, MAX_ITEMS, refuse
from postil.errors import Failure, missing
from postil.store.base import Store, Transaction
from postil.v1.search_pb2 import AnnotationFilter
from postil.v1.search_service_pb2 import (
    DeleteAnnotationFiltersRequest,
    GetAnnotationFilterRequest,
    ListAnnotationFiltersRequest,
    MultiAnnotationFilterResponse,
    PatchAnnotationFiltersRequest,
    PostAnnotationFiltersRequest,
    SingleAnnotationFilterResponse,
)
from postil.v1.status_code_pb2 import StatusCode
from postil.v1.status_pb2 import BaseResponse

KIND = "annotation_filter"
MAX_DELETED = 1000
_FIELD = "annotation_filters"
_SERVER_FIELDS = frozenset({"id", "created_at", "modified_at", "user_id", "app_id"})


class AnnotationFilters:
    """The annotation filters of an app. Thread-safe."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def post(self, call: Call, request: PostAnnotationFiltersRequest) -> MultiAnnotationFilterResponse:
        """Adds filters, all or none.

        Raises:
            Failure: SAVED_SEARCH_MODIFY_FAILED for an id that is taken or comes twice; SEARCH_INVALID_REQUEST when a
                search is none of filters alone; CONN_INVALID_REQUEST for an id that breaks a rule.
        """
        app = call.app
        _check_items(request.annotation_filters)
        for i, one in enumerate(request.annotation_filters):
            if one.id:
                ids.check("annotation filter", one.id, ids.at(_FIELD, i))
            check(one, ids.at(_FIELD, i))

        def op(tx: Transaction) -> list[AnnotationFilter]:
            there = tx.named_many(app.row, KIND, [one.id for one in request.annotation_filters])
            for i, one in enumerate(request.annotation_filters):
                if one.id in there:
                    raise refuse(f"{ids.at(_FIELD, i)}: there is an annotation filter {ids.shown(one.id)} already.")
            made = [_completed(one, call, tx.now_us) for one in request.annotation_filters]
            for one in made:
                tx.add_named(app.row, KIND, one.id, "", one.SerializeToString())
            return made

        return _many(self._store.write(op))

    def get(self, call: Call, request: GetAnnotationFilterRequest) -> SingleAnnotationFilterResponse:
        """Raises Failure CONN_DOES_NOT_EXIST."""
        record = self._store.read().named(call.app.row, KIND, request.annotation_filter_id)
        if record is None:
            raise _not_there(request.annotation_filter_id, call)
        found = AnnotationFilter.FromString(record.message)
        return SingleAnnotationFilterResponse(status=statuses.status(StatusCode.SUCCESS), annotation_filter=found)

    def list(self, call: Call, request: ListAnnotationFiltersRequest) -> MultiAnnotationFilterResponse:
        """In order of creation."""
        page = pages.of_list(request.page, request.per_page)
        records = self._store.read().list_named(call.app.row, KIND, page.offset, page.limit)
        return _many([AnnotationFilter.FromString(record.message) for record in records])

    def patch(self, call: Call, request: PatchAnnotationFiltersRequest) -> MultiAnnotationFilterResponse:
        """Overwrites what is sent, all filters or none.

        Raises:
            Failure: CONN_INVALID_REQUEST for another action; CONN_DOES_NOT_EXIST when one is not there;
                SEARCH_INVALID_REQUEST when a search is none of filters alone.
        """
        patch.chosen(request.action, ["overwrite"], "overwrite")
        _check_items(request.annotation_filters)

        def op(tx: Transaction) -> list[AnnotationFilter]:
            there = tx.named_many(call.app.row, KIND, [one.id for one in request.annotation_filters])
            changed = []
            for i, change in enumerate(request.annotation_filters):
                where, record = ids.at(_FIELD, i), there.get(change.id)
                if record is None:
                    raise _not_there(change.id, call, f"{where}: ")
                one = patch.apply("overwrite", AnnotationFilter.FromString(record.message), change, keep=_SERVER_FIELDS)
                one.modified_at.FromMicroseconds(tx.now_us)
                check(one, where)
                tx.update_named(record.row, one.SerializeToString())
                changed.append(one)
            return changed

        return _many(self._store.write(op))

    def delete(self, call: Call, request: DeleteAnnotationFiltersRequest) -> BaseResponse:
        """Passes over those that are not there. Raises Failure SEARCH_INVALID_REQUEST for none or too many."""
        wanted = list(dict.fromkeys(request.annotation_filter_ids))
        if not 1 <= len(wanted) <= MAX_DELETED:
            raise invalid(f"annotation_filter_ids holds {len(wanted)} ids; send 1 to {MAX_DELETED}")
        self._store.write(lambda tx: tx.delete_named(call.app.row, KIND, wanted))
        return BaseResponse(status=statuses.status(StatusCode.SUCCESS))


def _not_there(filter_id: str, call: Call, where: str = "") -> Failure:
    return missing(f"{where}Annotation filter {ids.shown(filter_id)} does not exist in app {call.app.id!r}.")


def _check_items(filters: Sequence[AnnotationFilter]) -> None:
    if not 1 <= len(filters) <= MAX_ITEMS:
        raise invalid(f"{_FIELD} holds {len(filters)} items; send 1 to {MAX_ITEMS} in one call")
    places: dict[str, int] = {}
    for i, one in enumerate(filters):
        if one.id and one.id in places:
            raise refuse(f"{ids.at(_FIELD, i)}: duplicate id {ids.shown(one.id)}, also in {_FIELD}[{places[one.id]}].")
        places[one.id] = i


def check(one: AnnotationFilter, where: str) -> None:
    """Raises Failure when it is not a search of filters alone that can be run, or is too large to keep."""
    search = one.search
    if not search.query.filters:
        raise invalid(f"{where}.search.query.filters is empty; say which annotations it picks")
    if any(not is_empty(rank) for rank in search.query.ranks):
        raise invalid(f"{where}.search.query.ranks: a filter has no order; leave them out")
    if one.ByteSize() > MAX_BYTES:
        raise refuse(f"{where} has {one.ByteSize()} bytes; at most {MAX_BYTES} are kept.")
    saved_searches.read(search, f"{where}.search", "PostAnnotationsSearches")


def _completed(posted: AnnotationFilter, call: Call, now_us: int) -> AnnotationFilter:
    made = AnnotationFilter(id=posted.id or ids.new_id(), search=posted.search)
    made.user_id, made.app_id = call.app.user_id, call.app.id
    made.created_at.FromMicroseconds(now_us)
    made.modified_at.FromMicroseconds(now_us)
    return made


def _many(filters: Sequence[AnnotationFilter]) -> MultiAnnotationFilterResponse:
    return MultiAnnotationFilterResponse(status=statuses.status(StatusCode.SUCCESS), annotation_filters=filters)
