"""Writing vectors into their spaces: a space is created on first use, and its dimension is fixed then."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from postil.core.vectors import SpaceVector
from postil.store.base import SpaceRecord, Transaction, Vectors


class Spaces:
    """The spaces that one op writes to, looked up or created once."""

    def __init__(self, tx: Transaction, app: int) -> None:
        self._tx = tx
        self._app = app
        self._known: dict[str, SpaceRecord] = {}
        self._rows: dict[int, list[int]] = {}
        self._vectors: dict[int, list[np.ndarray]] = {}

    def problem(self, vectors: Iterable[SpaceVector]) -> str:
        """Why these vectors of one item cannot be kept, or "". Creates their spaces."""
        for wanted in vectors:
            space = self._space(wanted)
            if space.kind != wanted.kind:
                return (
                    f"the space {wanted.space!r} belongs to a {space.kind} embedder; "
                    "name a space of your own in embeddings[].space"
                )
            if space.dim != len(wanted.vector):
                return (
                    f"its vector has {len(wanted.vector)} numbers but the space {wanted.space!r} has {space.dim}; "
                    "send that many, or name another space in embeddings[].space"
                )
        return ""

    def add(self, row: int, vectors: Iterable[SpaceVector]) -> None:
        """Notes an annotation row's vectors, to be written together."""
        for vector in vectors:
            space = self._space(vector).row
            self._rows.setdefault(space, []).append(row)
            self._vectors.setdefault(space, []).append(vector.vector)

    def write(self) -> None:
        """Puts what was noted."""
        for space, rows in self._rows.items():
            matrix = np.ascontiguousarray(np.stack(self._vectors[space]), dtype=np.float32)
            self._tx.put_vectors(self._app, Vectors(space, np.array(rows, dtype=np.int64), matrix))

    def _space(self, wanted: SpaceVector) -> SpaceRecord:
        space = self._known.get(wanted.space)
        if space is None:
            space = self._tx.ensure_space(self._app, wanted.space, wanted.name, wanted.kind, len(wanted.vector))
            self._known[wanted.space] = space
        return space
