"""What each status code says and means: description, HTTP status, and builders for `Status` messages.

One table for every door and every item. Descriptions are derived from the enum's names by rule, with overrides where
clients compare or print the text, or where the rule reads badly.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from postil import errors
from postil.v1.status_code_pb2 import StatusCode
from postil.v1.status_pb2 import Status

Code: TypeAlias = StatusCode.ValueType

# Clients compare or print the first block word for word; the second reads better than what the rule gives.
_DESCRIPTIONS: dict[Code, str] = {
    StatusCode.SUCCESS: "Ok",
    StatusCode.MIXED_STATUS: "Mixed Success",
    StatusCode.FAILURE: "Failure",
    StatusCode.CONN_KEY_INVALID: "Invalid API key or Invalid API key/application pair",
    StatusCode.CONN_KEY_NOT_FOUND: "API key not found",
    StatusCode.CONN_DOES_NOT_EXIST: "Resource does not exist",
    StatusCode.MODEL_TRAINED: "Model trained successfully",
    StatusCode.MODEL_UNTRAINED: "Model not yet trained",
    StatusCode.MODEL_QUEUED_FOR_TRAINING: (
        "Custom model is currently in queue for training, waiting on inputs to process."
    ),
    StatusCode.INPUT_SUCCESS: "Download complete",
    StatusCode.INPUT_PENDING: "Download pending",
    StatusCode.CONCEPTS_INVALID_REQUEST: "Invalid request",
    # our words
    StatusCode.ZERO: "No status",
    StatusCode.TRY_AGAIN: "Try again later",
    StatusCode.MOVED: "Resource has moved",
    StatusCode.CONN_ACCOUNT_ISSUES: "Account needs attention",
    StatusCode.CONN_TOKEN_INVALID: "Invalid token",
    StatusCode.CONN_CREDENTIALS_INVALID: "Invalid credentials",
    StatusCode.CONN_EXCEED_HOURLY_LIMIT: "Hourly limit exceeded",
    StatusCode.CONN_EXCEED_MONTHLY_LIMIT: "Monthly limit exceeded",
    StatusCode.CONN_THROTTLED: "Too many requests",
    StatusCode.CONN_EXCEEDS_LIMITS: "Limits exceeded",
    StatusCode.CONN_INSUFFICIENT_SCOPES: "Key lacks a scope that this call needs",
    StatusCode.CONN_BAD_REQUEST_FORMAT: "Malformed request",
    StatusCode.CONN_INVALID_REQUEST: "Invalid request",
    StatusCode.CONN_METHOD_NOT_ALLOWED: "Method not allowed",
    StatusCode.CONN_NO_GDPR_CONSENT: "Consent is missing",
    StatusCode.CONN_INVALID_RANGE: "Invalid range",
    StatusCode.CONN_AUTH_METHOD_DISABLED: "Authentication method is disabled",
    StatusCode.INPUT_FAILED: "Download failed",
    StatusCode.INPUT_IN_PROGRESS: "Download in progress",
    StatusCode.INPUT_DUPLICATE: "Duplicate input",
    StatusCode.INPUT_UNSUPPORTED_FORMAT: "Unsupported input format",
    StatusCode.INPUT_OVER_LIMIT: "Input is over a limit",
    StatusCode.INPUT_INVALID_URL: "Invalid input URL",
    StatusCode.INPUT_CONNECTION_FAILED: "Connection to the input's host failed",
    StatusCode.DATABASE_DUPLICATE_KEY: "Duplicate id",
    StatusCode.RPC_MAX_MESSAGE_SIZE_EXCEEDED: "Message too large",
    StatusCode.SEARCH_BY_NOT_FULLY_INDEXED_INPUT: "Input is not indexed yet",
    StatusCode.SAVED_SEARCH_MODIFY_FAILED: "Search was not saved",
    StatusCode.INTERNAL_SERVER_ISSUE: "Internal server issue",
    StatusCode.INTERNAL_UNCATEGORIZED: "Internal error",
    StatusCode.TEAPOT: "I'm a teapot",
}

_PHRASES: tuple[tuple[str, str], ...] = (
    ("_DOES_NOT_EXIST", "{noun} does not exist"),
    ("_PERMISSION_DENIED", "No permission for this {noun}"),
    ("_INVALID_ARGUMENT", "Invalid {noun} argument"),
    ("_INVALID_REQUEST", "Invalid {noun} request"),
    ("_MODIFY_SUCCESS", "{noun} modified"),
    ("_MODIFY_PENDING", "{noun} modification pending"),
    ("_MODIFY_FAILED", "{noun} modification failed"),
    ("_UNCATEGORIZED", "Uncategorized {noun} error"),
    ("_DUPLICATE", "Duplicate {noun}"),
)
_ACRONYMS = {
    "api", "aws", "db", "dns", "gcp", "gdpr", "id", "idp", "mp", "rpc", "sqs", "sso", "url", "vectordb",
}  # fmt: skip

_HTTP: dict[Code, int] = {
    StatusCode.MIXED_STATUS: 207,
    StatusCode.FAILURE: 400,
    StatusCode.NOT_IMPLEMENTED: 501,
    StatusCode.TRY_AGAIN: 503,
    StatusCode.MOVED: 301,
    StatusCode.TEAPOT: 418,
    StatusCode.CONN_TOKEN_INVALID: 401,
    StatusCode.CONN_CREDENTIALS_INVALID: 401,
    StatusCode.CONN_KEY_INVALID: 401,
    StatusCode.CONN_KEY_NOT_FOUND: 401,
    StatusCode.CONN_EXCEED_HOURLY_LIMIT: 429,
    StatusCode.CONN_EXCEED_MONTHLY_LIMIT: 429,
    StatusCode.CONN_THROTTLED: 429,
    StatusCode.CONN_EXCEEDS_LIMITS: 403,
    StatusCode.CONN_INSUFFICIENT_SCOPES: 403,
    StatusCode.CONN_NO_GDPR_CONSENT: 403,
    StatusCode.CONN_AUTH_METHOD_DISABLED: 403,
    StatusCode.CONN_METHOD_NOT_ALLOWED: 405,
    StatusCode.DATABASE_DUPLICATE_KEY: 400,
    StatusCode.DATABASE_CONSTRAINT_VIOLATED: 400,
    StatusCode.RPC_REQUEST_QUEUE_FULL: 429,
    StatusCode.RPC_SERVER_UNAVAILABLE: 503,
    StatusCode.RPC_REQUEST_TIMEOUT: 504,
    StatusCode.RPC_MAX_MESSAGE_SIZE_EXCEEDED: 413,
    StatusCode.RPC_UNKNOWN_METHOD: 404,
    StatusCode.MODEL_BUSY_PLEASE_RETRY: 503,
    StatusCode.REQUEST_DISABLED_FOR_MAINTENANCE: 503,
    StatusCode.INPUT_WRITES_DISABLED_FOR_MAINTENANCE: 503,
    StatusCode.SEARCH_PROJECTION_FAILURE: 500,
    StatusCode.SEARCH_PREDICTION_FAILURE: 500,
    StatusCode.SEARCH_COUNTS_UNAVAILABLE: 500,
    StatusCode.MODEL_NOT_EVALUATED: 200,
    StatusCode.BAD_REQUEST: 400,
    StatusCode.SERVER_ERROR: 500,
}

# States of work that goes on or went well: such an item counts as good.
_GOOD = (
    "_SUCCESS", "_PENDING", "_IN_PROGRESS", "_RUNNING", "_QUEUED", "_COMPLETE", "_COMPLETED", "_READY", "_DONE",
    "_IDLE", "_ACTIVE", "_APPROVED", "_TRAINED", "_TRAINING", "_EVALUATED", "_EVALUATING", "_EXPORTED", "_EXPORTING",
    "_UPLOADING", "_BUILDING", "_LOADING", "_DEPLOYING", "_AWAITING_REVIEW", "_AWAITING_CONSENSUS_REVIEW",
    "_QUEUED_FOR_TRAINING", "_QUEUED_FOR_EVALUATION", "_QUEUED_FOR_DEPLOYMENT", "_STREAM_START", "_STREAM_END",
)  # fmt: skip
_MISSING = ("_DOES_NOT_EXIST", "_NOT_FOUND", "_MISSING")
_OURS = ("_INTERNAL_FAILURE", "_UNCATEGORIZED", "_UNEXPECTED_ERROR", "_UNKNOWN_ERROR")
_OUR_PARTS = ("DATABASE_", "QUEUE_", "SQS_", "REDIS_", "CACHE_", "CLUSTER_", "DATATIER_", "INTERNAL_", "ASYNC_")


def _words(name: str) -> str:
    """`INPUT_VIDEO_URL` -> `input video URL`."""
    return " ".join(w.upper() if w in _ACRONYMS else w for w in name.lower().split("_"))


def _describe(code: Code, name: str) -> str:
    if code in _DESCRIPTIONS:
        return _DESCRIPTIONS[code]
    for suffix, phrase in _PHRASES:
        if name.endswith(suffix):
            text = phrase.format(noun=_words(name.removesuffix(suffix)))
            break
    else:
        text = _words(name)
    return text[0].upper() + text[1:]


def _http_status(code: Code, name: str) -> int:
    if code in _HTTP:
        return _HTTP[code]
    rules = (
        (code >= 98000, 500),
        (name.endswith(_GOOD) or name in {"SUCCESS", "ACCEPTED", "ZERO"}, 200),
        (name.endswith("_PERMISSION_DENIED"), 403),
        (name.endswith(_MISSING), 404),
        (name.endswith("_CONFLICT"), 409),
        (name.endswith(_OURS) or name.startswith(_OUR_PARTS), 500),
    )
    return next((number for holds, number in rules if holds), 400)


# code -> (description, HTTP status). Of names that share a number the first declared one counts.
TABLE: dict[Code, tuple[str, int]] = {
    code: (_describe(code, name), _http_status(code, name)) for name, code in reversed(StatusCode.items())
}
_UNKNOWN = ("Unknown status", 500)


def description(code: Code) -> str:
    """The short text of a code."""
    return TABLE.get(code, _UNKNOWN)[0]


def http_status(code: Code) -> int:
    """The HTTP status that goes with a code."""
    return TABLE.get(code, _UNKNOWN)[1]


def good(code: Code) -> bool:
    """Whether an item with this code is kept or under way, as opposed to refused or failed."""
    return http_status(code) == 200


def status(code: Code, details: str = "", notes: str = "") -> Status:
    """A status message with description and HTTP status filled in; the dispatcher adds `req_id`.

    Args:
        code: What happened.
        details: For a person: which item, what to do.
        notes: `developer_notes`, technical background.
    """
    text, number = TABLE.get(code, _UNKNOWN)
    return Status(code=code, description=text, details=details, developer_notes=notes, http_status_code=number)


def of_failure(failure: errors.Failure) -> Status:
    """The status that a `Failure` of a request or an item becomes."""
    made = status(failure.code, failure.details, failure.notes)
    if failure.http:
        made.http_status_code = failure.http
    return made


def summary(items: Iterable[Status]) -> Status:
    """The status of a call about a list: all items good (or none given) 10000, some good 10010, none good 10020.

    `details` counts the failed items and quotes the first reason, so that the cause is seen without looking further.
    """
    statuses = list(items)
    bad = [(i, s) for i, s in enumerate(statuses) if not good(s.code)]
    if not bad:
        return status(StatusCode.SUCCESS)
    place, first = bad[0]
    reason = first.details or first.description
    details = f"{len(bad)} of {len(statuses)} failed. The first is item {place} ({first.code}): {reason}"
    code = StatusCode.FAILURE if len(bad) == len(statuses) else StatusCode.MIXED_STATUS
    return status(code, details)
