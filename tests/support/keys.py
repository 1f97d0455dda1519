"""Keys for tests: made by the command beside the server, or by a token that may make them."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from postil.v1.app_pb2 import App
from postil.v1.common_pb2 import UserAppIDSet
from postil.v1.key_pb2 import Key
from postil.v1.key_service_pb2 import PostKeysRequest
from support.server import OWN, Server, clean_environment, command

Metadata = tuple[tuple[str, str], ...]


def run(data_dir: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`postil keys ARGUMENTS` on a data directory."""
    line = command("keys", arguments[0], "--data-dir", str(data_dir), *arguments[1:])
    return subprocess.run(line, check=False, capture_output=True, text=True, timeout=60, env=clean_environment())


def created(data_dir: Path, *options: str) -> str:
    """The token of a key that the command made."""
    done = run(data_dir, "create", *options)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def shows(token: str) -> Metadata:
    """The metadata that carries a token."""
    return (("authorization", f"Key {token}"),)


def posted(server: Server, token: str, app: str = "", **fields: Any) -> Key:
    """A key that PostKeys made, with its token; scopes are All unless they are given."""
    key = Key(**{"scopes": ["All"], **fields}, apps=[App(id=app)] if app else [])
    request = PostKeysRequest(user_app_id=UserAppIDSet(user_id="me"), keys=[key])
    answer = server.call(OWN, "PostKeys", request, metadata=shows(token))
    assert answer.status.code == 10000, answer
    made: Key = answer.keys[0]
    return made
