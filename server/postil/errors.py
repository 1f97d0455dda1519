"""The one kind of failure that core raises and doors answer with. A leaf: imports only the status codes.

Application failures are values on the wire (`response.status`), never gRPC errors; see `doors/rpc/dispatcher.py`.
"""

from __future__ import annotations

from postil.v1.status_code_pb2 import StatusCode


class Failure(Exception):
    """A request, or one item of it, cannot be done.

    Args:
        code: The status code the client tests, for example `StatusCode.ANNOTATION_INVALID_ARGUMENT`.
        details: One or two sentences for a person: names the item at fault and what to do about it.
        notes: Technical background for a developer (`developer_notes`); may be empty.
    """

    def __init__(self, code: StatusCode.ValueType, details: str, notes: str = "") -> None:
        super().__init__(details)
        self.code = code
        self.details = details
        self.notes = notes
        self.http = 0  # HTTP status where it is not the one that goes with the code


def missing(details: str) -> Failure:
    """A single resource that is not there, or not yours: both look the same (law 6)."""
    return Failure(StatusCode.CONN_DOES_NOT_EXIST, details)


def invalid_request(details: str) -> Failure:
    """A request that is malformed as a whole, whatever its noun."""
    return Failure(StatusCode.CONN_INVALID_REQUEST, details)
