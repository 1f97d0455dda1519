"""A concept's new name, carried into every stored message that shows the old one.

Annotations and inputs are answered as the bytes that are stored, so the name in them must be right. A rename begins in
the op that gives the concept its name, and goes on in ops of a bounded size, so that other writers get their turn.
Whoever renames is answered when all of it is done; a row says how far it came, and after a crash the next start ends it
before it takes calls. What is labelled meanwhile has the new name from the start.
"""

from __future__ import annotations

from collections.abc import Sequence

from postil.core.labels import concepts_in
from postil.store.base import ConceptRecord, Store, Transaction
from postil.v1.annotation_pb2 import Annotation
from postil.v1.data_pb2 import Data
from postil.v1.input_pb2 import Input

PIECE = 200  # annotations of one op: some 20 ms
_AT_ONCE = 32  # concepts of one op


def begin(tx: Transaction, app: int, concept: ConceptRecord) -> None:
    """Says that the labels of a concept need its name."""
    tx.put_rename(app, concept.row, 0)


def step(tx: Transaction) -> bool:
    """Carries names into the next annotations and their inputs; whether any are left."""
    room = PIECE
    for rename in tx.renames(_AT_ONCE):
        concept = tx.concepts_by_row([rename.concept])[rename.concept]
        rows = [row for row, _, _ in tx.labelled(rename.app, concept.row, rename.done, room)]
        _rewrite(tx, rows, concept)
        if len(rows) == room:
            tx.put_rename(rename.app, concept.row, rows[-1])
            return True
        room -= len(rows)
        tx.drop_rename(concept.row)
    return bool(tx.renames(1))


def finish(store: Store) -> None:
    """Goes on until no rename is left."""
    while store.read().renames(1):
        store.write(step)


def _rewrite(tx: Transaction, rows: Sequence[int], concept: ConceptRecord) -> None:
    records = tx.annotations_by_row(rows)
    changed = {}
    for row, record in records.items():
        message = Annotation.FromString(record.message)
        if _rename(message.data, concept):
            changed[row] = message.SerializeToString()
    tx.replace_messages(changed)
    # Only what an input-level annotation says shows in the input itself.
    for row, shown in tx.inputs_by_row([record.input for record in records.values() if record.input_level]).items():
        whole = Input.FromString(shown.message)
        if _rename(whole.data, concept):
            tx.replace_input(row, whole.SerializeToString())


def _rename(data: Data, concept: ConceptRecord) -> bool:
    found = [one for one in concepts_in(data) if one.id == concept.id and one.name != concept.name]
    for one in found:
        one.name = concept.name
    return bool(found)
