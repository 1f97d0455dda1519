"""The change feed: what an op touched, gathered while it runs, written with it, and read back for catch-up.

Sequence numbers have no gaps: one that is missing was trimmed.
"""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from postil.store import seals
from postil.store.base import AnnotationFact, Change, Facts, InputFact, Queries, Rows, TooOld, Vectors
from postil.store.sql import insert_rows

ChangeRow = tuple[int, int, bytes, bytes, bytes, bytes]  # seq, app, touched, gone, put, spaces_gone
CHUNK_CHANGES = 256  # changes read at a time; their vectors are read one change at a time
_HEAD = struct.Struct("<II")  # space, number of rows


class Effects:
    """What one op did to one app's annotations and vectors: the net effect, whatever the order of its writes."""

    def __init__(self) -> None:
        self.touched: list[int] = []
        self.put: list[Vectors] = []
        self.spaces_gone: list[int] = []
        self.annotations: dict[int, AnnotationFact] = {}
        self.inputs: dict[int, InputFact] = {}
        self.noted = False  # something else of the app changed, so that what is derived from it must be looked at anew
        self._deleted: list[int] = []
        self._stripped: list[int] = []

    def delete(self, rows: list[int]) -> None:
        """These annotations and their vectors are gone."""
        self._deleted += rows
        self._forget_put(rows)

    def strip(self, rows: list[int]) -> None:
        """These annotations stay, their vectors so far are gone."""
        self._stripped += rows
        self._forget_put(rows)

    def _forget_put(self, rows: list[int]) -> None:
        if self.put:
            gone = set(rows)
            self.put = [rest for rest in (_without(vectors, gone) for vectors in self.put) if rest is not None]

    def change(self, seq: int, app: int) -> Change:
        """All of it, rows ascending and without repeats."""
        touched, gone = {*self.touched, *self._stripped}.difference(self._deleted), {*self._deleted, *self._stripped}
        return Change(seq, app, _rows(touched), _rows(gone), tuple(self.put), tuple(self.spaces_gone), self._facts())

    def _facts(self) -> Facts:
        deleted = set(self._deleted)
        return Facts(
            tuple(self.annotations[row] for row in sorted(self.annotations) if row not in deleted),
            tuple(fact for _, fact in sorted(self.inputs.items()) if fact.anchor not in deleted),
        )


def _rows(rows: set[int]) -> Rows:
    return np.array(sorted(rows), dtype=np.int64)


def _without(vectors: Vectors, gone: set[int]) -> Vectors | None:
    keep = np.array([row not in gone for row in vectors.rows.tolist()], dtype=bool)
    if keep.all():
        return vectors
    return Vectors(vectors.space, vectors.rows[keep], vectors.matrix[keep]) if keep.any() else None


def write_changes(connection: sqlite3.Connection, changes: Sequence[Change]) -> None:
    """Inserts the changes' rows: who was touched, not the vectors themselves."""
    insert_rows(connection, seals.insertion("changes"), seals.sealed(_row(change) for change in changes))


def _row(change: Change) -> ChangeRow:
    put = b"".join(_HEAD.pack(vectors.space, len(vectors.rows)) + _packed(vectors.rows) for vectors in change.put)
    gone = np.array(change.spaces_gone, dtype=np.int64)
    return change.seq, change.app, _packed(change.touched), _packed(change.gone), put, _packed(gone)


def replay(
    since: int,
    committed: int,
    fetch: Callable[[int], list[ChangeRow]],
    queries: Callable[[], Queries],
) -> Iterator[Change]:
    """The changes after `since`, the last of them at least `committed`, in order.

    Args:
        since: The newest sequence number that the caller has.
        committed: The newest sequence number there is: to notice that `since` lies beyond it.
        fetch: Up to CHUNK_CHANGES rows of `changes` after a sequence number, in order.
        queries: Where to read the vectors; asked for each change, on the thread that iterates.
    """
    if since > committed:
        raise TooOld(f"Change {since} was never committed here (the newest is {committed}).")
    last = since
    while True:
        rows = fetch(last)
        if not rows and last < committed:
            raise TooOld(f"Changes after {last} were trimmed.")
        if not rows:
            return
        for seq, app, touched, gone, put, spaces_gone in rows:
            if seq != last + 1:
                raise TooOld(f"Changes {last + 1} to {seq - 1} were trimmed.")
            yield Change(
                seq,
                app,
                _unpacked(touched),
                _unpacked(gone),
                _present(put, queries()),
                tuple(_unpacked(spaces_gone).tolist()),
            )
            last = seq


def _present(put: bytes, queries: Queries) -> tuple[Vectors, ...]:
    """Those of the vectors put that still exist, as they are now."""
    found = []
    offset = 0
    while offset < len(put):
        space, count = _HEAD.unpack_from(put, offset)
        offset += _HEAD.size
        rows = np.frombuffer(put, dtype="<u4", count=count, offset=offset)
        offset += rows.nbytes
        vectors = queries.vectors(space, rows.tolist())
        if len(vectors.rows):
            found.append(vectors)
    return tuple(found)


def _packed(rows: Rows) -> bytes:
    return rows.astype("<u4").tobytes()


def _unpacked(blob: bytes) -> Rows:
    return np.frombuffer(blob, dtype="<u4").astype(np.int64)
