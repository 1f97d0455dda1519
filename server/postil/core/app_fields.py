"""The fields of an app: which ones a client may set, what the rest is, and how they are patched."""

from __future__ import annotations

from postil.core import ids, patch
from postil.errors import Failure, invalid_request
from postil.store.base import AppRecord
from postil.v1.app_pb2 import App
from postil.v1.common_pb2 import PatchAction, Visibility
from postil.v1.status_code_pb2 import StatusCode

DEFAULT_LANGUAGE = "en"
LANGUAGES = (
    "ar", "bn", "da", "de", "en", "es", "fi", "fr", "hi", "hu", "it", "ja", "ko", "nl", "no", "pa", "pl", "pt", "ru",
    "sv", "tr", "zh", "zh-TW",
)  # fmt: skip
MAX_NAME = 256  # characters
MAX_TEXT = 100_000  # characters of description and notes

# Told by the server whatever is sent, so that an app that was got can be sent back as it is.
_SERVER_FIELDS = frozenset(
    {"id", "user_id", "created_at", "modified_at", "is_starred", "star_count", "extra_info", "legal_consent_status"}
)
_UNSUPPORTED = ("data_tier_id", "is_template", "embeddings_storage")
_METADATA_OPS = ("overwrite", "merge", "delete")


def check(app: App, user_id: str, where: str) -> None:
    """Refuses an app with a field that could not be kept as it was meant.

    Args:
        app: As posted, or the change of a patch.
        user_id: Who it must belong to.
        where: The item at fault.

    Raises:
        Failure: CONN_INVALID_REQUEST.
    """
    ids.check("app", app.id, where)
    if app.user_id not in {"", "me", user_id}:
        raise invalid_request(
            f"{where}: user_id is {ids.shown(app.user_id)}, but the call acts for {user_id!r}; leave it out."
        )
    if app.default_language and app.default_language not in LANGUAGES:
        known = ", ".join(LANGUAGES)
        raise invalid_request(
            f"{where}: default_language {ids.shown(app.default_language)} is unknown; use one of {known}."
        )
    if app.visibility.gettable not in {Visibility.UNKNOWN_VISIBILITY, Visibility.PRIVATE}:
        raise invalid_request(f"{where}: apps are private; leave visibility out or set it to PRIVATE.")
    if app.image.base64:
        raise invalid_request(f"{where}: image.base64 cannot be kept with an app; give image.url instead.")
    unsupported = [field.name for field, _ in app.ListFields() if field.name in _UNSUPPORTED]
    if unsupported:
        raise invalid_request(f"{where}: {unsupported[0]} is not supported; leave it out.")
    _check_lengths(app, where)


def completed(posted: App, user_id: str, now_us: int) -> App:
    """A new app as it is stored: what the client may say, and the server's own fields."""
    app = App()
    app.CopyFrom(posted)
    for name in _SERVER_FIELDS - {"id"}:
        app.ClearField(name)  # type: ignore[arg-type]
    app.user_id = user_id
    app.name = app.name or app.id
    app.default_language = app.default_language or DEFAULT_LANGUAGE
    app.visibility.gettable = Visibility.PRIVATE
    app.created_at.FromMicroseconds(now_us)
    app.modified_at.FromMicroseconds(now_us)
    return app


def message(record: AppRecord) -> App:
    """A stored app as the wire shows it, also when its row holds no message."""
    app = App.FromString(record.message)
    app.id, app.user_id = record.id, record.user_id
    app.name = app.name or app.id
    app.default_language = app.default_language or DEFAULT_LANGUAGE
    return app


def patched(action: str, metadata_action: PatchAction, stored: App, change: App) -> App:
    """The app after a patch. Raises Failure when the language would change: names are kept in it."""
    if change.default_language not in {"", stored.default_language}:
        raise invalid_request(
            f"app {stored.id!r}: default_language is fixed when an app is made, here {stored.default_language!r}."
        )
    result = patch.apply(action, stored, change, keep=_SERVER_FIELDS)
    if metadata_action.op == "delete":
        result.ClearField("metadata")
    elif metadata_action.op:
        only = patch.apply(metadata_action.op, App(metadata=stored.metadata), App(metadata=change.metadata))
        result.metadata.CopyFrom(only.metadata)
    return result


def check_metadata_action(wanted: PatchAction) -> None:
    """Whole metadata can be overwritten, merged (lists by id) or deleted; parts of it by path cannot.

    Raises:
        Failure: METADATA_INVALID_PATCH_ARGUMENTS.
    """
    if wanted.op and wanted.op not in _METADATA_OPS:
        raise _refuse_metadata(f"op is {ids.shown(wanted.op)}; use {', '.join(_METADATA_OPS[:-1])} or delete")
    if wanted.path:
        raise _refuse_metadata("path is not supported; leave it out and send the whole metadata, or merge into it")
    if wanted.merge_conflict_resolution not in {"", "merge_by_id"}:
        raise _refuse_metadata("merge_conflict_resolution may only be merge_by_id, which is what merge does")


def _check_lengths(app: App, where: str) -> None:
    limits = (("name", MAX_NAME), ("default_workflow_id", MAX_NAME), ("description", MAX_TEXT), ("notes", MAX_TEXT))
    for name, limit in limits:
        length = len(getattr(app, name))
        if length > limit:
            raise invalid_request(f"{where}: {name} has {length} characters; use at most {limit}.")


def _refuse_metadata(what: str) -> Failure:
    return Failure(StatusCode.METADATA_INVALID_PATCH_ARGUMENTS, f"metadata_action: {what}.")
