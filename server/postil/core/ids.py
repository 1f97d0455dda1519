"""Ids: made by the server, or checked when a client makes them.

An id that a client chooses is 1 to 48 characters. Ids of inputs, annotations, concepts and regions may hold spaces and
any script, but no `/` and no control characters, because they stand in URLs. Ids of apps and users are names:
ASCII letters, digits, `-` and `_`.
"""

from __future__ import annotations

import os
import re

from postil.errors import Failure
from postil.v1.status_code_pb2 import StatusCode

MAX_LENGTH = 48  # characters, not bytes

_SHOWN = 60  # characters of a refused id that go into a message
_GOOD = re.compile(r"[^/\x00-\x1f\x7f-\x9f]{1,48}")
_GOOD_NAME = re.compile(r"[A-Za-z0-9_-]{1,48}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_NAMES = frozenset({"app", "user"})


def new_id() -> str:
    """A random id of 32 hexadecimal digits (128 bits)."""
    return os.urandom(16).hex()  # 0.5 µs; uuid4().hex takes five times as long


def problem(value: str, kind: str = "") -> str:
    """Which rule an id breaks and what would keep it, to be put after the id; "" when it keeps them all.

    Args:
        value: The id.
        kind: What it names; the rules for "app" and "user" are stricter.
    """
    named = kind in _NAMES
    if (_GOOD_NAME if named else _GOOD).fullmatch(value):
        return ""
    if not value:
        return f"is empty; use 1 to {MAX_LENGTH} characters"
    if len(value) > MAX_LENGTH:
        return f"has {len(value)} characters; use at most {MAX_LENGTH}"
    if _CONTROL.search(value):
        return "contains a control character; leave it out"
    if "/" in value:
        return "contains '/'; use another character, for example '-'"
    return "may only hold the letters a-z and A-Z, digits, '-' and '_'"


def shown(value: str) -> str:
    """An id as it goes into a message: quoted, escaped, and cut when it is very long."""
    return repr(value) if len(value) <= _SHOWN else f"{value[:_SHOWN]!r}…"


def echoed(value: str) -> str:
    """An id of a refused item as its answer names it: cut when no id can be that long, so that an answer has no more
    of what was sent than it takes to know it again. With its mark it is no id that something can have."""
    return value if len(value) <= _SHOWN else f"{value[:_SHOWN]}…"


def check(kind: str, value: str, where: str = "", code: StatusCode.ValueType = StatusCode.CONN_INVALID_REQUEST) -> None:
    """Refuses an id that breaks a rule.

    Args:
        kind: What it names, in the singular: "input", "annotation", "concept", "app", "user"…
        value: The id.
        where: The item at fault, for example `at("inputs", 3)`; "" for a request about one thing.
        code: The status code of the failure.

    Raises:
        Failure: With details such as `inputs[3]: the input id 'a/b' contains '/'; use another character…`.
    """
    wrong = problem(value, kind)
    if wrong:
        named = f"the {kind} id {shown(value)}" if value else f"the {kind} id"
        raise Failure(code, f"{where}: {named} {wrong}." if where else f"{named[0].upper()}{named[1:]} {wrong}.")


def at(field: str, position: int) -> str:
    """How messages name one item of a list: `inputs[3]`."""
    return f"{field}[{position}]"
