"""JSON text to plain values, within limits.

Strict JSON is read by orjson. What that refuses gets a second chance, because published samples need it: a comma before
a closing bracket, and line breaks inside a string (`base64 picture.jpg` on a command line wraps its output).
"""

from __future__ import annotations

import contextlib
import json
import re
from typing import Any, NamedTuple

import orjson

from postil.errors import Failure
from postil.v1.status_code_pb2 import StatusCode

MAX_VALUES = 2_000_000  # some 300 MB of Python objects at worst; 128 vectors of 8192 numbers are half of it

_LENIENT = 32 * 1024 * 1024  # bytes; a larger body gets no second chance
_SMALL = 64 * 1024  # bytes; what has no more than this cannot hold too many values
_VALUE_BYTES = 128
_STRING_OR_COMMA = re.compile(r'("[^"\\]*(?:\\.[^"\\]*)*")|,(?=\s*[}\]])', re.DOTALL)
_tolerant = json.JSONDecoder(strict=False)


def parse(body: bytes) -> dict[str, Any]:
    """The object that a request's body is; nothing at all is an empty object.

    Raises:
        Failure: CONN_BAD_REQUEST_FORMAT (not JSON, or not an object), RPC_MAX_MESSAGE_SIZE_EXCEEDED (too many values).
    """
    if len(body) > _SMALL and _values(body) > MAX_VALUES:
        raise Failure(
            StatusCode.RPC_MAX_MESSAGE_SIZE_EXCEEDED,
            f"The body holds more than {MAX_VALUES:,} JSON values. Send fewer items at once.",
        )
    value = _strict(body)
    if isinstance(value, _Fault):  # outside of any `except`: the errors hold the whole text
        value = _again(body, value)
    if not isinstance(value, dict):
        raise _malformed(f"The body is a JSON {_kind(value)}, but must be an object: {{...}}.")
    return value


def weight(body: bytes) -> int:
    """Bytes that the values of a body take at worst, as Python objects or as a message; 0 for small bodies."""
    return _VALUE_BYTES * _values(body) if len(body) > _SMALL else 0


def _values(body: bytes) -> int:
    return body.count(b",") + body.count(b"{") + body.count(b"[")


class _Fault(NamedTuple):
    """What is wrong, and where."""

    said: str
    line: int
    column: int


def _strict(body: bytes) -> Any:
    try:
        return orjson.loads(body) if body else {}
    except orjson.JSONDecodeError as error:
        return _Fault(error.msg, error.lineno, error.colno)


def _again(body: bytes, fault: _Fault) -> Any:
    """The value of a body that is almost JSON; what was wrong first is what is told when it is not even that."""
    try:
        text = body.decode("utf-8-sig") if len(body) <= _LENIENT else "-"
        if not text.strip():
            return {}
        for tidy in (_as_it_is, _without_commas):
            with contextlib.suppress(json.JSONDecodeError):
                return _tolerant.decode(tidy(text))
    except UnicodeDecodeError:
        raise _malformed("The body is not UTF-8 text. Send a JSON object.") from None
    except RecursionError:
        raise _malformed("The body nests arrays or objects too deeply.") from None
    raise _malformed(f"The body is not JSON: {fault.said} (line {fault.line}, column {fault.column}).")


def _as_it_is(text: str) -> str:
    return text


def _without_commas(text: str) -> str:
    """Without the commas before closing brackets."""
    return _STRING_OR_COMMA.sub(lambda match: match[1] or "", text)


def _malformed(details: str) -> Failure:
    return Failure(StatusCode.CONN_BAD_REQUEST_FORMAT, details)


def _kind(value: object) -> str:
    return {list: "array", str: "string", bool: "boolean", type(None): "null"}.get(type(value), "number")
