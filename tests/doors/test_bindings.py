"""Every HTTP binding of the protos leads to its RPC and to no other."""

from __future__ import annotations

import dataclasses
import itertools
from urllib.parse import quote

import pytest
from google.api import annotations_pb2

from postil.doors.http.bindings import Binding, Routes, bindings_of
from postil.doors.rpc import methods

METHODS = methods.table()
BINDINGS = [binding for method in METHODS.values() for binding in bindings_of(method)]
ROUTES = Routes(METHODS)
# Ids that look like other paths, need escaping, or hold what separates paths.
IDS = ["x", "a/b", "a b", "é%2F", "犬", "..", "a?b#c", "a+b", "{id}"]


def _name(binding: Binding) -> str:
    return f"{binding.verb} {binding.path}"


@pytest.mark.parametrize("binding", BINDINGS, ids=_name)
@pytest.mark.parametrize("trailing", ["", "/"])
def test_each_binding_leads_to_its_rpc(binding: Binding, trailing: str) -> None:
    values = list(itertools.islice(itertools.cycle(IDS), len(binding.captures)))
    given = iter(values)
    path = "/".join(quote(next(given), safe="") if part.startswith("{") else part for part in binding.segments)
    match = ROUTES.find(binding.verb, f"/{path}{trailing}")
    assert match is not None
    assert match.binding == binding
    assert list(match.captured) == list(zip(binding.captures, values, strict=True))
    assert binding.verb in ROUTES.verbs(f"/{path}")


def test_only_bindings_of_what_is_left_out_are_missing() -> None:
    declared = {
        getattr(rule, rule.WhichOneof("pattern"))
        for method in METHODS.values()
        for option in [method.descriptor.GetOptions().Extensions[annotations_pb2.http]]
        for rule in (option, *option.additional_bindings)
    }
    assert {path for path in declared - {one.path for one in BINDINGS} if "{runner_selector." not in path} == set()


def test_every_rpc_can_be_reached() -> None:
    assert {binding.method.name for binding in BINDINGS} == set(METHODS)


@pytest.mark.parametrize(
    ("verb", "path", "rpc"),
    [
        ("GET", "/v2/concepts/status", "GetConceptCounts"),
        ("GET", "/v2/concepts/relations", "GetConcept"),  # the short path has no list of all relations
        ("GET", "/v2/users/u/apps/a/concepts/relations", "ListConceptRelations"),
        ("POST", "/v2/concepts/searches", "PostConceptsSearches"),
        ("GET", "/v2/concepts/knowledge_graphs", "ListKnowledgeGraphs"),
        ("GET", "/v2/models/types", "ListModelTypes"),
        ("POST", "/v2/models/searches", "PostModelsSearches"),
        ("GET", "/v2/inputs/status", "GetInputCount"),
        ("GET", "/v2/inputs/stream", "StreamInputs"),
        ("DELETE", "/v2/inputs/status", "DeleteInput"),
        ("DELETE", "/v2/inputs/annotations", "DeleteAnnotations"),
        ("GET", "/v2/inputs/jobs/add", "ListInputsAddJobs"),
        ("POST", "/v2/searches", "PostSearches"),
        ("POST", "/v2/searches/", "PostSearches"),
        ("POST", "/v2/annnotations/searches", "PostAnnotationsSearches"),
        ("POST", "/v2/users/me/apps/main/annnotations/searches", "PostAnnotationsSearches"),
        ("GET", "/v2/app", "GetApp"),
    ],
)
def test_literals_win_over_captures(verb: str, path: str, rpc: str) -> None:
    match = ROUTES.find(verb, path)
    assert match is not None
    assert match.binding.method.name == rpc


@pytest.mark.parametrize(
    "path",
    ["/v2", "/v2/", "/v2/nowhere", "/v2/inputs//annotations", "/v2/inputs/a/b/c/d/e", "/v3/inputs", "//v2/inputs"],
)
def test_paths_that_lead_nowhere(path: str) -> None:
    assert ROUTES.find("GET", path) is None
    assert ROUTES.verbs(path) == set()


def test_a_wrong_verb_is_told_from_a_wrong_path() -> None:
    assert ROUTES.find("PUT", "/v2/inputs") is None
    assert ROUTES.verbs("/v2/inputs") == {"GET", "POST", "PATCH", "DELETE"}


def test_two_rpcs_may_not_claim_one_path() -> None:
    one = METHODS["GetInput"]
    with pytest.raises(ValueError, match="both claim GET"):
        Routes({"GetInput": one, "Copy": dataclasses.replace(one, name="Copy")})
