"""What the audit log says of a call: who, from where, what came of it, and the ids of what the request names.

The fields to look at are found once per RPC, from the descriptor.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from postil.core.callers import Caller
from postil.doors.rpc.methods import Method

_IDS = 20  # told of one call, at most
_LENGTH = 48  # characters of each

Entry = dict[str, Any]


class Subject:
    """Tells which things a request of one RPC is about."""

    def __init__(self, method: Method) -> None:
        descriptor = method.request.DESCRIPTOR
        self._plain = [field.name for field in descriptor.fields if _is_id(field) and not field.is_repeated]
        self._lists = [field.name for field in descriptor.fields if _is_id(field) and field.is_repeated]
        self._items = [
            (field.name, name)
            for field in descriptor.fields
            if field.is_repeated and field.message_type and (name := _id_of(field.message_type))
        ]

    def read(self, request: Message) -> tuple[int, list[str]]:
        """How many items the request holds (0 when it holds no list), and ids, some of them when there are many."""
        count, ids = 0, [getattr(request, name) for name in self._plain]
        for name in self._lists:
            values = getattr(request, name)
            count += len(values)
            ids += values[:_IDS]
        for name, inner in self._items:
            items = getattr(request, name)
            count += len(items)
            ids += [getattr(item, inner) for item in items[:_IDS]]
        return count, [one[:_LENGTH] for one in ids if one][:_IDS]


def entry(method: Method, request_id: str, code: int, caller: Caller | None, peer: str) -> Entry:
    """A line of the log, without its subject."""
    return {
        "time": dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds"),
        "rpc": method.name,
        "code": code,
        "req_id": request_id,
        "key": caller.key_id if caller else "",
        "user": caller.user_id if caller else "",
        "from": peer,
    }


def _is_id(field: Any) -> bool:
    named = field.name in {"id", "ids"} or field.name.endswith(("_id", "_ids"))
    return bool(field.type == FieldDescriptor.TYPE_STRING and named)


def _id_of(message: Any) -> str:
    """The field that tells items of this type apart."""
    return next((name for name in ("id", "input_id") if name in message.fields_by_name), "")
