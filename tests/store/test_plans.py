"""Reads and writes of a few rows cost the same in a large app as in a small one.

SQLite's planner may walk all of an app where an index would do. The steps of its virtual machine show that.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from postil.store.base import (
    AnnotationListing,
    ConceptName,
    InputRecord,
    KeptSearch,
    Queries,
    RelationRecord,
    Transaction,
    Vectors,
)
from postil.store.sqlite import SqliteStore
from support.stores import PENDING, SUCCESS, Filler, add_inputs, annotation, vector

INPUTS = 4000
BATCH = 100  # those of one op have one time, and are sorted by id when listed
FEW_STEPS = 4000  # of the virtual machine; a walk over the app takes more than 2 per row and index entry


class _World:
    """A large app, with one blank annotation and one vector per input."""

    def __init__(self, store: SqliteStore) -> None:
        fill = Filler(store)
        self.store = store
        self.app = fill.app()
        self.space = fill.space(self.app)
        self.cat = fill.concept(self.app, "cat").row
        inputs = []
        for start in range(0, INPUTS, BATCH):
            inputs += fill.inputs(self.app, *(f"i{number}" for number in range(start, start + BATCH)))
        fill.vectors(self.app, self.space, [record.anchor for record in inputs], np.ones((INPUTS, 2)))
        self.input: InputRecord = inputs[INPUTS // 2]
        self.annotation = fill.annotation(self.app, self.input, "x", {self.cat: 1.0})
        self.words = fill.app("words")
        self.fox = self._keep(store)
        fill.input(self.app, "last", status=PENDING, url="u", blobs=("d" * 64,))

    def _keep(self, store: SqliteStore) -> int:
        """Many of everything that hangs on concepts and apps; gives the row of a concept."""

        def op(tx: Transaction) -> int:
            ids = [f"c{number}" for number in range(INPUTS)]
            rows = [record.row for record in tx.ensure_concepts(self.words, dict.fromkeys(ids, "")).values()]
            for row in rows:
                tx.put_concept_name(self.words, ConceptName(row, "ja", f"名{row}", ""))
                tx.add_relation(self.words, RelationRecord(0, f"r{row}", row, "hyponym", rows[0], "", b""))
                tx.add_named(self.words, "search", f"s{row}", "", b"")
            searches = [
                KeptSearch(self.words, f"s{n}", n, 0, "PostSearches", b"", 1, 10, "", ()) for n in range(INPUTS)
            ]
            tx.keep_searches(searches)
            return rows[7]

        return store.write(op)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with SqliteStore(tmp_path_factory.mktemp("plans")) as store:
        yield _World(store)


def _steps(connection: sqlite3.Connection, run: Callable[[], object]) -> int:
    """How many steps, to the hundred, the virtual machine took."""
    count = 0

    def tick() -> int:
        nonlocal count
        count += 100
        return 0

    connection.set_progress_handler(tick, 100)
    try:
        run()
    finally:
        connection.set_progress_handler(None, 0)
    return count


_READS: dict[str, Callable[[_World, Queries], object]] = {
    "input": lambda w, q: q.input(w.app, "i7"),
    "inputs": lambda w, q: q.inputs(w.app, ["i7", "i8", "i9"]),
    "inputs_by_row": lambda w, q: q.inputs_by_row([w.input.row]),
    "inputs_by_url": lambda w, q: q.inputs_by_url(w.app, ["u", "v"]),
    "anchors_by_url": lambda w, q: q.anchors_by_url(w.app, "u"),
    "list_inputs": lambda w, q: q.list_inputs(w.app, [], [], 0, 20),
    "list_inputs by id": lambda w, q: q.list_inputs(w.app, ["i7", "i8"], [], 0, 20),
    "list_inputs by id and status": lambda w, q: q.list_inputs(w.app, ["i7", "i8"], [SUCCESS], 0, 20),
    "list_inputs by rare status": lambda w, q: q.list_inputs(w.app, [], [PENDING], 0, 20),
    "stream by id": lambda w, q: q.stream_inputs(w.app, "i2000", by_id=True, descending=True, limit=20),
    "pending": lambda _, q: q.pending_inputs(0, 20, 20),
    "pending_of_job": lambda w, q: q.pending_of_job(w.app, "j"),
    "hosted": lambda _, q: q.hosted_inputs(0, 20),
    "blob_used": lambda w, q: q.blob_used("d" * 64, w.app),
    "annotation": lambda w, q: q.annotation(w.app, "i7", "x"),
    "annotations": lambda w, q: q.annotations(w.app, [("i7", "x"), ("i8", "y")]),
    "annotations_by_row": lambda w, q: q.annotations_by_row([w.annotation.row]),
    "annotations_of_inputs": lambda w, q: q.annotations_of_inputs([w.input.row]),
    "list_annotations": lambda w, q: q.list_annotations(w.app, AnnotationListing(), 0, 20),
    "list_annotations of inputs": lambda w, q: q.list_annotations(
        w.app, AnnotationListing(input_ids=("i7",), blanks=True), 0, 20
    ),
    "workers": lambda w, q: q.annotation_workers(w.app, trusted_only=True),
    "concepts": lambda w, q: q.concepts(w.app, ["cat", "dog"]),
    "tally": lambda w, q: q.tally_concepts(w.app, 0, 20),
    "labelled": lambda w, q: q.labelled(w.app, w.cat),
    "vectors": lambda w, q: q.vectors(w.space, [w.input.anchor]),
    "vectors_of_input": lambda w, q: q.vectors_of_input(w.space, w.input.row),
    "scan": lambda w, q: q.scan_vectors(w.space, 1000, 20),
    "concepts_by_row": lambda w, q: q.concepts_by_row([w.fox]),
    "concepts_named_in": lambda w, q: q.concepts_named_in(w.words, "ja", "猫"),
    "hyponyms": lambda w, q: q.hyponyms(w.words, [w.fox], 100),
    "relations_of": lambda w, q: q.relations_of(w.words, w.fox, [("hyponym", True), ("hyponym", False)], "", 0, 20),
    "list_named": lambda w, q: q.list_named(w.words, "search", 0, 20),
    "kept_search": lambda w, q: q.kept_search(w.words, "s7"),
    "hits": lambda w, q: q.hits([w.input.anchor, w.input.anchor + 1]),
    "anchors_alone": lambda w, q: q.hits([w.input.anchor, w.input.anchor + 1], alone=True),
}


@pytest.mark.parametrize("name", _READS)
def test_a_read_of_few_rows_takes_few_steps(world: _World, name: str) -> None:
    reader = world.store._readers.get()
    assert _steps(reader._connection, lambda: _READS[name](world, reader)) < FEW_STEPS


def _add_annotation(w: _World, tx: Transaction) -> None:
    row = tx.reserve_annotations(1)[0]
    tx.add_annotations(w.app, [annotation(row, "new", w.input.row, w.input.anchor)], [(row, w.cat, 1.0)])


_WRITES: dict[str, Callable[[_World, Transaction], object]] = {
    "add_inputs": lambda w, tx: add_inputs(tx, w.app, ["new"]),
    "add_annotations": _add_annotation,
    "update_input": lambda w, tx: tx.update_input(w.input.row, b"", status=PENDING),
    "update_annotation": lambda w, tx: tx.update_annotation(w.annotation, [(w.cat, 0.0)]),
    "put_vectors": lambda w, tx: tx.put_vectors(w.app, Vectors(w.space, np.array([w.input.anchor]), vector(0, 1))),
    "delete_vectors": lambda w, tx: tx.delete_vectors(w.app, [w.input.anchor]),
    "delete_annotations": lambda w, tx: tx.delete_annotations(w.app, [w.annotation.row]),
    "add_relation": lambda w, tx: tx.add_relation(
        w.words, RelationRecord(0, "new", w.fox, "synonym", w.fox + 1, "", b"")
    ),
    "delete_named": lambda w, tx: tx.delete_named(w.words, "search", ["s7"]),
    "forget_searches": lambda _, tx: tx.forget_searches(INPUTS, 20),
    "delete_inputs": lambda w, tx: tx.delete_inputs(w.app, [w.input.row]),
}


@pytest.mark.parametrize("name", _WRITES)
def test_a_write_of_few_rows_takes_few_steps(world: _World, name: str) -> None:
    taken: list[int] = []

    def op(tx: Transaction) -> None:
        connection: sqlite3.Connection = tx._connection  # type: ignore[attr-defined]
        taken.append(_steps(connection, lambda: _WRITES[name](world, tx)))
        raise LookupError  # leave the world as it was

    with pytest.raises(LookupError):
        world.store.write(op)
    assert taken[0] < FEW_STEPS


def test_counting_steps_notices_a_walk(world: _World) -> None:
    reader = world.store._readers.get()
    walk = "SELECT sum(length(id)) FROM inputs WHERE app = ?"
    assert _steps(reader._connection, lambda: reader._connection.execute(walk, (world.app,)).fetchall()) > FEW_STEPS
