"""The store fixtures of the contract suite: each test runs on every backend."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from postil.store.base import Store
from support.stores import BACKENDS, Filler


@pytest.fixture(params=sorted(BACKENDS))
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Store]]:
    """Opens the store of this test; called again, closes it and opens it anew on the same files."""
    opened: list[Store] = []

    def open_or_reopen() -> Store:
        for store in opened:
            store.close()
        opened[:] = [BACKENDS[request.param](tmp_path / "data")]
        return opened[0]

    yield open_or_reopen
    for store in opened:
        store.close()


@pytest.fixture
def store(open_store: Callable[[], Store]) -> Store:
    return open_store()


@pytest.fixture
def fill(store: Store) -> Filler:
    return Filler(store)
