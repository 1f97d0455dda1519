"""What a search says no with."""

from __future__ import annotations

from postil.errors import Failure
from postil.v1.status_code_pb2 import StatusCode


def invalid(details: str) -> Failure:
    """SEARCH_INVALID_REQUEST (40002)."""
    return Failure(StatusCode.SEARCH_INVALID_REQUEST, details)
