"""One server that asks for keys, and the two users whose walls are tried."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.keys import created
from support.server import Server
from support.walls import World


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("walls")
    (folder / "data").mkdir()
    ann, bob = (created(folder / "data", "--user", user) for user in ("ann", "bob"))
    server = Server(folder)
    yield World(server, ann, bob)
    code = server.stop()
    assert code == 0, server.tail()
