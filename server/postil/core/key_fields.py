"""The fields of a key: what may be posted, what a patch changes, which keys a list wants."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

from postil.core import ids, scopes
from postil.core.call import Call
from postil.core.callers import lacking
from postil.errors import Failure, invalid_request
from postil.store.base import KeyRecord, KeyTransaction
from postil.v1.app_pb2 import App
from postil.v1.key_pb2 import Key
from postil.v1.key_service_pb2 import ListKeysRequest
from postil.v1.status_code_pb2 import StatusCode

APP_KEY = "app_specific_key"
PERSONAL = "personal_access_token"

_DESCRIPTION = 1000  # characters
_MANY = 1000  # scopes, or endpoints
_YEAR_10000_US = 253_402_300_800_000_000

Test: TypeAlias = Callable[[Key], bool]
Op: TypeAlias = Callable[[KeyTransaction], Any]


class Finder(Protocol):
    """Whatever finds a key."""

    def key(self, user_id: str, key_id: str) -> KeyRecord | None: ...


def complete(key: Key, call: Call, where: str) -> None:
    """Checks a posted key and fills in what it leaves open.

    Raises:
        Failure: CONN_INVALID_REQUEST, or CONN_INSUFFICIENT_SCOPES for more than the caller itself may do.
    """
    if key.id or key.token or key.HasField("created_at"):
        raise invalid_request(f"{where}: id, token and created_at are set by the server; leave them out.")
    key.type = key.type or (APP_KEY if key.apps else PERSONAL)
    if key.type not in {APP_KEY, PERSONAL}:
        raise invalid_request(f"{where}: type {ids.shown(key.type)} is neither {APP_KEY} nor {PERSONAL}.")
    _check_app(key, call, where)
    if call.caller.expires_us and not key.HasField("expires_at"):
        key.expires_at.FromMicroseconds(call.caller.expires_us)
    _check(key, call, where)


def patched(key: Key, change: Key, call: Call, where: str) -> Key:
    """The key with the given fields of `change` in place of its own. Raises what `complete` raises."""
    if change.type not in {"", key.type} or (change.apps and [a.id for a in change.apps] != [a.id for a in key.apps]):
        raise invalid_request(f"{where}: type and apps of a key never change; make another one.")
    if change.token:
        raise invalid_request(f"{where}: a token cannot be chosen; make another key.")
    new = Key(id=key.id, type=key.type, apps=key.apps, created_at=key.created_at)
    new.description = change.description or key.description
    new.scopes.extend(change.scopes or key.scopes)
    new.endpoints.extend(change.endpoints or key.endpoints)
    # What stays as it was is nothing that the caller gives away.
    touched = Key(scopes=change.scopes, endpoints=change.endpoints, description=change.description)
    if change.HasField("expires_at"):
        touched.expires_at.CopyFrom(change.expires_at)
        new.expires_at.CopyFrom(change.expires_at)
    elif key.HasField("expires_at"):
        new.expires_at.CopyFrom(key.expires_at)
    _refuse_unsupported(change, where)
    _check_grants(touched, call, where)
    if change.HasField("expires_at"):
        _check_expiry(touched, call, where)
    _settle(new)
    return new


def expiry_us(key: Key) -> int:
    """Microseconds since the epoch; 0: never."""
    return key.expires_at.ToMicroseconds() if key.HasField("expires_at") else 0


def wanted(request: ListKeysRequest, key: Key) -> bool:
    """Whether a list asks for this key."""
    return (
        request.type in {"", key.type}
        and set(request.scopes) <= set(key.scopes)
        and {scopes.endpoint(scopes.called(one)) for one in request.endpoints} <= set(key.endpoints)
        and not (request.not_expired and 0 < expiry_us(key) <= time.time_ns() // 1000)
    )


def _check_app(key: Key, call: Call, where: str) -> None:
    if key.type == PERSONAL:
        if key.apps:
            raise invalid_request(f"{where}: a {PERSONAL} opens all apps of its user; leave apps out.")
        return
    if len(key.apps) != 1:
        raise invalid_request(f"{where}: an {APP_KEY} opens exactly one app; apps holds {len(key.apps)}.")
    app = key.apps[0]
    if app.user_id not in {"", "me", call.user_id}:
        raise invalid_request(f"{where}: apps[0].user_id is not the user that the key is for; leave it out.")
    key.apps[0].CopyFrom(App(id=app.id, user_id=call.user_id))


def _check(key: Key, call: Call, where: str) -> None:
    _refuse_unsupported(key, where)
    if not key.scopes and not key.endpoints:
        raise invalid_request(f"{where}: the key could do nothing; give it scopes, for example All, or endpoints.")
    _check_grants(key, call, where)
    _check_expiry(key, call, where)
    _settle(key)


def _refuse_unsupported(key: Key, where: str) -> None:
    if key.authorized_idp_ids or key.organization_id:
        raise invalid_request(f"{where}: authorized_idp_ids and organization_id are not supported; leave them out.")
    if len(key.description) > _DESCRIPTION:
        raise invalid_request(f"{where}: the description has {len(key.description)} characters of {_DESCRIPTION}.")
    if len(key.scopes) > _MANY or len(key.endpoints) > _MANY:
        raise invalid_request(f"{where}: a key has at most {_MANY} scopes and as many endpoints.")


def _check_grants(key: Key, call: Call, where: str) -> None:
    """Scopes and endpoints exist, and the caller gives away no more than it has."""
    for scope in key.scopes:
        if scope not in scopes.SCOPES and not scopes.called(scope):
            raise invalid_request(f"{where}: there is no scope {ids.shown(scope)}; ListScopes lists them.")
    for endpoint in key.endpoints:
        if not scopes.called(endpoint):
            raise invalid_request(f"{where}: there is no endpoint {ids.shown(endpoint)}; ListScopes lists them.")
    names = {scopes.called(one) for one in (*key.scopes, *key.endpoints)} - {""}
    beyond = sorted(scope for scope in key.scopes if not scopes.called(scope) and not call.caller.has(scope))
    beyond += sorted(scopes.endpoint(name) for name in names if not call.caller.may(name, scopes.rule(name)))
    if beyond:
        raise lacking(beyond, f"{where} is to have, and nobody can give away more than they have")


def _check_expiry(key: Key, call: Call, where: str) -> None:
    if not key.HasField("expires_at"):
        return
    try:
        expires = key.expires_at.ToMicroseconds()
    except ValueError:
        raise invalid_request(f"{where}: expires_at is no time.") from None
    if not 0 < expires < _YEAR_10000_US:
        raise invalid_request(f"{where}: expires_at must lie between 1970 and 9999; leave it out for no end at all.")
    if call.caller.expires_us and expires > call.caller.expires_us:
        details = f"{where}: the key would outlive the key that makes it; let it expire no later."
        raise Failure(StatusCode.CONN_INSUFFICIENT_SCOPES, details)


def _settle(key: Key) -> None:
    """Endpoints among the scopes go where they belong; both are sorted and without repeats."""
    names = {scopes.called(one) for one in (*key.scopes, *key.endpoints)} - {""}
    kept = sorted({scope for scope in key.scopes if not scopes.called(scope)})
    del key.scopes[:], key.endpoints[:]
    key.scopes.extend(kept)
    key.endpoints.extend(sorted(map(scopes.endpoint, names)))
