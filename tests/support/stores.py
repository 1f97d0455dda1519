"""Stores for the contract suite, and short ways to put things into them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from postil.store.base import (
    AnnotationRecord,
    AppRecord,
    Change,
    ConceptRecord,
    InputRecord,
    NewInput,
    Store,
    Transaction,
    Vectors,
)
from postil.store.sqlite import SqliteStore

# A backend joins the contract suite by a line here: opens, or opens again, the store in a directory.
BACKENDS: dict[str, Callable[[Path], Store]] = {"sqlite": SqliteStore}

SUCCESS, PENDING, IN_PROGRESS, FAILED = 30000, 30001, 30003, 30002


def vector(*numbers: float) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.array([numbers], dtype=np.float32)


def annotation(row: int, annotation_id: str, input_row: int, anchor: int, **changed: Any) -> AnnotationRecord:
    """A trusted annotation by user "me" that says its own id; `changed` overrides."""
    fields: dict[str, Any] = {
        "row": row,
        "id": annotation_id,
        "input": input_row,
        "anchor": anchor,
        "message": annotation_id.encode(),
        "status": 24150,
        "trusted": True,
        "input_level": False,
        "blank": False,
        "user_id": "me",
        "model_version_id": "",
        "workflow_version_id": "",
        "task_id": "",
        "created_us": 1,
        "modified_us": 1,
    }
    return AnnotationRecord(**(fields | changed))


class Filler:
    """Puts apps, inputs, annotations and vectors into a store, an op each."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def app(self, app_id: str = "app", user_id: str = "me") -> int:
        return self.store.write(lambda tx: tx.put_app(user_id, app_id, app_id.encode())).row

    def concept(self, app: int, concept_id: str, name: str = "") -> ConceptRecord:
        return self.store.write(lambda tx: tx.ensure_concepts(app, {concept_id: name}))[concept_id]

    def space(self, app: int, dim: int = 2, space_id: str = "space") -> int:
        return self.store.write(lambda tx: tx.ensure_space(app, space_id, space_id, "client", dim)).row

    def inputs(self, app: int, *ids: str, status: int = SUCCESS, **changed: Any) -> list[InputRecord]:
        """Inputs with their blank input-level annotations (whose ids are the inputs' with "-level")."""

        def op(tx: Transaction) -> None:
            add_inputs(tx, app, ids, status=status, **changed)

        self.store.write(op)
        found = self.store.read().inputs(app, ids)
        return [found[input_id] for input_id in ids]

    def input(self, app: int, input_id: str, status: int = SUCCESS, **changed: Any) -> InputRecord:
        return self.inputs(app, input_id, status=status, **changed)[0]

    def annotation(
        self, app: int, target: InputRecord, annotation_id: str, labels: dict[int, float] | None = None, **changed: Any
    ) -> AnnotationRecord:
        """An annotation of the input, anchored to its input-level one, labelled with concept row -> value."""

        def op(tx: Transaction) -> AnnotationRecord:
            row = tx.reserve_annotations(1)[0]
            times = {"created_us": tx.now_us, "modified_us": tx.now_us}
            record = annotation(row, annotation_id, target.row, target.anchor, **(times | changed))
            tx.add_annotations(app, [record], [(row, concept, value) for concept, value in (labels or {}).items()])
            return record

        return self.store.write(op)

    def vectors(self, app: int, space: int, rows: Sequence[int], matrix: Any) -> Vectors:
        given = Vectors(space, np.array(rows, dtype=np.int64), np.asarray(matrix, dtype=np.float32))
        self.store.write(lambda tx: tx.put_vectors(app, given))
        return given


def add_inputs(
    tx: Transaction, app: int, ids: Sequence[str], *, status: int = SUCCESS, **changed: Any
) -> tuple[range, range]:
    """Adds inputs with their blank input-level annotations; returns both ranges of rows."""
    rows, anchors = tx.reserve_inputs(len(ids)), tx.reserve_annotations(len(ids))
    news, levels = [], []
    for row, anchor, input_id in zip(rows, anchors, ids, strict=True):
        new = NewInput(row, input_id, status, anchor, input_id.encode(), tx.now_us, "", "", ())
        news.append(new._replace(**changed))
        times = {"created_us": tx.now_us, "modified_us": tx.now_us}
        levels.append(annotation(anchor, f"{input_id}-level", row, anchor, input_level=True, blank=True, **times))
    tx.add_inputs(app, news)
    tx.add_annotations(app, levels, [])
    return rows, anchors


def app_named(store: Store, app_id: str = "app", user_id: str = "me") -> AppRecord:
    found = store.read().app(user_id, app_id)
    assert found is not None
    return found


def plain(change: Change) -> tuple[Any, ...]:
    """A change as values that compare."""
    put = tuple((vectors.space, vectors.rows.tolist(), vectors.matrix.tolist()) for vectors in change.put)
    return (change.seq, change.app, change.touched.tolist(), change.gone.tolist(), put, change.spaces_gone)
