"""schemathesis takes the OpenAPI document at its word: every operation, random data, answers as it has them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from support.external import published_client
from support.server import Server

EXAMPLES = os.environ.get("POSTIL_EXAMPLES", "1")  # of each operation
CHECKS = "not_a_server_error,response_schema_conformance,content_type_conformance"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_answers_are_what_the_document_says(start_server: Callable[..., Server], tmp_path: Path) -> None:
    program = published_client("venvs/schemathesis-*") / "bin/schemathesis"
    server = start_server()
    command = [
        *(str(program), "run", f"{server.http}/openapi.json", "--checks", CHECKS, "--phases", "fuzzing"),
        *("--max-examples", EXAMPLES, "--workers", "2", "--warnings", "off", "--no-color", "--seed", "2026"),
        *("--suppress-health-check", "all", "--generation-database", "none"),
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=840, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "No issues found" in done.stdout
