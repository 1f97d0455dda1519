"""Database pages: each case damages a copy of a database and looks who notices, and that nothing else comes of it.

An outcome is one of: *refused* (the server does not start, and says why), *found* (SQLite's check of the pages, which
every server runs after it starts; from then on it writes nothing), *verify* (only `postil verify` finds it), *read*
(a read met it), *same* (every row reads as before), *silent* (a row reads differently and nobody can tell).
"""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from damage.harm import BLOCK
from postil.store.base import Corrupt, TooOld, WriteFailed
from postil.store.damage import Broken
from postil.store.layout import DATABASE
from postil.store.sql import PAGE_BYTES
from postil.store.sqlite import SqliteStore
from postil.store.verify import verify
from support.stores import Filler

_ALLOWED = (Corrupt, WriteFailed)
_GARBLED = (TooOld, ValueError, TypeError, LookupError, OverflowError)


class Pages:
    """A sound data directory, to be damaged as often as one likes.

    Args:
        folder: An empty folder.
    """

    def __init__(self, folder: Path) -> None:
        self._good, self._path = folder / "good", folder / "data"
        furnish(self._good)
        self._truth = dump(self._good / DATABASE)
        self._size = (self._good / DATABASE).stat().st_size
        self.counts: Counter[str] = Counter()

    def case(self, seed: int) -> str:
        """Runs one case; its outcome. Raises AssertionError on an error that no caller should see."""
        rng = random.Random(seed)
        shutil.rmtree(self._path, ignore_errors=True)
        shutil.copytree(self._good, self._path)
        harm = rng.choice(HARMS)
        content = bytearray((self._path / DATABASE).read_bytes())
        harm(content, rng)
        (self._path / DATABASE).write_bytes(content)
        try:
            outcome = self._outcome()
        except BaseException as error:
            error.add_note(f"case {seed}: {harm.__name__}")
            raise
        self.counts[outcome] += 1
        self.counts[f"{harm.__name__} {outcome}"] += 1
        return outcome

    def _outcome(self) -> str:
        try:
            store = SqliteStore(self._path)
        except _ALLOWED as error:
            return "refused" if "postil restore" in str(error) else f"refused without a remedy: {error}"
        with closing(store):
            met = _walk(store)
            checker = store.checker(lambda: None, lambda: None)
            checker.start()
            checker.wait()
            if store.health.damage:
                _refuses_writes(store)
                return "found"
        if list(verify(self._path)):
            return "verify"
        if met:
            return "read"
        return "same" if dump(self._path / DATABASE) == self._truth else "silent"


def _walk(store: SqliteStore) -> bool:
    """Reads what a server reads; whether it met damage. Anything but the contract's errors is raised."""
    met = False
    for read in (
        lambda: store.read().list_inputs(1, [], [], 0, 1000),
        lambda: store.read().scan_facts(0, 1000),
        lambda: [store.read().scan_vectors(space.row, 0, 1000) for space in store.read().all_spaces()],
        lambda: store.read().list_concepts(1, "", 0, 1000),
        lambda: list(store.changes(0)),
        lambda: store.read().hits(list(range(1, 200))),
    ):
        try:
            read()
        except Exception as error:
            # A number or a text that the row cannot hold is met, though SQLite does not name it.
            if not isinstance(store.health.explain(error), (*_ALLOWED, *_GARBLED)):
                raise
            met = True
    return met


def _refuses_writes(store: SqliteStore) -> None:
    with pytest.raises(Broken, match="postil restore"):
        store.write(lambda tx: tx.put_setting("x", "y"))


def furnish(path: Path) -> None:
    """A few hundred rows of every common kind, folded into the database file."""
    with SqliteStore(path) as store:
        fill = Filler(store)
        app = fill.app()
        concepts = [fill.concept(app, f"concept-{n}", f"Concept {n}").row for n in range(20)]
        inputs = fill.inputs(app, *(f"input-{n}" for n in range(150)), message=b"an input " * 20)
        for n, record in enumerate(inputs[:60]):
            fill.annotation(app, record, f"note-{n}", {concepts[n % 20]: 1.0}, message=b"a note " * 30)
        rng = np.random.default_rng(5)
        anchors = [record.anchor for record in inputs]
        fill.vectors(app, fill.space(app, 128), anchors, rng.standard_normal((len(anchors), 128)))


def dump(database: Path) -> dict[str, list[Any]]:
    """Every row of every table."""
    with closing(sqlite3.connect(database)) as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        return {name: connection.execute(f'SELECT * FROM "{name}"').fetchall() for name in sorted(names)}  # noqa: S608


def _page(content: bytearray, rng: random.Random) -> slice:
    start = rng.randrange(len(content) // PAGE_BYTES) * PAGE_BYTES
    return slice(start, start + PAGE_BYTES)


def zero_page(content: bytearray, rng: random.Random) -> None:
    content[_page(content, rng)] = bytes(PAGE_BYTES)


def garbage_page(content: bytearray, rng: random.Random) -> None:
    content[_page(content, rng)] = rng.randbytes(PAGE_BYTES)


def swap_pages(content: bytearray, rng: random.Random) -> None:
    one, other = _page(content, rng), _page(content, rng)
    content[one], content[other] = content[other], content[one]


def misplace_page(content: bytearray, rng: random.Random) -> None:
    """Written to the place of another."""
    content[_page(content, rng)] = content[_page(content, rng)]


def half_page(content: bytearray, rng: random.Random) -> None:
    """A torn write: the second half of a page is of another time."""
    page = _page(content, rng)
    content[page.start + BLOCK : page.stop] = bytes(BLOCK)


def flip_bit(content: bytearray, rng: random.Random) -> None:
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)


def flip_bytes(content: bytearray, rng: random.Random) -> None:
    page = _page(content, rng)
    for _ in range(rng.randint(1, 50)):
        content[rng.randrange(page.start, page.stop)] ^= rng.randint(1, 255)


def cut(content: bytearray, rng: random.Random) -> None:
    del content[rng.randrange(len(content)) :]


HARMS = (zero_page, garbage_page, swap_pages, misplace_page, half_page, flip_bit, flip_bytes, cut)
