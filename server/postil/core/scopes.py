"""Which scopes each call needs. The table is data, `scopes.tsv` beside this file; here is what reads it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.resources import files
from typing import NamedTuple

ALL = "All"
CONCEPTS_ADD = "Concepts:Add"  # also needed where an annotation brings a concept into being
PREDICT = "Predict"  # also needed where a query must be embedded
COLLABORATORS_ADD = "Collaborators:Add"  # also needed to write in another user's name

_ANYBODY, _PERSONAL, _KEY = "anybody", "personal", "key"
_ENDPOINT = "/clarifai.api.V2/"
_ENDPOINTS = re.compile(r"/(?:clarifai\.api\.V2|postil\.v1\.[A-Za-z]+)/([A-Za-z]+)")
_NEEDS = {"Add": ("Get",), "Train": ("Get", "Add"), "Delete": ("Get", "Add")}


class Rule(NamedTuple):
    """What a call asks of the key that makes it."""

    scopes: frozenset[str]  # all of them
    personal: bool = False  # an app's key will not do
    anybody: bool = False  # no key is asked for


UNLISTED = Rule(frozenset({ALL}))  # a call that the table does not know is for keys that may do everything


def _read() -> Iterator[tuple[str, Rule]]:
    for line in (files("postil.core") / "scopes.tsv").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        name, kind, *rest = line.split("\t")
        if kind not in {_ANYBODY, _PERSONAL, _KEY}:
            raise ValueError(f"scopes.tsv: {name} is for {kind!r}, which is no kind of key")
        yield name, Rule(frozenset(" ".join(rest).split()), kind == _PERSONAL, kind == _ANYBODY)


RULES: dict[str, Rule] = dict(_read())
SCOPES: frozenset[str] = frozenset({ALL, COLLABORATORS_ADD}).union(*(rule.scopes for rule in RULES.values()))


def rule(call: str) -> Rule:
    """The rule of an RPC by its name."""
    return RULES.get(call, UNLISTED)


def called(endpoint: str) -> str:
    """The RPC that an endpoint names, for example `/clarifai.api.V2/ListInputs`; "" when it names none."""
    match = _ENDPOINTS.fullmatch(endpoint)
    return match[1] if match and match[1] in RULES else ""


def endpoint(call: str) -> str:
    """The endpoint of an RPC, as keys hold it."""
    return _ENDPOINT + call


def needs(scope: str) -> list[str]:
    """What a key should have beside a scope: `Inputs:Delete` is of little use without `Inputs:Get`."""
    noun, _, verb = scope.partition(":")
    return sorted(SCOPES & {f"{noun}:{other}" for other in _NEEDS.get(verb, ())})
