"""What core knows about the call it serves: who asks, in which app, until when."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from postil import errors
from postil.core.callers import ANYBODY, Caller
from postil.store.base import AppRecord
from postil.v1.status_code_pb2 import StatusCode

PUBLIC_USER = "clarifai"
PUBLIC_APP = "main"


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
        """Raises Failure when nobody waits for the answer any more: between the steps of what takes long."""
        if self.remaining() <= 0.0 or not self.active():
            raise errors.Failure(
                StatusCode.RPC_REQUEST_TIMEOUT,
                "The caller hung up, or the call's deadline passed, before the answer was ready. "
                "Allow the call more time, or ask for less.",
            )

    def remaining(self) -> float:
        """Seconds left before the deadline (a large number without one)."""
        return 3600.0 if self.deadline is None else max(0.0, self.deadline - time.monotonic())
