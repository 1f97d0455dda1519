"""What a fault of the store means to whoever called: a status that says what to do, instead of an internal error.

So does what another call deleted meanwhile, which core leaves to the store to notice.
"""

from __future__ import annotations

from postil.errors import Failure, missing
from postil.store.base import Corrupt, Missing, StoreClosed, TooMuch, WriteFailed
from postil.v1.status_code_pb2 import StatusCode


def too_much(room: int, what: str = "The answer") -> Failure:
    """The failure of a call whose answer would have more bytes than one may."""
    return Failure(
        StatusCode.RPC_MAX_MESSAGE_SIZE_EXCEEDED,
        f"{what} would take more than the {room:,} bytes that an answer may have. Ask for less at once: give a smaller "
        "per_page, or name fewer ids or searches. The operator may raise --max-message-mb.",
    )


def failure_of(error: BaseException) -> Failure | None:
    """The failure that the caller is told of, or None when the error is neither such a fault nor such a race."""
    if isinstance(error, Missing):
        return missing("What the call is about was deleted while it ran.")
    if isinstance(error, TooMuch):
        count, room = error.args
        return too_much(room, f"The first {count:,} of the items that were asked for")
    if isinstance(error, WriteFailed | Corrupt):
        return Failure(StatusCode.INTERNAL_DATABASE_ISSUE, str(error))
    if isinstance(error, StoreClosed):
        return Failure(StatusCode.TRY_AGAIN, "The server is stopping. Try again when it is back.")
    return None
