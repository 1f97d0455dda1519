"""What a fault of the store means to whoever called: a status that says what to do, instead of an internal error.

So does what another call deleted meanwhile, which core leaves to the store to notice.
"""

from __future__ import annotations

from postil.errors import Failure, missing
from postil.store.base import Corrupt, Missing, StoreClosed, WriteFailed
from postil.v1.status_code_pb2 import StatusCode


def failure_of(error: BaseException) -> Failure | None:
    """The failure that the caller is told of, or None when the error is neither such a fault nor such a race."""
    if isinstance(error, Missing):
        return missing("What the call is about was deleted while it ran.")
    if isinstance(error, WriteFailed | Corrupt):
        return Failure(StatusCode.INTERNAL_DATABASE_ISSUE, str(error))
    if isinstance(error, StoreClosed):
        return Failure(StatusCode.TRY_AGAIN, "The server is stopping. Try again when it is back.")
    return None
