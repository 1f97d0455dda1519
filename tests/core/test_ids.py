"""Ids are made and checked by one set of rules, and a refusal names the item and the rule."""

import re

import pytest

from postil.core import ids
from postil.errors import Failure
from postil.v1.status_code_pb2 import StatusCode


def test_new_ids_are_32_hexadecimal_digits_and_differ() -> None:
    made = {ids.new_id() for _ in range(1000)}
    assert len(made) == 1000
    assert all(re.fullmatch(r"[0-9a-f]{32}", one) for one in made)


@pytest.mark.parametrize("kind", ["input", "annotation", "concept", "region"])
@pytest.mark.parametrize("value", ["a", "with space", "的な", "a.b:c?d#e%f", "x" * 48, "的" * 48, "🙂"])
def test_free_ids_hold_any_script(kind: str, value: str) -> None:
    ids.check(kind, value)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("", "is empty"),
        ("a/b", "contains '/'"),
        ("x" * 49, "has 49 characters; use at most 48"),
        ("的" * 49, "has 49 characters"),
        ("a\nb", "control character"),
        ("trailing\n", "control character"),
        ("a\x00", "control character"),
        ("a\x7f", "control character"),
        ("a\x85", "control character"),
    ],
)
def test_a_refusal_names_the_item_and_the_rule(value: str, said: str) -> None:
    with pytest.raises(Failure) as caught:
        ids.check("input", value, ids.at("inputs", 3))
    assert caught.value.code == StatusCode.CONN_INVALID_REQUEST
    assert caught.value.details.startswith("inputs[3]: the input id")
    assert said in caught.value.details


def test_the_caller_may_give_the_code() -> None:
    with pytest.raises(Failure) as caught:
        ids.check("input", "a/b", code=StatusCode.INPUT_INVALID_ARGUMENT)
    assert caught.value.code == StatusCode.INPUT_INVALID_ARGUMENT
    assert caught.value.details.startswith("The input id 'a/b'")


def test_a_huge_id_does_not_come_back_whole() -> None:
    with pytest.raises(Failure) as caught:
        ids.check("concept", "y" * 10_000)
    assert "10000 characters" in caught.value.details
    assert len(caught.value.details) < 200


@pytest.mark.parametrize("kind", ["app", "user"])
def test_apps_and_users_are_names(kind: str) -> None:
    ids.check(kind, "My-app_2")
    for value in ("my app", "的な", "a.b", "a/b", "", "x" * 49, ".."):
        with pytest.raises(Failure):
            ids.check(kind, value)


def test_problem_agrees_with_check() -> None:
    assert ids.problem("fine") == ""
    assert ids.problem("my app") == ""
    assert "letters" in ids.problem("my app", "app")
