"""What `merge`, `remove` and `overwrite` do to a message. Generic over descriptors; shared by all Patch calls.

merge      Values are replaced, objects merged key by key. Entries of a list that carry an id are matched by it: those
           that match are merged, the others appended after the existing ones, like entries without an id. An object
           sent empty replaces what was there. Null changes nothing.
remove     Entries of a list whose ids are named are dropped; of entries without an id those that are equal. Elsewhere a
           leaf that is sent removes its field. An object that becomes empty stays.
overwrite  Every field of the resource that is sent becomes exactly what was sent; the others stay.

On the wire an absent number is zero, so a few messages are one value that is sent whole or not at all (`_ATOMS`): else
moving a box to the upper edge could not be told from leaving it where it is. For the same reason an absent
`Concept.value` is 0, a negative label; the JSON door puts in the 1 that JSON clients mean.
"""

from __future__ import annotations

from collections.abc import Iterable, MutableSequence
from functools import cache
from typing import Any, TypeVar, cast

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct, Value

from postil.core import patch_values
from postil.errors import Failure
from postil.v1.annotation_pb2 import Annotation
from postil.v1.data_pb2 import Data
from postil.v1.options_pb2 import default_float
from postil.v1.status_code_pb2 import StatusCode

M = TypeVar("M", bound=Message)

ACTIONS = ("merge", "remove", "overwrite")
MEDIA = ("image", "video", "audio", "text")

_ANNOTATION_KEPT = frozenset({"id", "input_id", "created_at", "modified_at", "input_level"})
_ANNOTATION_REMOVABLE = frozenset({"data", "annotation_info", "consensus_info", "task_id"})
_ONE_EACH = frozenset({"regions", "frames"})  # an annotation has one region, in one frame

_ATOMS = frozenset(
    {
        f"postil.v1.{name}"
        for name in ("Embedding", "FrameInfo", "GeoPoint", "RegionInfo", "Status", "TimeInfo", "Worker")
    }
)
_KEYS = {"postil.v1.Embedding": "space"}  # every other message is matched by `id`


def chosen(action: str, allowed: Iterable[str] = ACTIONS, default: str = "merge") -> str:
    """The action of a request; the empty one is `default`.

    Raises:
        Failure: CONN_INVALID_REQUEST, naming what is allowed.
    """
    names = tuple(allowed)
    if not action:
        return default
    if action not in names:
        shown = action if len(action) <= 60 else f"{action[:60]}…"
        choice = (
            f"use {', '.join(names[:-1])} or {names[-1]}" if len(names) > 1 else f"only {names[0]} is possible here"
        )
        raise Failure(StatusCode.CONN_INVALID_REQUEST, f"action is {shown!r}; {choice}.")
    return action


def apply(
    action: str,
    current: M,
    change: M,
    *,
    keep: frozenset[str] = frozenset({"id"}),
    single: frozenset[str] = frozenset(),
) -> M:
    """The message that results from a patch; both arguments stay as they are.

    Args:
        action: One of `ACTIONS`, or "" for merge.
        current: The resource as stored.
        change: What the request says about it.
        keep: Fields of the resource itself that no patch touches.
        single: Repeated fields, at any depth, that hold one entry: one without an id, or with the same id, is meant
            to be the entry that is there. One with another id is appended, for the caller to refuse.

    Raises:
        Failure: CONN_INVALID_REQUEST for an unknown action.
    """
    action = chosen(action)
    result, wanted = _copy(current), _copy(change)
    for name in keep.intersection(wanted.DESCRIPTOR.fields_by_name):
        wanted.ClearField(name)
    if action == "merge":
        _merge(result, wanted, single)
    elif action == "remove":
        _remove(result, wanted, single)
    else:
        for field, value in wanted.ListFields():
            _replace(result, field, value)
    return result


def annotation(action: str, current: Annotation, change: Annotation) -> Annotation:
    """`apply` for annotations, with the rule of the one region: a region keeps its id unless it is given another.

    A status or an author sent with `remove` is set, since an annotation always has both.
    """
    action = chosen(action)
    if action != "remove":
        result = apply(action, current, change, keep=_ANNOTATION_KEPT, single=_ONE_EACH)
        _keep_ids(current.data, result.data)
        return result
    settable = {field.name for field in change.DESCRIPTOR.fields} - _ANNOTATION_REMOVABLE
    result = apply("remove", current, change, keep=_ANNOTATION_KEPT | settable, single=_ONE_EACH)
    return apply("overwrite", result, change, keep=_ANNOTATION_KEPT | _ANNOTATION_REMOVABLE)


def input_data(action: str, current: Data, change: Data) -> Data:
    """`apply` for the data of an input. Its medium stays, whatever the action: it may be resent, not exchanged.

    Raises:
        Failure: CONN_INVALID_REQUEST for an unknown action; INPUT_INVALID_ARGUMENT when another medium is sent.
    """
    action, rest = chosen(action), _copy(change)
    for name in MEDIA:
        if change.HasField(cast("Any", name)):
            _check_same_medium(name, getattr(current, name), getattr(change, name))
            rest.ClearField(cast("Any", name))
    emptied = action == "merge" and not change.ByteSize()
    result = rest if action == "overwrite" or emptied else apply(action, current, rest, keep=frozenset())
    for name in MEDIA:
        if current.HasField(cast("Any", name)):
            getattr(result, name).CopyFrom(getattr(current, name))
    return result


def _copy(message: M) -> M:
    result = type(message)()
    result.CopyFrom(message)
    return result


def _check_same_medium(name: str, stored: Message, sent: Message) -> None:
    for source in ("url", "raw", "base64"):
        value = getattr(sent, source, "")
        if value and value != getattr(stored, source, ""):
            raise Failure(
                StatusCode.INPUT_INVALID_ARGUMENT,
                f"data.{name}.{source} differs from what the input holds, and a patch cannot exchange the {name} "
                "itself. Leave it out to keep it, or post a new input.",
            )


def _keep_ids(before: Data, after: Data) -> None:
    """Gives the one frame and the one region their ids back when they were sent without."""
    for old_frame, new_frame in zip(before.frames, after.frames, strict=False):
        new_frame.id = new_frame.id or old_frame.id
        _keep_ids(old_frame.data, new_frame.data)
    for old_region, new_region in zip(before.regions, after.regions, strict=False):
        new_region.id = new_region.id or old_region.id


@cache
def _always_sent(descriptor: Descriptor) -> tuple[str, ...]:
    """Fields whose absence on the wire is a value of its own."""
    return tuple(field.name for field in descriptor.fields if field.GetOptions().HasExtension(default_float))


def _key(message: Message) -> Any:
    """What an entry of a list is matched by, or None: then it matches nothing."""
    name = _KEYS.get(message.DESCRIPTOR.full_name)
    if name:
        return getattr(message, name)
    return getattr(message, "id", None) or None


def _is_atom(message: Message) -> bool:
    name = message.DESCRIPTOR.full_name
    return name in _ATOMS or name.startswith("google.protobuf.")


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)


def _replace(target: Message, field: FieldDescriptor, value: Any) -> None:
    target.ClearField(field.name)
    if _is_map(field):
        getattr(target, field.name).MergeFrom(value)
    elif field.is_repeated:
        getattr(target, field.name).extend(value)
    elif field.message_type:
        getattr(target, field.name).CopyFrom(value)
        getattr(target, field.name).SetInParent()  # an empty one is present, too
    else:
        setattr(target, field.name, value)


def _merge(target: Message, change: Message, single: frozenset[str]) -> None:
    for field, value in change.ListFields():
        if _is_map(field):
            getattr(target, field.name).MergeFrom(value)
        elif field.is_repeated:
            _merge_list(getattr(target, field.name), value, field, single)
        elif field.message_type and target.HasField(field.name) and value.ByteSize():
            _merge_message(getattr(target, field.name), value, single)
        else:
            _replace(target, field, value)
    sent = {field.name for field, _ in change.ListFields()}
    for name in _always_sent(change.DESCRIPTOR):
        if name not in sent:
            target.ClearField(name)


def _merge_message(target: Message, change: Message, single: frozenset[str]) -> None:
    if isinstance(target, Struct) and isinstance(change, Struct):
        patch_values.merge_struct(target, change)
    elif isinstance(target, Value) and isinstance(change, Value):
        patch_values.merge_value(target, change)
    elif _is_atom(target):
        target.CopyFrom(change)
    else:
        _merge(target, change, single)


def _merge_list(target: Any, change: Iterable[Any], field: FieldDescriptor, single: frozenset[str]) -> None:
    if not field.message_type:
        target.extend(change)
        return
    places = {key: place for place, key in enumerate(map(_key, target)) if key is not None}
    alone = field.name in single and len(target) == 1
    for entry in change:
        key = _key(entry)
        place = places.get(key) if key is not None else 0 if alone else None
        if place is not None:
            _merge_message(target[place], entry, single)
            continue
        if key is not None:
            places[key] = len(target)
        target.add().CopyFrom(entry)


def _remove(target: Message, change: Message, single: frozenset[str]) -> None:
    for field, value in change.ListFields():
        if _is_map(field):
            for key in value:
                getattr(target, field.name).pop(key, None)
        elif field.is_repeated:
            _remove_from_list(getattr(target, field.name), value, field, single)
        elif not field.message_type:
            if value:
                target.ClearField(field.name)
            else:
                _replace(target, field, value)
        elif target.HasField(field.name) and value.ByteSize():
            mine = getattr(target, field.name)
            if isinstance(mine, Struct):
                patch_values.remove_struct(mine, value)
            elif _is_atom(mine):
                target.ClearField(field.name)
            else:
                _remove(mine, value, single)


def _remove_from_list(
    target: MutableSequence[Any], change: Any, field: FieldDescriptor, single: frozenset[str]
) -> None:
    if not field.message_type:
        unwanted = set(change)
        _retain(target, [value for value in target if value not in unwanted])
        return
    unnamed = [entry for entry in change if _key(entry) is None]
    if field.name in single and len(target) == 1:
        for entry in unnamed:
            _remove(target[0], entry, single)
        unnamed = []
    keys = {_key(entry) for entry in change} - {None}
    exact = {entry.SerializeToString(deterministic=True) for entry in unnamed}
    _retain(
        target,
        [e for e in target if _key(e) not in keys and not (exact and e.SerializeToString(deterministic=True) in exact)],
    )


def _retain(target: MutableSequence[Any], kept: list[Any]) -> None:
    if len(kept) < len(target):
        copies = [_copy(entry) if isinstance(entry, Message) else entry for entry in kept]
        del target[:]
        target.extend(copies)
