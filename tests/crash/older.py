"""Puts a data directory back to the schema of an earlier release, rows and all: what an upgrade starts from."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from sqlite_utils import Database

from postil.store.migrations import migrations

DATABASE = "postil.sqlite3"

Shape = tuple[str, tuple[str, ...]]  # type, and the columns of a table or the SQL of an index


def steps() -> list[str]:
    """Names of all steps, oldest first."""
    with closing(sqlite3.connect(":memory:")) as connection:
        return [step.name for step in migrations.pending(Database(connection))]


def shapes(connection: sqlite3.Connection) -> dict[str, Shape]:
    """What the schema consists of, by name."""
    query = "SELECT name, type, sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'"
    return {
        name: (kind, _columns(connection, name) if kind == "table" else (sql,))
        for name, kind, sql in connection.execute(query).fetchall()
    }


def _columns(connection: sqlite3.Connection, table: str) -> tuple[str, ...]:
    return tuple(name for (name,) in connection.execute("SELECT name FROM pragma_table_info(?)", (table,)))


def schema_before(step: str) -> dict[str, Shape]:
    """The schema as it was before a step."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        migrations.apply(Database(connection), stop_before=step)
        return shapes(connection)


def reachable(data_dir: Path) -> list[str]:
    """Steps that can be taken back by dropping the tables, indexes and columns they added, newest first."""
    found = []
    with closing(sqlite3.connect(data_dir / DATABASE)) as connection:
        now = shapes(connection)
    for step in reversed(steps()):
        before = schema_before(step)
        if not all(name in now and _grown(shape, now[name]) for name, shape in before.items()):
            break
        found.append(step)
    return found


def _grown(before: Shape, now: Shape) -> bool:
    """Whether columns were added at most."""
    return before == now or (before[0] == now[0] == "table" and now[1][: len(before[1])] == before[1])


def put_back(data_dir: Path, step: str) -> None:
    """Drops what this step and those after it added, and forgets that they ran. The directory must be at rest."""
    names = steps()
    undone = names[names.index(step) :]
    before = schema_before(step)
    with closing(sqlite3.connect(data_dir / DATABASE, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        for name, (kind, _) in sorted(shapes(connection).items(), key=lambda item: item[1][0], reverse=True):
            if name not in before and kind in {"trigger", "table"}:  # in this order: a table takes its triggers along
                connection.execute(f'DROP {kind} "{name}"')
        for name, (kind, parts) in shapes(connection).items():
            if name not in before and kind == "index":
                connection.execute(f'DROP INDEX "{name}"')
            for column in parts[len(before[name][1]) :] if kind == "table" else ():
                connection.execute(f'ALTER TABLE "{name}" DROP COLUMN "{column}"')
        connection.executemany("DELETE FROM _sqlite_migrations WHERE name = ?", [(name,) for name in undone])
        connection.execute("COMMIT")
