"""Apps and users: the walls around everything else, and who they belong to."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from postil.core import app_fields, app_lists, base_workflow, ids, patch, statuses
from postil.core.call import PUBLIC_APP, PUBLIC_USER, Call
from postil.errors import Failure, invalid_request, missing
from postil.store.base import AppRecord, Store, Transaction
from postil.v1.app_pb2 import App
from postil.v1.app_service_pb2 import (
    DeleteAppRequest,
    GetAppRequest,
    ListAppsRequest,
    MultiAppResponse,
    PatchAppRequest,
    PatchAppsRequest,
    PostAppsRequest,
    SingleAppResponse,
)
from postil.v1.common_pb2 import Visibility
from postil.v1.status_code_pb2 import StatusCode
from postil.v1.status_pb2 import BaseResponse
from postil.v1.user_pb2 import User
from postil.v1.user_service_pb2 import GetUserRequest, SingleUserResponse

MAX_ITEMS = 128


class Apps:
    """The apps of users. Thread-safe.

    Args:
        store: Where they are kept.
        wake: Told that an app was deleted: what one op did not erase is left to others (`core/chores.py`).
    """

    def __init__(self, store: Store, wake: Callable[[], object] = lambda: None) -> None:
        self._store = store
        self._wake = wake

    def post(self, call: Call, request: PostAppsRequest) -> MultiAppResponse:
        """Adds apps of the calling user, all or none. Without an id the server makes one.

        Raises:
            Failure: DATABASE_DUPLICATE_KEY when an id is taken or comes twice; CONN_INVALID_REQUEST for a field that
                cannot be kept.
        """
        _check_count(request.apps)
        for position, app in enumerate(request.apps):
            app.id = app.id or ids.new_id()
            app_fields.check(app, call.user_id, ids.at("apps", position))
            base_workflow.check(self._store.read(), app, None, ids.at("apps", position))
        _check_unique(request.apps)
        apps = self._store.write(lambda tx: _add(tx, call.user_id, request.apps))
        return MultiAppResponse(status=statuses.status(StatusCode.SUCCESS), apps=apps)

    def get(self, call: Call, request: GetAppRequest) -> SingleAppResponse:  # noqa: ARG002 - the call names the app
        """The app that the call acts in, which may be the public one."""
        app = _public_app() if call.public else app_fields.message(self._fresh(call))
        return SingleAppResponse(status=statuses.status(StatusCode.SUCCESS), app=app)

    def list(self, call: Call, request: ListAppsRequest) -> MultiAppResponse:
        """The calling user's apps; see `app_lists.page` for filters and order."""
        return MultiAppResponse(
            status=statuses.status(StatusCode.SUCCESS), apps=app_lists.page(self._store.read(), call.user_id, request)
        )

    def delete(self, call: Call, request: DeleteAppRequest) -> BaseResponse:  # noqa: ARG002 - the call names the app
        """Deletes the app with everything in it: gone at once, and erased piece by piece."""
        row = call.app.row
        self._store.write(lambda tx: tx.delete_app(row))
        self._wake()
        return BaseResponse(status=statuses.status(StatusCode.SUCCESS))

    def patch(self, call: Call, request: PatchAppsRequest) -> MultiAppResponse:
        """Changes apps of the calling user, all or none.

        Raises:
            Failure: CONN_DOES_NOT_EXIST when one is not there; CONN_INVALID_REQUEST for another action than overwrite
                or merge, or a field that cannot be changed; METADATA_INVALID_PATCH_ARGUMENTS for a metadata action.
        """
        apps = _patch(self._store, call.user_id, request.apps, request)
        return MultiAppResponse(status=statuses.status(StatusCode.SUCCESS), apps=apps)

    def patch_one(self, call: Call, request: PatchAppRequest) -> SingleAppResponse:
        """As `patch`, for the app that the call acts in."""
        change = App()
        change.CopyFrom(request.app)
        change.id = call.app.id
        apps = _patch(self._store, call.app.user_id, [change], request)
        return SingleAppResponse(status=statuses.status(StatusCode.SUCCESS), app=apps[0])

    def resolve(self, user_id: str, app_id: str, create: bool) -> AppRecord | None:
        """The app, created when it is missing and `create` says so; threads that race for it get the same one.

        Raises:
            Failure: CONN_INVALID_REQUEST for an id that no app can have.
        """
        found = self._store.read().app(user_id, app_id)
        if found is not None or not create:
            return found
        ids.check("user", user_id)
        ids.check("app", app_id)

        def op(tx: Transaction) -> AppRecord:
            there = tx.app(user_id, app_id)  # the writer runs one op at a time, so this settles a race
            if there is not None:
                return there
            message = app_fields.completed(App(id=app_id), user_id, tx.now_us)
            return tx.put_app(user_id, app_id, message.SerializeToString())

        return self._store.write(op)

    def _fresh(self, call: Call) -> AppRecord:
        """The call's app as it is now; the record in the call may have been remembered."""
        found = self._store.read().app(call.app.user_id, call.app.id)
        if found is None:
            raise missing(f"App {call.app.id!r} of user {call.app.user_id!r} does not exist.")
        return found


class Users:
    """Whom a call acts for. Thread-safe.

    Args:
        store: Where a register of users will be kept; without keys there is none to read.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def get(self, call: Call, request: GetUserRequest) -> SingleUserResponse:  # noqa: ARG002 - the call names the user
        """Without keys there is no register of users: any id may call, and is told its own id."""
        return SingleUserResponse(status=statuses.status(StatusCode.SUCCESS), user=User(id=call.user_id))


def _add(tx: Transaction, user_id: str, apps: Sequence[App]) -> list[App]:
    for position, app in enumerate(apps):
        if (user_id, app.id) == (PUBLIC_USER, PUBLIC_APP) or tx.app(user_id, app.id) is not None:
            raise _duplicate(f"{ids.at('apps', position)}: user {user_id!r} has an app {app.id!r} already")
    messages = [app_fields.completed(app, user_id, tx.now_us) for app in apps]
    for message in messages:
        tx.put_app(user_id, message.id, message.SerializeToString())
    return messages


def _patch(
    store: Store, user_id: str, changes: Sequence[App], request: PatchAppsRequest | PatchAppRequest
) -> list[App]:
    """Both Patch calls: `request` says how, `changes` what."""
    action = patch.chosen(request.action, ["overwrite", "merge"], "merge")
    if request.reindex:
        raise invalid_request("reindex is not supported: inputs are indexed when they are posted.")
    app_fields.check_metadata_action(request.metadata_action)
    _check_count(changes)
    for position, change in enumerate(changes):
        app_fields.check(change, user_id, ids.at("apps", position))
    _check_unique(changes)

    def op(tx: Transaction) -> list[App]:
        records = [_existing(tx, user_id, change.id, ids.at("apps", i)) for i, change in enumerate(changes)]
        for position, (record, change) in enumerate(zip(records, changes, strict=True)):
            base_workflow.check(tx, change, record.row, ids.at("apps", position))
        return [
            _update(tx, record, app_fields.patched(action, request.metadata_action, app_fields.message(record), change))
            for record, change in zip(records, changes, strict=True)
        ]

    return store.write(op)


def _check_count(apps: Sequence[App]) -> None:
    if not 1 <= len(apps) <= MAX_ITEMS:
        raise invalid_request(f"apps holds {len(apps)} items; send 1 to {MAX_ITEMS} in one call.")


def _check_unique(apps: Sequence[App]) -> None:
    places: dict[str, int] = {}
    for position, app in enumerate(apps):
        first = places.setdefault(app.id, position)
        if first != position:
            raise _duplicate(f"{ids.at('apps', position)}: duplicate id {app.id!r}, also in {ids.at('apps', first)}")


def _duplicate(what: str) -> Failure:
    return Failure(StatusCode.DATABASE_DUPLICATE_KEY, f"{what}. Choose another id; nothing was changed.")


def _existing(tx: Transaction, user_id: str, app_id: str, where: str) -> AppRecord:
    found = tx.app(user_id, app_id)
    if found is None:
        raise missing(f"{where}: app {ids.shown(app_id)} of user {user_id!r} does not exist.")
    return found


def _update(tx: Transaction, record: AppRecord, message: App) -> App:
    message.modified_at.FromMicroseconds(tx.now_us)
    tx.update_app(record.row, message.SerializeToString())
    return message


def _public_app() -> App:
    return App(
        id=PUBLIC_APP,
        name=PUBLIC_APP,
        user_id=PUBLIC_USER,
        default_language=app_fields.DEFAULT_LANGUAGE,
        description="The built-in models.",
        visibility=Visibility(gettable=Visibility.PUBLIC),
    )
