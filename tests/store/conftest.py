"""A SQLite store in a directory of the test's own, and a way to look into its file."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from postil.store import seals
from postil.store.layout import DATABASE
from postil.store.sqlite import SqliteStore
from support.stores import Filler


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def store(data_dir: Path) -> Iterator[SqliteStore]:
    with SqliteStore(data_dir) as opened:
        yield opened


@pytest.fixture
def fill(store: SqliteStore) -> Filler:
    return Filler(store)


@pytest.fixture
def tamper(data_dir: Path) -> Callable[..., None]:
    """Runs statements on the database file behind the store's back."""

    def run(*statements: str) -> None:
        with closing(sqlite3.connect(data_dir / DATABASE, isolation_level=None)) as connection:
            seals.register(connection)
            for statement in statements:
                connection.execute(statement)

    return run
