"""Saved searches: kept under an id instead of run, listed, changed, deleted.

A saved search remembers the call that saved it, and so whether it finds annotations or inputs when it is run
(`core/search_calls.py` runs it).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from postil.core import ids, pages, patch, statuses
from postil.core.ands import translate
from postil.core.call import Call
from postil.core.query import read_query
from postil.core.ranks import invalid
from postil.errors import Failure, missing
from postil.store.base import NamedRecord, Store, Transaction
from postil.v1.search_pb2 import Search
from postil.v1.search_service_pb2 import (
    DeleteSearchRequest,
    GetSearchRequest,
    ListSearchesRequest,
    MultiSearchResponse,
    PatchAnnotationsSearchesRequest,
    PatchInputsSearchesRequest,
    PatchSearchesRequest,
    SingleSearchResponse,
)
from postil.v1.status_code_pb2 import StatusCode
from postil.v1.status_pb2 import BaseResponse

PatchRequest: TypeAlias = PatchSearchesRequest | PatchInputsSearchesRequest | PatchAnnotationsSearchesRequest

KIND = "search"
MAX_ITEMS = 128
MAX_BYTES = 1 << 20  # of one search: lists of them must stay readable
MAX_NAME = 256  # characters

_SERVER_FIELDS = frozenset({"id", "application_id", "created_at", "modified_at", "save"})


class Saved(NamedTuple):
    """A saved search, ready to be run."""

    endpoint: str  # name of the RPC that saved it
    search: Search


def legacy(endpoint: str) -> bool:
    """Whether searches of this RPC may have ands."""
    return endpoint == "PostSearches"


def read(search: Search, where: str, endpoint: str) -> None:
    """Raises Failure when the search could not be run, as far as that can be told without the app's data."""
    plain = Search()
    plain.CopyFrom(search)
    plain.save = False
    if not legacy(endpoint):
        read_query(plain, where)
        return
    translation = translate(plain.query, f"{where}.query")
    plain.query.CopyFrom(translation.query)
    try:
        read_query(plain, where)
    except Failure as failure:
        raise translation.retold(failure) from failure


class SavedSearches:
    """The saved searches of an app. Thread-safe."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def post(self, call: Call, endpoint: str, searches: Sequence[Search]) -> MultiSearchResponse:
        """Keeps the searches, all or none, and gives them back.

        Args:
            call: The call.
            endpoint: Name of the RPC, which will run them.
            searches: What to keep, without `id` to have one made.

        Raises:
            Failure: SEARCH_INVALID_REQUEST when one could not be run; SAVED_SEARCH_MODIFY_FAILED for an id that is
                taken, or what cannot be kept; CONN_INVALID_REQUEST for an id that breaks a rule.
        """
        app = call.app
        _check_items(searches, "searches")
        for i, search in enumerate(searches):
            if search.id:
                ids.check("search", search.id, ids.at("searches", i))
            _check(search, ids.at("searches", i), endpoint)

        def op(tx: Transaction) -> list[Search]:
            there = tx.named_many(app.row, KIND, [search.id for search in searches])
            for i, search in enumerate(searches):
                if search.id in there:
                    raise refuse(
                        f"{ids.at('searches', i)}: a search {ids.shown(search.id)} is saved already; "
                        "choose another id, or change it with a Patch call."
                    )
            made = [_completed(search, app.id, tx.now_us) for search in searches]
            for one in made:
                tx.add_named(app.row, KIND, one.id, endpoint, one.SerializeToString())
            return made

        return _many(self._store.write(op))

    def get(self, call: Call, request: GetSearchRequest) -> SingleSearchResponse:
        """Raises Failure CONN_DOES_NOT_EXIST."""
        found = self.find(call, request.id)
        if found is None:
            raise not_there(request.id, call)
        return SingleSearchResponse(status=statuses.status(StatusCode.SUCCESS), search=found.search)

    def find(self, call: Call, search_id: str) -> Saved | None:
        """The saved search of that id, if there is one."""
        record = self._store.read().named(call.app.row, KIND, search_id)
        return Saved(record.detail, Search.FromString(record.message)) if record else None

    def list(self, call: Call, request: ListSearchesRequest) -> MultiSearchResponse:
        """In order of creation."""
        page = pages.of_list(request.page, request.per_page)
        records = self._store.read().list_named(call.app.row, KIND, page.offset, page.limit)
        return _many([Search.FromString(record.message) for record in records])

    def patch(self, call: Call, request: PatchRequest) -> MultiSearchResponse:
        """Overwrites the fields that are sent, all searches or none.

        Raises:
            Failure: CONN_INVALID_REQUEST for another action; CONN_DOES_NOT_EXIST when one is not there;
                SAVED_SEARCH_MODIFY_FAILED when another call saved it; SEARCH_INVALID_REQUEST when it could not be run.
        """
        patch.chosen(request.action, ["overwrite"], "overwrite")
        app, endpoint = call.app, request.DESCRIPTOR.name.removesuffix("Request").replace("Patch", "Post", 1)
        _check_items(request.searches, "searches")

        def op(tx: Transaction) -> list[Search]:
            there = tx.named_many(app.row, KIND, [search.id for search in request.searches])
            changed = []
            for i, change in enumerate(request.searches):
                record = _patchable(there.get(change.id), change.id, ids.at("searches", i), endpoint, call)
                changed.append(_overwritten(record, change, ids.at("searches", i), tx.now_us))
                tx.update_named(record.row, changed[-1].SerializeToString())
            return changed

        return _many(self._store.write(op))

    def delete(self, call: Call, request: DeleteSearchRequest) -> BaseResponse:
        """Raises Failure CONN_DOES_NOT_EXIST."""
        app = call.app
        if not self._store.write(lambda tx: tx.delete_named(app.row, KIND, [request.id])):
            raise not_there(request.id, call)
        return BaseResponse(status=statuses.status(StatusCode.SUCCESS))


def refuse(details: str) -> Failure:
    """SAVED_SEARCH_MODIFY_FAILED (43005)."""
    return Failure(StatusCode.SAVED_SEARCH_MODIFY_FAILED, details)


def not_there(search_id: str, call: Call) -> Failure:
    """CONN_DOES_NOT_EXIST for a saved search."""
    return missing(
        f"Search {ids.shown(search_id)} does not exist in app {call.app.id!r}; ListSearches has those saved."
    )


def _check_items(searches: Sequence[Search], field: str) -> None:
    if not 1 <= len(searches) <= MAX_ITEMS:
        raise invalid(f"{field} holds {len(searches)} items; send 1 to {MAX_ITEMS} in one call")
    places: dict[str, int] = {}
    for i, search in enumerate(searches):
        if search.id and search.id in places:
            first = ids.at(field, places[search.id])
            raise refuse(f"{ids.at(field, i)}: duplicate id {ids.shown(search.id)}, also in {first}.")
        places[search.id] = i


def _check(search: Search, where: str, endpoint: str) -> None:
    if len(search.name) > MAX_NAME:
        raise refuse(f"{where}: the name has {len(search.name)} characters; use at most {MAX_NAME}.")
    if search.ByteSize() > MAX_BYTES:
        raise refuse(
            f"{where} has {search.ByteSize()} bytes, and at most {MAX_BYTES} are kept; "
            "name pictures by url, or by the id of an input."
        )
    read(search, where, endpoint)


def _completed(posted: Search, app_id: str, now_us: int) -> Search:
    search = Search()
    search.CopyFrom(posted)
    search.id, search.application_id, search.save = posted.id or ids.new_id(), app_id, True
    search.created_at.FromMicroseconds(now_us)
    search.modified_at.FromMicroseconds(now_us)
    return search


def _patchable(record: NamedRecord | None, search_id: str, where: str, endpoint: str, call: Call) -> NamedRecord:
    if record is None:
        failure = not_there(search_id, call)
        raise Failure(failure.code, f"{where}: {failure.details}")
    if record.detail != endpoint:
        right = record.detail.replace("Post", "Patch", 1)
        raise refuse(f"{where}: {record.detail} saved the search {ids.shown(search_id)}; change it with {right}.")
    return record


def _overwritten(record: NamedRecord, change: Search, where: str, now_us: int) -> Search:
    search = patch.apply("overwrite", Search.FromString(record.message), change, keep=_SERVER_FIELDS)
    search.modified_at.FromMicroseconds(now_us)
    _check(search, where, record.detail)
    return search


def _many(searches: Sequence[Search]) -> MultiSearchResponse:
    return MultiSearchResponse(status=statuses.status(StatusCode.SUCCESS), searches=searches)
