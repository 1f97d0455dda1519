"""What core knows about the call it serves: who asks, in which app, until when."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass
from typing import TypeVar

from postil import errors
from postil.core.callers import ANYBODY, Caller
from postil.store.base import AppRecord
from postil.v1.status_code_pb2 import StatusCode

T = TypeVar("T")

LOOK_S = 0.25  # how often it is looked whether the caller is still there
PUBLIC_USER = "clarifai"
PUBLIC_APP = "main"


class Gone(errors.Failure):
    """Nobody waits for the answer any more: what is left of the work is not worth doing."""


class Crowded(errors.Failure):
    """Others wait for the same, and this call could not be answered in time."""

    def __init__(self) -> None:
        super().__init__(
            StatusCode.CONN_THROTTLED,
            "More pictures are to be looked at than the server can look at in time. Try again in a moment, or give "
            "the call a longer deadline.",
        )


@dataclass(frozen=True, slots=True)
class Call:
    """One call, after the dispatcher has let it in.

    Args:
        request_id: Unique; echoed as `status.req_id`.
        user_id: The user the call acts in ("me" and "" are resolved).
        app_record: The app the call acts in; None for calls about a user, and for the public pseudo-app.
        public: The call names the pseudo-app `clarifai`/`main` that owns the built-in models.
        deadline: `time.monotonic()` seconds by which the caller wants an answer, or None.
        active: False once the caller has gone.
        caller: Who asks, and what their key may do.
    """

    request_id: str
    user_id: str
    app_record: AppRecord | None
    public: bool = False
    deadline: float | None = None
    active: Callable[[], bool] = lambda: True
    caller: Caller = ANYBODY

    @property
    def app(self) -> AppRecord:
        """The app, for calls that need one of the user's own."""
        if self.app_record is None:
            raise errors.missing(
                f"User {self.user_id!r} has no app here to work in. Name one in user_app_id.app_id; "
                f"{PUBLIC_USER}/{PUBLIC_APP} only holds the built-in models."
            )
        return self.app_record

    def check(self) -> None:
        """Raises Gone when nobody waits for the answer any more: between the steps of what takes long, and before what
        is written after them."""
        if not self.wanted():
            raise Gone(
                StatusCode.RPC_REQUEST_TIMEOUT,
                "The caller hung up, or the call's deadline passed, before the answer was ready. "
                "Allow the call more time, or ask for less.",
            )

    def wanted(self) -> bool:
        """Whether somebody waits for the answer."""
        return self.remaining() > 0.0 and self.active()

    def wait(self, future: Future[T], seconds: float = 3600.0) -> T:
        """The result of a future.

        Raises:
            Gone: Nobody waits for it any more; it is cancelled.
            TimeoutError: It took more than `seconds`.
        """
        end = time.monotonic() + seconds
        while True:
            left = end - time.monotonic()
            try:
                return future.result(timeout=max(0.0, min(left, self.remaining(), LOOK_S)))
            except FutureTimeout:
                if future.done():  # just now, or with such an error of its own
                    return future.result()
                if left <= 0.0:
                    raise
            try:
                self.check()
            except Gone:
                future.cancel()
                raise

    def remaining(self) -> float:
        """Seconds left before the deadline (a large number without one)."""
        return 3600.0 if self.deadline is None else max(0.0, self.deadline - time.monotonic())
