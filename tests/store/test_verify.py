"""Damage is found and named: by `verify`, and by whoever reads a damaged vector."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from sqlite_utils import Database

from postil.store.base import Corrupt
from postil.store.layout import DATABASE
from postil.store.migrations import migrations
from postil.store.sqlite import SqliteStore
from postil.store.verify import verify
from support.stores import Filler


@pytest.fixture
def furnished(store: SqliteStore, fill: Filler) -> SqliteStore:
    """App 1 with inputs 1 and 2, their annotations 1 and 2, a labelled annotation 3, vectors and a blob; app 2."""
    app = fill.app()
    a, b = fill.inputs(app, "a", "b", blobs=(store.blobs.put(b"picture"),))
    fill.annotation(app, a, "x", {fill.concept(app, "cat").row: 1.0})
    fill.vectors(app, fill.space(app), [a.anchor, b.anchor], [[1, 0], [0, 1]])
    fill.app("other")
    return store


def test_a_sound_store_has_nothing_to_report(furnished: SqliteStore, data_dir: Path) -> None:
    assert list(verify(data_dir)) == []  # beside the open store
    furnished.close()
    assert list(verify(data_dir)) == []


@pytest.mark.parametrize(
    ("statement", "finding"),
    [
        ("DELETE FROM apps WHERE id = 'app'", "Input 1 belongs to app 1, which does not exist."),
        ("UPDATE concepts SET app = 7", "Concept 1 belongs to app 7, which does not exist."),
        ("UPDATE spaces SET app = 7", "Space 1 belongs to app 7, which does not exist."),
        ("DELETE FROM inputs WHERE row = 1", "Annotation 3 belongs to input 1, which its app does not have."),
        (
            "UPDATE annotations SET app = 2 WHERE row = 3",
            "Annotation 3 belongs to input 1, which its app does not have.",
        ),
        (
            "UPDATE annotations SET anchor = 2 WHERE row = 3",
            "Annotation 3 is anchored to annotation 2, which its input does not have.",
        ),
        (
            "UPDATE annotations SET anchor = 3 WHERE row = 3",
            "The label of concept 1 on annotation 3 has another anchor than the annotation.",
        ),
        (
            "UPDATE inputs SET anchor = 3 WHERE row = 1",
            "Input 1 names annotation 3 as its input-level one, which it is not.",
        ),
        ("DELETE FROM annotations WHERE row = 3", "A label of concept 1 is on annotation 3, which does not exist."),
        (
            "UPDATE concepts SET app = 2",
            "Annotation 3 is labelled with concept 1, which its app does not have.",
        ),
        ("DELETE FROM spaces", "The vector of annotation 1 in space 1 is of a space that does not exist."),
        (
            "UPDATE vectors SET key = (1 << 32) + 9 WHERE key = (1 << 32) + 2",
            "The vector of annotation 9 in space 1 is of an annotation that the space's app does not have.",
        ),
        (
            "UPDATE vectors SET data = x'00000000' WHERE key = (1 << 32) + 2",
            "The vector of annotation 2 in space 1 has 4 bytes instead of 8.",
        ),
        (
            "UPDATE vectors SET data = x'0000803f00000001' WHERE key = (1 << 32) + 2",
            "The vector of annotation 2 in space 1 fails its checksum.",
        ),
        ("UPDATE counters SET inputs = 1", "Row 2 of inputs was never given out (the last was 1)."),
        (
            "DELETE FROM changes WHERE seq = 2",
            "The change feed has gaps: 2 changes between 1 and 3, the newest committed being 3.",
        ),
    ],
)
def test_rows_that_contradict_each_other_are_named(
    furnished: SqliteStore, data_dir: Path, tamper: Callable[..., None], statement: str, finding: str
) -> None:
    furnished.close()
    tamper(statement)
    assert finding in list(verify(data_dir))


@pytest.mark.parametrize("step", [step.name for step in migrations._migrations])
def test_a_schema_whose_upgrade_was_cut_off_is_no_damage(tmp_path: Path, step: str) -> None:
    with closing(sqlite3.connect(tmp_path / DATABASE, isolation_level=None)) as connection:
        migrations.apply(Database(connection), stop_before=step)
    assert list(verify(tmp_path)) == []


def test_a_lost_or_changed_blob_is_named(furnished: SqliteStore, data_dir: Path) -> None:
    (digest,) = furnished.blobs.digests()
    path = furnished.blobs.path(digest)
    assert path is not None
    path.write_bytes(b"pictura")
    assert list(verify(data_dir)) == [f"Blob {digest} has other content than it was put with; input 1 refers to it."]
    path.unlink()
    assert list(verify(data_dir)) == [f"Blob {digest} is missing; input 1 refers to it."]


def test_damaged_pages_are_found(furnished: SqliteStore, data_dir: Path) -> None:
    furnished.close()
    path = data_dir / DATABASE
    content = bytearray(path.read_bytes())
    content[8192 * 5 : 8192 * 25] = bytes(8192 * 20)
    path.write_bytes(content)
    assert any(finding.startswith(("Database: ", "The database cannot be read")) for finding in verify(data_dir))


def test_no_database_is_a_finding(tmp_path: Path) -> None:
    assert list(verify(tmp_path)) == [f"There is no database at {tmp_path / DATABASE}."]


@pytest.mark.parametrize("data", ["x'0000803f00000001'", "x'0000803f'", "x''"])
def test_a_damaged_vector_is_never_read(furnished: SqliteStore, tamper: Callable[..., None], data: str) -> None:
    tamper(f"UPDATE vectors SET data = {data} WHERE key = (1 << 32) + 2")  # noqa: S608 - constants from above
    queries = furnished.read()
    for read in (
        lambda: queries.vectors(1, [1, 2]),
        lambda: queries.vectors_of_input(1, 2),
        lambda: queries.scan_vectors(1, 0, 10),
        lambda: list(furnished.changes(0)),
    ):
        with pytest.raises(Corrupt, match="annotation row 2 in space 1"):
            read()
    assert queries.vectors(1, [1]).matrix.tolist() == [[1, 0]]


@pytest.mark.parametrize("table", ["inputs", "annotations", "concepts"])
def test_a_flipped_bit_in_a_message_is_noticed(furnished: SqliteStore, data_dir: Path, table: str) -> None:
    """By verify, and by the look that an unexpected error brings about; from then on nothing is written."""
    furnished.write(lambda tx: tx.replace_messages({3: b"message of annotation"}))
    row = 3 if table == "annotations" else 1
    with closing(sqlite3.connect(data_dir / DATABASE)) as connection:
        Database(connection).table(table).update(row, {"message": b"message of annotatioN"})
        connection.commit()
    finding = f"The message of row {row} of {table} fails its checksum."
    assert finding in list(verify(data_dir))
    error = TypeError("a row of another kind")
    while not isinstance(found := furnished.health.look(error), Corrupt):  # a busy machine may not be through at once
        assert found is error
    assert furnished.health.damage == finding
    with pytest.raises(Corrupt, match="Nothing is written"):
        furnished.write(lambda tx: tx.put_setting("a", "b"))


def test_an_unexpected_error_of_a_sound_database_stays_what_it_is(furnished: SqliteStore) -> None:
    error = TypeError("ours")
    assert furnished.health.look(error) is error
    assert furnished.health.look(error) is error
