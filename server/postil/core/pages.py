"""Pages: which rows of a list or which hits of a search a request asks for.

Pages count from 1; 0, the wire's absent value, means the default. There are no totals: a page past the end is empty.
"""

from __future__ import annotations

from typing import NamedTuple

from postil.errors import Failure
from postil.v1.common_pb2 import Pagination
from postil.v1.status_code_pb2 import StatusCode

DEFAULT = 128
MAXIMUM = 1000
DEEPEST_HIT = 10_000  # page * per_page of a search

_WRAPPED = 1 << 31  # a uint32 this large was a negative number in the caller's program


class Page(NamedTuple):
    """A page after defaults: both numbers are at least 1."""

    page: int
    per_page: int

    @property
    def offset(self) -> int:
        """Rows before the page."""
        return (self.page - 1) * self.per_page

    @property
    def limit(self) -> int:
        """Rows on the page, at most."""
        return self.per_page


def of_list(page: int, per_page: int, default: int = DEFAULT) -> Page:
    """The page of a list.

    Args:
        page: From 1; 0 means 1.
        per_page: Up to 1000; 0 means `default`.
        default: Items on a page when the request does not say.

    Raises:
        Failure: CONN_INVALID_REQUEST when a number is negative or per_page is above 1000.
    """
    return _checked(page, per_page, default, StatusCode.CONN_INVALID_REQUEST)


def of_search(pagination: Pagination) -> Page:
    """The page of a search, which may not reach below the 10,000th hit.

    Raises:
        Failure: SEARCH_INVALID_REQUEST; the text `page * perPage cannot exceed` is one that clients look for.
    """
    page, per_page = pagination.page or 1, pagination.per_page or DEFAULT
    if page * per_page > DEEPEST_HIT and max(page, per_page) < _WRAPPED:
        raise Failure(
            StatusCode.SEARCH_INVALID_REQUEST,
            f"page * perPage cannot exceed {DEEPEST_HIT}; this asks for page {page} with {per_page} hits each. "
            "Narrow the search with filters to see more of it.",
        )
    return _checked(page, per_page, DEFAULT, StatusCode.SEARCH_INVALID_REQUEST)


def _checked(page: int, per_page: int, default: int, code: StatusCode.ValueType) -> Page:
    for name, number in (("page", page), ("per_page", per_page)):
        if number >= _WRAPPED or number < 0:
            signed = number - (1 << 32) if number > 0 else number
            raise Failure(code, f"{name} is {number}, which is {signed} as a signed number; use a number from 1 up.")
    if per_page > MAXIMUM:
        raise Failure(
            code, f"per_page is {per_page}, but a page has at most {MAXIMUM} items; ask for several pages instead."
        )
    return Page(page or 1, per_page or default)
