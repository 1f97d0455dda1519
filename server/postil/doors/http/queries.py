"""Query parameters to JSON values: `user_app_id.user_id=me&ids=a&ids=b` to nested objects that the reader understands.

A name that leads to no field is ignored, as unknown JSON keys are. An empty value counts as absent, except for texts.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from postil.errors import Failure
from postil.v1.status_code_pb2 import StatusCode

_MAX_PARAMETERS = 2000
_MAX_HOPS = 8


def tree(query: bytes, descriptor: Descriptor) -> dict[str, Any]:
    """The parameters of a query string as a JSON object for a message of this type.

    Raises:
        Failure: CONN_BAD_REQUEST_FORMAT for more than 2,000 parameters, or what is not UTF-8.
    """
    try:
        pairs = parse_qsl(
            query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_MAX_PARAMETERS
        )
    except ValueError as error:
        raise Failure(StatusCode.CONN_BAD_REQUEST_FORMAT, f"The query string cannot be read: {error}.") from None
    given: dict[str, list[str]] = {}
    for name, value in pairs:
        given.setdefault(name, []).append(value)
    out: dict[str, Any] = {}
    for name, values in given.items():
        fields = _fields(name, descriptor)
        kept = [value for value in values if value or (fields and fields[-1].type == FieldDescriptor.TYPE_STRING)]
        if fields and kept:
            _put(out, fields, kept)
    return out


def _fields(name: str, descriptor: Descriptor) -> list[FieldDescriptor]:
    """The fields that a dotted name leads through, or none."""
    fields: list[FieldDescriptor] = []
    at: Descriptor | None = descriptor
    for step in name.split(".", _MAX_HOPS):
        field = None if at is None else at.fields_by_name.get(step) or at.fields_by_camelcase_name.get(step)
        if field is None:
            return []
        fields.append(field)
        at = field.message_type
    return fields


def _put(out: dict[str, Any], fields: list[FieldDescriptor], values: list[str]) -> None:
    field, rest = fields[0], fields[1:]
    if not rest:
        out[field.name] = values if field.is_repeated else values[-1]
    elif field.is_repeated:  # statuses.code=24150&statuses.code=24151: one item for each value
        items = out.setdefault(field.name, [])
        items.extend({} for _ in range(len(values) - len(items)))
        for item, value in zip(items, values, strict=False):
            _put(item, rest, [value])
    else:
        _put(out.setdefault(field.name, {}), rest, values)
