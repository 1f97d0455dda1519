"""Who calls, and into which app: credentials to a caller, and a request's `user_app_id` to an app.

Without keys every credential is accepted and every caller may name every app; keys will take the place of `Open`.
Resolved apps are remembered until they are changed or deleted, because every call needs one.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from postil import errors
from postil.core import ids
from postil.core.call import PUBLIC_APP, PUBLIC_USER
from postil.store.base import AppRecord
from postil.v1.common_pb2 import UserAppIDSet

DEFAULT_USER = "postil"
DEFAULT_APP = "main"
_REMEMBERED = 10_000


class Caller(NamedTuple):
    """Who is asking, as the credentials say."""

    user_id: str  # stands for "me" and for an empty user id
    app_id: str  # stands for an empty app id
    may_create_apps: bool  # by naming one that does not exist yet


class Credentials(Protocol):
    """Turns credentials into a caller."""

    def caller(self, authorization: str) -> Caller:
        """`authorization` is the header's value or "". Raises Failure when it opens nothing."""
        ...


class Open:
    """No keys: whoever can connect is the default user. Any `authorization` is accepted, as old clients send one."""

    _ANYBODY = Caller(DEFAULT_USER, DEFAULT_APP, may_create_apps=True)

    def caller(self, authorization: str) -> Caller:  # noqa: ARG002 - nothing to check without keys
        return self._ANYBODY


class Apps(Protocol):
    """What access needs of `core.apps.Apps`."""

    def resolve(self, user_id: str, app_id: str, create: bool) -> AppRecord | None: ...


@dataclass(frozen=True, slots=True)
class Place:
    """Where a call acts."""

    user_id: str
    app: AppRecord | None
    public: bool = False


class Access:
    """Credentials and apps together: what the dispatcher asks before it calls a servicer. Thread-safe."""

    def __init__(self, apps: Apps, credentials: Credentials) -> None:
        self._apps = apps
        self._credentials = credentials
        self._lock = threading.Lock()
        self._known: dict[tuple[str, str], Place] = {}
        self._forgotten = 0

    def caller(self, authorization: str) -> Caller:
        """Who is asking. Raises Failure when the credentials are refused."""
        return self._credentials.caller(authorization)

    def user(self, caller: Caller, named: UserAppIDSet) -> Place:
        """The place of a call about a user."""
        return Place(_user_id(caller, named.user_id), None)

    def app(self, caller: Caller, named: UserAppIDSet, *, create: bool) -> Place:
        """The place of a call inside an app.

        Args:
            caller: Who asks.
            named: The request's `user_app_id`; empty parts take the caller's defaults.
            create: Whether the RPC may bring an unknown app into being, if the caller may.

        Raises:
            Failure: An id that no app can have (11102), or an app that is not there (11101).
        """
        user_id = named.user_id
        if user_id in {"", "me"}:
            user_id = caller.user_id
        key = (user_id, named.app_id or caller.app_id)
        return self._known.get(key) or self._resolve(key, create=create and caller.may_create_apps)

    def forget(self) -> None:
        """Apps were changed or deleted: resolve afresh from now on."""
        with self._lock:
            self._forgotten += 1
            self._known = {}

    def _resolve(self, key: tuple[str, str], *, create: bool) -> Place:
        if key == (PUBLIC_USER, PUBLIC_APP):
            return Place(PUBLIC_USER, None, public=True)
        user_id, app_id = key
        ids.check("user", user_id, "user_app_id")
        ids.check("app", app_id, "user_app_id")
        before = self._forgotten
        app = self._apps.resolve(user_id, app_id, create)
        if app is None:
            raise errors.missing(f"App {app_id!r} of user {user_id!r} does not exist. Create it with PostApps.")
        place = Place(user_id, app)
        with self._lock:
            # An app that was deleted while it was looked up must not be remembered.
            if self._forgotten == before:
                if len(self._known) >= _REMEMBERED:
                    self._known = {}
                self._known[key] = place
        return place


def _user_id(caller: Caller, named: str) -> str:
    if named in {"", "me"}:
        return caller.user_id
    ids.check("user", named, "user_app_id")
    return named
