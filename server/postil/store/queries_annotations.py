"""Reads of annotations, and the hits of a search."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Any

from postil.store.base import AnnotationListing, AnnotationRecord, HitRecord
from postil.store.sql import CHUNK, as_json, distinct_ints, padded, select_in, spelled

ANNOTATION_COLUMNS = AnnotationRecord._fields
_COLUMNS = ", ".join(f"a.{name}" for name in ANNOTATION_COLUMNS)

# The IN list is walked in ascending order and the index on anchor ends in the row: nothing is sorted.
_HITS = (
    "SELECT a.anchor, a.row, a.input, i.message, a.message FROM annotations a JOIN inputs i ON i.row = a.input"
    " WHERE a.anchor IN ({}) ORDER BY a.anchor, a.row"
)


def annotation(row: tuple[Any, ...]) -> AnnotationRecord:
    """The record of a row of `_COLUMNS`: SQLite keeps truth values as 0 and 1."""
    return AnnotationRecord._make((*row[:6], row[6] == 1, row[7] == 1, row[8] == 1, *row[9:]))


class AnnotationQueries:
    """Mixed into `SqliteQueries`."""

    _connection: sqlite3.Connection

    def annotation(self, app: int, input_id: str, annotation_id: str) -> AnnotationRecord | None:
        row = self._connection.execute(
            f"SELECT {_COLUMNS} FROM inputs i JOIN annotations a ON a.input = i.row"
            " WHERE i.app = ? AND i.id = ? AND a.id = ?",
            (app, input_id, annotation_id),
        ).fetchone()
        return annotation(row) if row else None

    def annotations(self, app: int, pairs: Sequence[tuple[str, str]]) -> dict[tuple[str, str], AnnotationRecord]:
        rows = self._connection.execute(
            f"SELECT i.id, {_COLUMNS} FROM json_each(?) p"
            " CROSS JOIN inputs i ON i.app = ? AND i.id = json_extract(p.value, '$[0]')"
            " CROSS JOIN annotations a ON a.input = i.row AND a.id = json_extract(p.value, '$[1]')",
            (json.dumps(list(pairs)), app),
        )
        return {(row[0], row[2]): annotation(row[1:]) for row in rows}

    def annotations_by_row(self, rows: Sequence[int]) -> dict[int, AnnotationRecord]:
        found = select_in(
            self._connection, f"SELECT {_COLUMNS} FROM annotations a WHERE a.row IN ({{}})", distinct_ints(rows)
        )
        return {row[0]: annotation(row) for row in found}

    def annotations_of_inputs(self, inputs: Sequence[int]) -> list[AnnotationRecord]:
        found = select_in(
            self._connection, f"SELECT {_COLUMNS} FROM annotations a WHERE a.input IN ({{}})", distinct_ints(inputs)
        )
        found.sort(key=lambda row: row[0])
        return [annotation(row) for row in found]

    def list_annotations(self, app: int, listing: AnnotationListing, offset: int, limit: int) -> list[AnnotationRecord]:
        if listing.pairs:
            found = sorted(self.annotations(app, listing.pairs).values(), key=lambda a: (a.created_us, a.id))
            return found[offset : offset + limit]
        where, bound = _conditions(app, listing)
        rows = self._connection.execute(
            f"SELECT {_COLUMNS} FROM annotations a WHERE {where} ORDER BY a.created_us, a.id LIMIT ? OFFSET ?",
            (*bound, limit, offset),
        )
        return [annotation(row) for row in rows]

    def annotation_workers(self, app: int, trusted_only: bool) -> list[tuple[str, str, str]]:
        """Of the annotations that listings show: blank ones have no author worth naming."""
        trusted = " AND trusted = 1" if trusted_only else ""
        return self._connection.execute(
            "SELECT DISTINCT user_id, model_version_id, workflow_version_id FROM annotations"
            f" WHERE app = ? AND blank = 0{trusted} ORDER BY 1, 2, 3",
            (app,),
        ).fetchall()

    def hits(self, anchors: Sequence[int]) -> list[HitRecord]:
        wanted = distinct_ints(anchors)
        if not wanted:
            return []
        if len(wanted) > CHUNK:
            return list(map(HitRecord._make, select_in(self._connection, _HITS, wanted)))
        values = padded(wanted)
        return list(map(HitRecord._make, self._connection.execute(spelled(_HITS, len(values)), values)))


def _conditions(app: int, listing: AnnotationListing) -> tuple[str, list[Any]]:
    """WHERE and its parameters. `blank = 0` is spelled out, so that the partial index is used."""
    # A plus keeps the planner from walking the whole app where a few inputs are named.
    plus = "+" if listing.input_ids else ""
    where = [f"{plus}a.app = ?"]
    terms: list[Any] = [app]
    if not listing.blanks:
        where.append(f"{plus}a.blank = 0")
    if listing.trusted_only:
        where.append("a.trusted = 1")
    if listing.task_id:
        where.append("a.task_id = ?")
        terms.append(listing.task_id)
    if listing.input_ids:
        where.append(
            "a.input IN (SELECT i.row FROM json_each(?) j CROSS JOIN inputs i ON i.app = ? AND i.id = j.value)"
        )
        terms += [as_json(listing.input_ids), app]
    if listing.statuses:
        where.append("a.status IN (SELECT value FROM json_each(?))")
        terms.append(as_json(map(int, listing.statuses)))
    authors = [
        (column, ids)
        for column, ids in (
            ("user_id", listing.user_ids),
            ("model_version_id", listing.model_version_ids),
            ("workflow_version_id", listing.workflow_version_ids),
        )
        if ids
    ]
    if authors:  # one of them is enough
        where.append(
            "(" + " OR ".join(f"a.{column} IN (SELECT value FROM json_each(?))" for column, _ in authors) + ")"
        )
        terms += [as_json(ids) for _, ids in authors]
    return " AND ".join(where), terms
