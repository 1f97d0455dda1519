"""Fixtures of the tests that go through a real server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.web import WebServer


@pytest.fixture
def web() -> Iterator[WebServer]:
    """A web server to post pictures from."""
    running = WebServer()
    yield running
    running.close()
