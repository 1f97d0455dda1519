"""Merge and remove on free JSON: the `Struct` and `Value` messages of metadata, annotation_info and the like.

The rules are those of `patch.py`. Entries of a list are matched by their `id` (a text or a number).
"""

from __future__ import annotations

from collections.abc import Iterable

from google.protobuf.struct_pb2 import ListValue, Struct, Value

_Key = tuple[str, str | float]


def merge_struct(target: Struct, change: Struct) -> None:
    """Merges key by key; an empty object replaces what was there."""
    if not change.fields:
        target.Clear()
        return
    for name, value in change.fields.items():
        kind = value.WhichOneof("kind")
        if kind is not None and kind != "null_value":
            merge_value(target.fields[name], value)


def merge_value(target: Value, change: Value) -> None:
    """Objects merge with objects and lists with lists, unless the new one is empty; everything else replaces."""
    kind = change.WhichOneof("kind")
    if kind == target.WhichOneof("kind"):
        if kind == "struct_value" and change.struct_value.fields:
            merge_struct(target.struct_value, change.struct_value)
            return
        if kind == "list_value" and change.list_value.values:
            _merge_list(target.list_value, change.list_value)
            return
    target.CopyFrom(change)


def remove_struct(target: Struct, change: Struct) -> None:
    """Deletes the keys that true leaves name; a false leaf replaces; null, {} and [] do nothing."""
    for name, value in change.fields.items():
        if name not in target.fields:
            continue
        kind = value.WhichOneof("kind")
        if kind in {"bool_value", "number_value", "string_value"}:
            if getattr(value, kind):
                del target.fields[name]
            else:
                target.fields[name].CopyFrom(value)
        elif kind == target.fields[name].WhichOneof("kind"):
            if kind == "struct_value":
                remove_struct(target.fields[name].struct_value, value.struct_value)
            elif kind == "list_value":
                _remove_from_list(target.fields[name].list_value, value.list_value)


def _key(value: Value) -> _Key | None:
    if value.WhichOneof("kind") != "struct_value" or "id" not in value.struct_value.fields:
        return None
    name = value.struct_value.fields["id"]
    kind = name.WhichOneof("kind")
    if kind == "string_value" and name.string_value:
        return kind, name.string_value
    return (kind, name.number_value) if kind == "number_value" else None


def _merge_list(target: ListValue, change: ListValue) -> None:
    places = {key: place for place, key in enumerate(map(_key, target.values)) if key is not None}
    for value in change.values:
        key = _key(value)
        if key is not None and key in places:
            merge_struct(target.values[places[key]].struct_value, value.struct_value)
            continue
        if key is not None:
            places[key] = len(target.values)
        target.values.add().CopyFrom(value)


def _remove_from_list(target: ListValue, change: ListValue) -> None:
    keys, exact = {_key(value) for value in change.values} - {None}, _wire(v for v in change.values if not _key(v))
    kept = [v for v in target.values if _key(v) not in keys and v.SerializeToString(deterministic=True) not in exact]
    if len(kept) < len(target.values):
        target.CopyFrom(ListValue(values=kept))


def _wire(values: Iterable[Value]) -> set[bytes]:
    return {value.SerializeToString(deterministic=True) for value in values}
