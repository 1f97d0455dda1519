"""Keys: made, listed, changed, revoked. The store keeps digests; a token is seen once, in the answer to PostKeys.

A token is 32 random bytes, so its plain SHA-256 tells nothing and can be looked up (docs/adr/0012-keys.md).
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Sequence
from functools import partial

from postil.core import ids, key_fields, pages, patch, scopes, statuses
from postil.core.call import Call
from postil.errors import invalid_request, missing
from postil.store.base import AppRecord, KeyRecord, KeyStore, KeyTransaction, Stamp
from postil.v1.app_pb2 import App
from postil.v1.key_pb2 import EndpointDeps, Key, ScopeDeps
from postil.v1.key_service_pb2 import (
    DeleteKeyRequest,
    GetKeyRequest,
    ListAppKeysRequest,
    ListKeysRequest,
    ListScopesRequest,
    MultiKeyResponse,
    MultiScopeDepsResponse,
    MultiScopeResponse,
    MultiScopeUserResponse,
    MyScopesRequest,
    MyScopesUserRequest,
    PatchKeysRequest,
    PostKeysRequest,
    SingleKeyResponse,
)
from postil.v1.status_code_pb2 import StatusCode
from postil.v1.status_pb2 import BaseResponse

MAX_ITEMS = 128
_ALL_OF_THEM = 1 << 31
_PREFIX = "postil_"  # tells people, and programs that look for leaked secrets, what it is
_TOKEN_BYTES = 32


def digest(token: str) -> bytes:
    """What the store keeps of a token, 32 bytes."""
    return hashlib.sha256(token.encode(errors="backslashreplace")).digest()


class Keys:
    """The keys of users. Thread-safe.

    Args:
        store: Where they are kept.
        stamp: Renewed when they have changed.
        calls: The RPCs there are; default: all of the table of scopes.
    """

    def __init__(self, store: KeyStore, stamp: Stamp, calls: Iterable[str] = scopes.RULES) -> None:
        self._store = store
        self._stamp = stamp
        self._calls = frozenset(calls)

    def post(self, call: Call, request: PostKeysRequest) -> MultiKeyResponse:
        """Makes keys for the calling user, all or none.

        Raises:
            Failure: CONN_INVALID_REQUEST for a field that cannot be; CONN_DOES_NOT_EXIST for an app that is not there;
                CONN_INSUFFICIENT_SCOPES for more than the caller itself may do.
        """
        _check_count(request.keys)
        for position, key in enumerate(request.keys):
            key_fields.complete(key, call, ids.at("keys", position))
        tokens = [_PREFIX + secrets.token_urlsafe(_TOKEN_BYTES) for _ in request.keys]

        def op(tx: KeyTransaction) -> list[Key]:
            return [
                _add(tx, call.user_id, key, token, ids.at("keys", position))
                for position, (key, token) in enumerate(zip(request.keys, tokens, strict=True))
            ]

        made = self._write(op)
        for key, token in zip(made, tokens, strict=True):
            key.token = token
        return MultiKeyResponse(status=statuses.status(StatusCode.SUCCESS), keys=made)

    def patch(self, call: Call, request: PatchKeysRequest) -> MultiKeyResponse:
        """Changes keys of the calling user, all or none. Raises what `post` raises."""
        patch.chosen(request.action, ["overwrite"], "overwrite")
        _check_count(request.keys)

        def op(tx: KeyTransaction) -> list[Key]:
            found = [_existing(tx, call.user_id, key.id, ids.at("keys", i)) for i, key in enumerate(request.keys)]
            changed = []
            for position, (record, change) in enumerate(zip(found, request.keys, strict=True)):
                key = key_fields.patched(Key.FromString(record.message), change, call, ids.at("keys", position))
                tx.update_key(record.row, key_fields.expiry_us(key), key.SerializeToString())
                changed.append(key)
            return changed

        return MultiKeyResponse(status=statuses.status(StatusCode.SUCCESS), keys=self._write(op))

    def get(self, call: Call, request: GetKeyRequest) -> SingleKeyResponse:
        """One key of the calling user. Raises Failure: CONN_DOES_NOT_EXIST."""
        record = _existing(self._store.read(), call.user_id, request.key_id)
        return SingleKeyResponse(status=statuses.status(StatusCode.SUCCESS), key=Key.FromString(record.message))

    def list(self, call: Call, request: ListKeysRequest) -> MultiKeyResponse:
        """The calling user's keys; what the request gives narrows them."""
        keys = self._listed(call.user_id, 0, request.page, request.per_page, partial(key_fields.wanted, request))
        return MultiKeyResponse(status=statuses.status(StatusCode.SUCCESS), keys=keys)

    def list_of_app(self, call: Call, request: ListAppKeysRequest) -> MultiKeyResponse:
        """The keys of the call's app."""
        keys = self._listed(call.app.user_id, call.app.row, request.page, request.per_page)
        return MultiKeyResponse(status=statuses.status(StatusCode.SUCCESS), keys=keys)

    def delete(self, call: Call, request: DeleteKeyRequest) -> BaseResponse:
        """Revokes a key of the calling user; it opens nothing from now on. Raises Failure: CONN_DOES_NOT_EXIST."""
        user_id, key_id = call.user_id, request.key_id
        self._write(lambda tx: tx.delete_keys([_existing(tx, user_id, key_id).row]))
        return BaseResponse(status=statuses.status(StatusCode.SUCCESS))

    def my_scopes(self, call: Call, request: MyScopesRequest) -> MultiScopeResponse:  # noqa: ARG002 - of the caller
        """What the caller's key may do, and the app that the call acts in."""
        caller, app = call.caller, call.app_record
        return MultiScopeResponse(
            status=statuses.status(StatusCode.SUCCESS),
            scopes=sorted(caller.scopes),
            endpoints=sorted(map(scopes.endpoint, caller.calls)),
            app=App(id=app.id, user_id=app.user_id) if app else None,
        )

    def my_scopes_user(self, call: Call, request: MyScopesUserRequest) -> MultiScopeUserResponse:  # noqa: ARG002
        """What the caller's token may do."""
        return MultiScopeUserResponse(
            status=statuses.status(StatusCode.SUCCESS),
            scopes=sorted(call.caller.scopes),
            endpoints=sorted(map(scopes.endpoint, call.caller.calls)),
        )

    def list_scopes(self, call: Call, request: ListScopesRequest) -> MultiScopeDepsResponse:  # noqa: ARG002
        """The scopes and endpoints there are."""
        app_only = request.key_type == key_fields.APP_KEY
        rules = {name: scopes.rule(name) for name in sorted(self._calls)}
        rules = {name: rule for name, rule in rules.items() if not rule.anybody and not (app_only and rule.personal)}
        used = {scope for rule in rules.values() for scope in rule.scopes} if app_only else set(scopes.SCOPES)
        used |= {scopes.ALL, scopes.COLLABORATORS_ADD}
        return MultiScopeDepsResponse(
            status=statuses.status(StatusCode.SUCCESS),
            scope_deps=[ScopeDeps(scope=scope, depending_scopes=scopes.needs(scope)) for scope in sorted(used)],
            endpoint_deps=[
                EndpointDeps(endpoint=scopes.endpoint(name), depending_scopes=sorted(rule.scopes))
                for name, rule in rules.items()
            ],
        )

    def _listed(
        self, user_id: str, app: int, page: int, per_page: int, fits: key_fields.Test = lambda _key: True
    ) -> Sequence[Key]:
        wanted = pages.of_list(page, per_page)
        records = self._store.read().list_keys(user_id, app, 0, _ALL_OF_THEM)
        keys = [key for key in (Key.FromString(record.message) for record in records) if fits(key)]
        return keys[wanted.offset : wanted.offset + wanted.limit]

    def _write(self, op: key_fields.Op) -> Sequence[Key]:
        try:
            return self._store.write(op)
        finally:
            self._stamp.renew()  # whatever became of it: looking again costs little


def _check_count(keys: Sequence[Key]) -> None:
    if not 1 <= len(keys) <= MAX_ITEMS:
        raise invalid_request(f"keys holds {len(keys)} items; send 1 to {MAX_ITEMS} in one call.")


def _add(tx: KeyTransaction, user_id: str, key: Key, token: str, where: str) -> Key:
    app: AppRecord | None = None
    if key.type == key_fields.APP_KEY:
        app = tx.app(user_id, key.apps[0].id)
        if app is None:
            raise missing(f"{where}: app {ids.shown(key.apps[0].id)} of user {user_id!r} does not exist.")
    key.id = ids.new_id()
    key.created_at.FromMicroseconds(tx.now_us)
    message = key.SerializeToString()
    tx.add_key(KeyRecord(0, key.id, digest(token), user_id, app.row if app else 0, key_fields.expiry_us(key), message))
    return key


def _existing(queries: key_fields.Finder, user_id: str, key_id: str, where: str = "") -> KeyRecord:
    found = queries.key(user_id, key_id)
    if found is None:
        prefix = f"{where}: key" if where else "Key"
        raise missing(f"{prefix} {ids.shown(key_id)} of user {user_id!r} does not exist.")
    return found
