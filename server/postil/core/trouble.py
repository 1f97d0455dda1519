"""What a fault of the store means to whoever called: a status that says what to do, instead of an internal error."""

from __future__ import annotations

from postil.errors import Failure
from postil.store.base import Corrupt, StoreClosed, WriteFailed
from postil.v1.status_code_pb2 import StatusCode


def failure_of(error: BaseException) -> Failure | None:
    """The failure that the caller is told of, or None when the error is no fault of disk or database."""
    if isinstance(error, WriteFailed | Corrupt):
        return Failure(StatusCode.INTERNAL_DATABASE_ISSUE, str(error))
    if isinstance(error, StoreClosed):
        return Failure(StatusCode.TRY_AGAIN, "The server is stopping. Try again when it is back.")
    return None
