"""Who calls, and into which app: credentials to a caller, and a request's `user_app_id` to an app.

Without keys every credential is accepted and every caller may name every app; `keyring.py` takes that place once keys
are asked for. Resolved apps are remembered until they are changed or deleted, because every call needs one.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from postil import errors
from postil.core import ids
from postil.core.call import PUBLIC_APP, PUBLIC_USER
from postil.core.callers import Caller
from postil.errors import Failure
from postil.store.base import AppRecord
from postil.v1.common_pb2 import UserAppIDSet
from postil.v1.status_code_pb2 import StatusCode

DEFAULT_USER = "postil"
DEFAULT_APP = "main"
SESSION_HEADER = "x-clarifai-session-token"  # may carry the token instead of `authorization`
_REMEMBERED = 10_000
# One answer for every key that opens nothing here, whatever the reason: a stranger learns none.
_OPENS_NOTHING = "This key opens nothing here: it is unknown, revoked, expired, or made for another app."


class Shown(NamedTuple):
    """What a caller showed: values of headers, "" for those that were not sent."""

    authorization: str = ""
    session: str = ""


class Credentials(Protocol):
    """Turns what was shown into a caller."""

    def caller(self, shown: Shown) -> Caller:
        """Raises Failure when it opens nothing."""
        ...

    def required(self) -> bool:
        """Whether a call needs to show anything by now."""
        ...

    def forget(self) -> None:
        """Apps were changed or deleted, and keys with them."""
        ...


class Open:
    """No keys: whoever can connect is the default user. Any `authorization` is accepted, as old clients send one."""

    _ANYBODY = Caller(DEFAULT_USER, DEFAULT_APP, may_create_apps=True)

    def caller(self, shown: Shown) -> Caller:  # noqa: ARG002 - nothing to check without keys
        return self._ANYBODY

    def required(self) -> bool:
        return False

    def forget(self) -> None:
        pass


class Apps(Protocol):
    """What access needs of `core.apps.Apps`."""

    def resolve(self, user_id: str, app_id: str, create: bool) -> AppRecord | None: ...


@dataclass(frozen=True, slots=True)
class Place:
    """Where a call acts."""

    user_id: str
    app: AppRecord | None
    public: bool = False


def invalid_key() -> Failure:
    """The refusal of a key that opens nothing, or not this app."""
    return Failure(StatusCode.CONN_KEY_INVALID, _OPENS_NOTHING)


class Access:
    """Credentials and apps together: what the dispatcher asks before it calls a servicer. Thread-safe."""

    def __init__(self, apps: Apps, credentials: Credentials) -> None:
        self._apps = apps
        self._credentials = credentials
        self._lock = threading.Lock()
        self._known: dict[tuple[str, str], Place] = {}
        self._forgotten = 0

    def caller(self, shown: Shown) -> Caller:
        """Who is asking. Raises Failure when the credentials are refused."""
        return self._credentials.caller(shown)

    def user(self, caller: Caller, named: UserAppIDSet) -> Place:
        """The place of a call about a user. A key's caller acts for the key's user alone; whether another one exists
        is not said."""
        user_id = named.user_id
        if user_id in {"", "me", caller.user_id}:
            return Place(caller.user_id, None)
        ids.check("user", user_id, "user_app_id")
        if caller.key_id:
            raise errors.missing(f"User {user_id!r} does not exist.")
        return Place(user_id, None)

    def app(self, caller: Caller, named: UserAppIDSet, *, create: bool, optional: bool = False) -> Place:
        """The place of a call inside an app.

        Args:
            caller: Who asks.
            named: The request's `user_app_id`; empty parts take the caller's defaults.
            create: Whether the RPC may bring an unknown app into being, if the caller may.
            optional: Whether the RPC makes sense without an app too.

        Raises:
            Failure: An id that no app can have, or none where one is needed (11102); an app that is not there, or of
                another user than the token's (11101); an app that is not the key's (11008).
        """
        user_id = named.user_id
        if user_id in {"", "me"}:
            user_id = caller.user_id
        key = (user_id, named.app_id or caller.app_id)
        if caller.key_id:
            if not key[1]:
                if optional:
                    return self.user(caller, named)
                raise errors.invalid_request("Name an app in user_app_id.app_id: the token opens all of its user's.")
            _check_walls(caller, key)
        return self._known.get(key) or self._resolve(key, create=create and caller.may_create_apps)

    def forget(self) -> None:
        """Apps were changed or deleted: resolve afresh from now on."""
        with self._lock:
            self._forgotten += 1
            self._known = {}
        self._credentials.forget()

    def _resolve(self, key: tuple[str, str], *, create: bool) -> Place:
        if key == (PUBLIC_USER, PUBLIC_APP):
            return Place(PUBLIC_USER, None, public=True)
        user_id, app_id = key
        _check_ids(key)
        before = self._forgotten
        app = self._apps.resolve(user_id, app_id, create)
        if app is None:
            raise _absent(key)
        place = Place(user_id, app)
        with self._lock:
            # An app that was deleted while it was looked up must not be remembered.
            if self._forgotten == before:
                if len(self._known) >= _REMEMBERED:
                    self._known = {}
                self._known[key] = place
        return place


def _check_walls(caller: Caller, key: tuple[str, str]) -> None:
    """Nothing is looked up for a key that may not go there, so "not yours" cannot differ from "not there"."""
    if caller.app_only:
        if key != (caller.user_id, caller.app_id):
            raise invalid_key()
    elif key[0] != caller.user_id and key != (PUBLIC_USER, PUBLIC_APP):
        _check_ids(key)
        raise _absent(key)


def _check_ids(key: tuple[str, str]) -> None:
    ids.check("user", key[0], "user_app_id")
    ids.check("app", key[1], "user_app_id")


def _absent(key: tuple[str, str]) -> Failure:
    user_id, app_id = key
    return errors.missing(f"App {app_id!r} of user {user_id!r} does not exist. Create it with PostApps.")
