"""schemathesis takes the OpenAPI document at its word: one example of each operation (more: `make fuzz-openapi`)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import requests

from fuzz.openapi import Pass, Plan, attack, installed, operations, unfolded
from support.external import published_client
from support.server import Server

# Tells that each operation asked for has ended, but for one at which it stays.
STAYS = """\
#!/bin/sh
while [ $# -gt 0 ]; do
  case "$1 $2" in
    "--report-ndjson-path "*) report=$2 ;;
    "--include-name GET /stays") exec sleep 600 ;;
    "--include-name "*)
      ended='{"elapsed_time":1,"recorder":{"label":"%s"}}'
      printf '{"ScenarioFinished":'"$ended"'}\\n' "$2" >>"$report" ;;
  esac
  shift
done
"""


@pytest.fixture(scope="module")
def schemathesis() -> Path:
    """Its program."""
    return published_client("venvs/schemathesis-*") / "bin/schemathesis"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_answers_are_what_the_document_says(
    schemathesis: Path, start_server: Callable[..., Server], tmp_path: Path
) -> None:
    assert installed() == schemathesis
    [found] = attack(start_server(), tmp_path, Plan("fuzzing"))
    assert not found.told()
    assert not found.given_up
    assert len(found.cases) > 200
    assert found.cases.total() == found.codes.total()


@pytest.mark.parametrize("phase", ["coverage", "fuzzing"])
def test_an_answer_that_does_not_fit_is_noticed(
    schemathesis: Path, start_server: Callable[..., Server], tmp_path: Path, phase: str
) -> None:
    server = start_server()
    document = requests.get(f"{server.http}/openapi.json", timeout=60).json()
    answer = document["paths"]["/v2/status_codes"]["get"]["responses"]["200"]
    answer["content"]["application/json"]["schema"] = {"type": "string"}
    plan = Plan(phase, examples=2, depth=2, only="^ListStatusCodes$")
    found = Pass(server, plan, tmp_path, document, schemathesis).run()
    assert found.cases.keys() == {"GET /v2/status_codes"}
    assert any(what.startswith("GET /v2/status_codes: Response violates schema") for what in found.faults)


def test_what_takes_too_long_is_given_up_and_the_rest_done(tmp_path: Path) -> None:
    program = tmp_path / "stays"
    program.write_text(STAYS)
    program.chmod(0o700)
    server = cast("Server", SimpleNamespace(http="http://localhost", process=SimpleNamespace(poll=lambda: None)))
    document = {"paths": {f"/{name}": {"get": {"operationId": name}} for name in ("first", "stays", "last")}}
    found = Pass(server, Plan("fuzzing", operation_s=4), tmp_path, document, program).run()
    assert found.given_up == ["GET /stays"]
    assert found.seconds == {"GET /first": 1, "GET /last": 1}


def test_messages_that_contain_themselves_are_unfolded_so_far() -> None:
    tree: dict[str, Any] = {"$ref": "#/components/schemas/Tree"}
    document = {
        "paths": {"/trees": {"post": {"operationId": "PostTree", "requestBody": tree, "responses": tree}}},
        "components": {"schemas": {"Tree": {"type": "object", "properties": {"child": tree}}}},
    }
    call = unfolded(document, 2)["paths"]["/trees"]["post"]
    below = {"type": "object", "properties": {"child": {"type": "object"}}}
    assert call["requestBody"] == {"type": "object", "properties": {"child": below}}
    assert call["responses"] == tree
    assert operations(document, "^Post") == ["POST /trees"]
    assert operations(document, "^Get") == []
