"""Callers by their keys. What a key opens is remembered by the digest of its token; the store's stamp, which every
call looks at, tells when keys have changed, in this process or another, so that revoking one takes effect at once."""

from __future__ import annotations

import hmac
import time
from dataclasses import dataclass
from typing import NamedTuple

from postil import errors
from postil.access import DEFAULT_APP, DEFAULT_USER, Shown, invalid_key
from postil.core import scopes
from postil.core.callers import Caller
from postil.core.keys import digest
from postil.errors import Failure
from postil.store.keys import KeyRecord, KeyStore, Stamp
from postil.v1.key_pb2 import Key

_REMEMBERED = 10_000
# However keys were changed (a database restored, a file swapped), nothing is believed for longer than this.
_BELIEVED_S = 5.0
_SCHEMES = frozenset({"key", "bearer"})
_OPEN = Caller(DEFAULT_USER, DEFAULT_APP, may_create_apps=True)


class _Known(NamedTuple):
    digest: bytes
    caller: Caller
    stamp: bytes
    until: float  # time.monotonic()


@dataclass(slots=True)
class _Mode:
    """Whether keys are asked for; once they are, they are until the server ends."""

    required: bool
    stamp: bytes = b""
    until: float = 0.0


class Keyring:
    """`access.Credentials` by keys. Thread-safe.

    Args:
        store: Where keys are.
        stamp: Changes when they do.
        required: Whether a key is asked for even before there is any; else from the first one on.
    """

    def __init__(self, store: KeyStore, stamp: Stamp, *, required: bool) -> None:
        self._store = store
        self._stamp = stamp
        self._mode = _Mode(required)
        self._known: dict[bytes, _Known] = {}

    def caller(self, shown: Shown) -> Caller:
        """Raises Failure: 11102 when nothing was shown, 11008 when it opens nothing."""
        stamp, now = self._stamp.value(), time.monotonic()
        if not self._mode.required and self._still_open(stamp, now):
            return _OPEN
        shows = digest(_token(shown))
        known = self._known.get(shows)
        if known is None or known.stamp != stamp or known.until < now:
            known = self._look_up(shows, stamp, now)
        caller = known.caller
        if not hmac.compare_digest(known.digest, shows):
            raise invalid_key()
        if caller.expires_us and time.time_ns() // 1000 >= caller.expires_us:
            raise invalid_key()
        return caller

    def forget(self) -> None:
        self._stamp.renew()

    def required(self) -> bool:
        return self._mode.required or not self._still_open(self._stamp.value(), time.monotonic())

    def _still_open(self, stamp: bytes, now: float) -> bool:
        mode = self._mode
        if mode.stamp != stamp or mode.until < now:
            if self._store.read().ever_had_keys():
                mode.required = True
            mode.stamp, mode.until = stamp, now + _BELIEVED_S
        return not mode.required

    def _look_up(self, shows: bytes, stamp: bytes, now: float) -> _Known:
        record = self._store.read().key_by_digest(shows)
        if record is None:
            self._known.pop(shows, None)
            raise invalid_key()
        if len(self._known) >= _REMEMBERED:
            self._known = {}
        known = self._known[shows] = _Known(record.digest, caller_of(record), stamp, now + _BELIEVED_S)
        return known


def caller_of(record: KeyRecord) -> Caller:
    """The caller that a key stands for."""
    key = Key.FromString(record.message)
    return Caller(
        record.user_id,
        key.apps[0].id if record.app else "",
        may_create_apps=False,
        key_id=record.id,
        app_only=bool(record.app),
        scopes=frozenset(key.scopes),
        calls=frozenset(map(scopes.called, key.endpoints)),
        expires_us=record.expires_us,
    )


def _token(shown: Shown) -> str:
    """The token in what was shown: `Key TOKEN` or `Bearer TOKEN`, or a session header that is one."""
    if shown.authorization:
        scheme, _, token = shown.authorization.strip().partition(" ")
        token = token.strip()
        if scheme.lower() not in _SCHEMES or not token or " " in token:
            raise invalid_key()
        return token
    token = shown.session.strip()
    if not token:
        raise _nothing_shown()
    return token


def _nothing_shown() -> Failure:
    failure = errors.invalid_request("This server asks for a key: send it as the header `authorization: Key TOKEN`.")
    failure.http = 401
    return failure
