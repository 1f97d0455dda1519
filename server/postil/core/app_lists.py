"""Lists of a user's apps: filtered and ordered as asked, one page at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from postil.core import app_fields, pages
from postil.core.app_fields import message
from postil.errors import invalid_request
from postil.store.base import Queries
from postil.v1.app_pb2 import App
from postil.v1.app_service_pb2 import ListAppsRequest
from postil.v1.common_pb2 import Visibility

_CHUNK = 1000
_UNSUPPORTED = ("featured_only", "starred_only", "template_only", "sort_by_star_count", "sort_by_relevance")
_ORDERS: dict[str, Callable[[App], Any]] = {
    "sort_by_name": lambda app: (app.name.casefold(), app.id),
    "sort_by_id": lambda app: app.id,
    "sort_by_created_at": lambda app: app.created_at.ToMicroseconds(),
    "sort_by_modified_at": lambda app: app.modified_at.ToMicroseconds(),
}


def page(queries: Queries, user_id: str, request: ListAppsRequest) -> list[App]:
    """One page of the user's apps, by default in order of creation.

    `id` and `name` keep the apps whose id or name contains that text; `search` and `query` those whose id, name or
    description does; case does not matter. With `sort_by_…` the order is descending unless `sort_ascending` is set.

    Raises:
        Failure: CONN_INVALID_REQUEST for a page out of range, or a filter or order that is not supported.
    """
    wanted = pages.of_list(request.page, request.per_page)
    _check(request)
    order = request.WhichOneof("sort_by")
    if not (order or request.id or request.name or request.search or request.query):
        return [message(record) for record in queries.apps(user_id, wanted.offset, wanted.limit)]
    found = [app for app in _all(queries, user_id) if _matches(app, request)]
    if order and getattr(request, order):
        found.sort(key=_ORDERS[order], reverse=not request.sort_ascending)
    return found[wanted.offset : wanted.offset + wanted.limit]


def _check(request: ListAppsRequest) -> None:
    for name in _UNSUPPORTED:
        if getattr(request, name):
            raise invalid_request(f"{name} is not supported; leave it out.")
    if request.visibility.gettable not in {Visibility.UNKNOWN_VISIBILITY, Visibility.PRIVATE}:
        raise invalid_request("visibility: apps are private; leave it out.")
    for name in ("id", "name", "search", "query"):
        length = len(getattr(request, name))
        if length > app_fields.MAX_NAME:
            raise invalid_request(f"{name} has {length} characters; use at most {app_fields.MAX_NAME}.")


def _all(queries: Queries, user_id: str) -> list[App]:
    found: list[App] = []
    while True:
        records = queries.apps(user_id, len(found), _CHUNK)
        found += [message(record) for record in records]
        if len(records) < _CHUNK:
            return found


def _matches(app: App, request: ListAppsRequest) -> bool:
    anywhere = f"{app.id}\n{app.name}\n{app.description}"
    checks = ((request.id, app.id), (request.name, app.name), (request.search, anywhere), (request.query, anywhere))
    return all(text.casefold() in place.casefold() for text, place in checks if text)
