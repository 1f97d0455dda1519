"""Merge, remove and overwrite of free JSON: worked examples of each rule, then properties."""

from collections.abc import Mapping
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct, Value
from hypothesis import given
from hypothesis import strategies as st

from postil.core import patch
from postil.v1.app_pb2 import App
from postil.v1.model_pb2 import ModelTypeField

Json = dict[str, Any]


def struct(value: Mapping[str, Any]) -> Struct:
    made = Struct()
    made.update(value)
    return made


def patched(action: str, stored: Json, sent: Json) -> Json:
    result = patch.apply(action, App(metadata=struct(stored)), App(metadata=struct(sent)))
    return dict(MessageToDict(result.metadata))


# Stored, sent, expected.

NESTED = {"key1": {"key2": "value2", "key3": "value3"}}

MERGES: list[tuple[Json, Json, Json]] = [
    ({"blah": True}, {"a": [1, 2, 3]}, {"blah": True, "a": [1, 2, 3]}),
    ({"a": [{"id": 2}]}, {"a": [{"id": 1}]}, {"a": [{"id": 2}, {"id": 1}]}),
    (
        {"a": [{"id": "2"}], "blah": "string"},
        {"a": [{"id": "1"}], "blah": 1},
        {"a": [{"id": "2"}, {"id": "1"}], "blah": 1},
    ),
    (
        {"a": [{"id": "1", "foo": "bar", "hey": False}, {"id": "2"}], "blah": "string"},
        {"a": [{"id": "1", "hey": True}], "blah": 1},
        {"a": [{"id": "1", "foo": "bar", "hey": True}, {"id": "2"}], "blah": 1},
    ),
    (
        {"a": [{"blah": "2"}], "blah": "string"},
        {"a": [{"blah": "1"}], "blah": 1, "dict": {"a": 1, "b": 2}},
        {"a": [{"blah": "2"}, {"blah": "1"}], "blah": 1, "dict": {"a": 1, "b": 2}},
    ),
    (NESTED, {"key1": True}, {"key1": True}),
    (NESTED, {"key1": {"key2": True}}, {"key1": {"key2": True, "key3": "value3"}}),
    (NESTED, {"key1": {"key2": {"key4": "v"}}}, {"key1": {"key2": {"key4": "v"}, "key3": "value3"}}),
    (
        {"key1": {"key2": "value2", "key3": {"key4": {"key5": "value5"}}}, "key6": {"key7": {"key8": "value8"}}},
        {"key1": {"key2": {"key9": 9}, "key3": {"key4": "v4", "key10": [1, 2, 3]}}, "key6": {"key11": "value11"}},
        {
            "key1": {"key2": {"key9": 9}, "key3": {"key4": "v4", "key10": [1, 2, 3]}},
            "key6": {"key7": {"key8": "value8"}, "key11": "value11"},
        },
    ),
    (NESTED, {"key1": {"key2": {}}}, {"key1": {"key2": {}, "key3": "value3"}}),
    (NESTED, {"key1": {}}, {"key1": {}}),
    (NESTED, {"key1": {"key2": None}}, NESTED),
    ({}, {"key1": None}, {}),
    (NESTED, {"key1": []}, {"key1": []}),
    (NESTED, {"key1": {"key2": []}}, {"key1": {"key2": [], "key3": "value3"}}),
    ({"key1": {"key2": {"key3": 1}}}, {"key1": {"key2": [{"key3": 1}]}}, {"key1": {"key2": [{"key3": 1}]}}),
    ({"key1": {"key2": []}}, {"key1": {"key2": {"key3": [{"a": 1}]}}}, {"key1": {"key2": {"key3": [{"a": 1}]}}}),
    ({"a": [1, 2]}, {"a": [2, 3]}, {"a": [1, 2, 2, 3]}),
    ({"a": [1, 2]}, {"a": []}, {"a": []}),
    ({"a": [{"id": 1}]}, {"a": [{"id": "1"}]}, {"a": [{"id": 1}, {"id": "1"}]}),
    ({}, {"a": [{"id": "1", "x": 1}, {"id": "1", "y": 2}]}, {"a": [{"id": "1", "x": 1}, {"id": "1", "y": 2}]}),
    ({"a": []}, {"a": [{"id": "1", "x": 1}, {"id": "1", "y": 2}]}, {"a": [{"id": "1", "x": 1, "y": 2}]}),
    ({"flag": True, "n": 5, "s": "x"}, {"flag": False, "n": 0, "s": ""}, {"flag": False, "n": 0, "s": ""}),
    (NESTED, {}, {}),
]

REMOVALS: list[tuple[Json, Json, Json]] = [
    ({"a": [{"id": "2"}, {"id": "3"}, {"id": "1"}]}, {"a": [{"id": "1"}]}, {"a": [{"id": "2"}, {"id": "3"}]}),
    ({"a": [{"id": "1", "more": 1}]}, {"a": [{"id": "1"}]}, {"a": []}),
    ({"key1": {"key2": "value2"}}, {"key1": {"key2": True}}, {"key1": {}}),
    (NESTED, {"key1": True}, {}),
    (NESTED, {"key1": {"key2": True}}, {"key1": {"key3": "value3"}}),
    (
        {"key1": {"key2": {"key3": {"key5": "value5"}}, "key4": {"key6": {"key7": "value7"}}}},
        {"key1": {"key2": {"key3": True}, "key4": True}},
        {"key1": {"key2": {}}},
    ),
    ({**NESTED, "key4": ["a", "b", "c"]}, {"key1": True}, {"key4": ["a", "b", "c"]}),
    (
        {**NESTED, "key4": [{"key5": "value5"}, {"key7": "value7"}]},
        {"key1": {"key2": False, "key3": True}, "key4": False},
        {"key1": {"key2": False}, "key4": False},
    ),
    (NESTED, {"key1": {}}, NESTED),
    (NESTED, {"key1": {"key2": None}}, NESTED),
    (NESTED, {"key1": []}, NESTED),
    (NESTED, {"key9": True}, NESTED),
    (NESTED, {"key1": {"key2": {"deeper": True}}}, NESTED),
    ({"tag": "old"}, {"tag": "old"}, {}),
    ({"tags": ["a", "b", "a"]}, {"tags": ["a", "c"]}, {"tags": ["b"]}),
]


@pytest.mark.parametrize(("stored", "sent", "expected"), MERGES)
def test_merge_of_free_json(stored: Json, sent: Json, expected: Json) -> None:
    assert patched("merge", stored, sent) == expected


@pytest.mark.parametrize(("stored", "sent", "expected"), REMOVALS)
def test_remove_of_free_json(stored: Json, sent: Json, expected: Json) -> None:
    assert patched("remove", stored, sent) == expected


def test_overwrite_of_free_json() -> None:
    assert patched("overwrite", {"a": [{"id": "2"}], "blah": "string", "foo": "bar"}, {"blah": 1}) == {"blah": 1}
    assert patched("overwrite", NESTED, {}) == {}


def test_a_value_on_its_own_follows_the_same_rules() -> None:
    stored = ModelTypeField(default_value=Value(struct_value=struct({"a": 1})))
    sent = ModelTypeField(default_value=Value(struct_value=struct({"b": 2})))
    merged = patch.apply("merge", stored, sent)
    assert MessageToDict(merged.default_value) == {"a": 1, "b": 2}
    text = ModelTypeField(default_value=Value(string_value="x"))
    assert patch.apply("merge", stored, text) == text


LEAVES = st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "x", "yz"])
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "k", "l"]), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.sampled_from(["k", "l", "m"]), JSON, max_size=3)


@given(OBJECTS, OBJECTS)
def test_free_json_survives_any_patch(stored: Json, sent: Json) -> None:
    for action in patch.ACTIONS:
        result = patched(action, stored, sent)
        assert patched("overwrite", {}, result) == result
    assert patched("overwrite", stored, sent) == MessageToDict(struct(sent))


@given(OBJECTS)
def test_removing_all_that_is_named_leaves_no_true_leaf(stored: Json) -> None:
    gone = patched("remove", stored, dict.fromkeys(stored, True))
    assert gone == {}
