"""Puts a data directory back to the schema of an earlier release, rows and all: what an upgrade starts from."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from sqlite_utils import Database

from postil.store.migrations import migrations

DATABASE = "postil.sqlite3"

Objects = dict[str, tuple[str, str]]  # name -> (type, sql)


def steps() -> list[str]:
    """Names of all steps, oldest first."""
    with closing(sqlite3.connect(":memory:")) as connection:
        return [step.name for step in migrations.pending(Database(connection))]


def objects(connection: sqlite3.Connection) -> Objects:
    """What the schema consists of."""
    query = "SELECT name, type, sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'"
    return {name: (kind, sql) for name, kind, sql in connection.execute(query)}


def schema_before(step: str) -> Objects:
    """The schema as it was before a step."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        migrations.apply(Database(connection), stop_before=step)
        return objects(connection)


def reachable(data_dir: Path) -> list[str]:
    """Steps that can be taken back by dropping what they added, newest first."""
    found = []
    with closing(sqlite3.connect(data_dir / DATABASE)) as connection:
        now = objects(connection)
    for step in reversed(steps()):
        before = schema_before(step)
        if any(now.get(name) != thing for name, thing in before.items()):
            break
        found.append(step)
    return found


def put_back(data_dir: Path, step: str) -> None:
    """Drops what this step and those after it added, and forgets that they ran. The directory must be at rest."""
    names = steps()
    undone = names[names.index(step) :]
    before = schema_before(step)
    with closing(sqlite3.connect(data_dir / DATABASE, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        for name, (kind, _) in objects(connection).items():
            if name not in before and kind == "table":
                connection.execute(f'DROP TABLE IF EXISTS "{name}"')
        for name, (kind, _) in objects(connection).items():
            if name not in before and kind == "index":
                connection.execute(f'DROP INDEX "{name}"')
        connection.executemany("DELETE FROM _sqlite_migrations WHERE name = ?", [(name,) for name in undone])
        connection.execute("COMMIT")
