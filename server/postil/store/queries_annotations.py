"""Reads of annotations, and the hits of a search."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Any

from postil.store.base import AnnotationListing, AnnotationRecord, HitRecord
from postil.store.sql import as_json, cursors_in, distinct_ints, page, select_in

ANNOTATION_COLUMNS = AnnotationRecord._fields[:-1]
_COLUMNS = ", ".join(f"a.{name}" for name in ANNOTATION_COLUMNS)
# The same of what models said by themselves: successful, untrusted, about the whole input.
_PREDICTED = (
    "a.row, a.id, a.input, a.anchor, a.message, 24150, 0, 0, 0, '', a.model_version_id, '', '',"
    " a.created_us, a.modified_us"
)
_MESSAGE = (ANNOTATION_COLUMNS.index("message"),)
_HIT_MESSAGES = (HitRecord._fields.index("input_message"), HitRecord._fields.index("annotation_message"))
_SUCCESS = 24150  # StatusCode.ANNOTATION_SUCCESS

_EACH_HIT = "SELECT a.anchor, a.row, a.input, i.message, a.message FROM annotations a JOIN inputs i ON i.row = a.input"
# The IN list is walked in ascending order and the index on anchor ends in the row: nothing is sorted.
_HITS = f"{_EACH_HIT} WHERE a.anchor IN ({{}}) ORDER BY a.anchor, a.row"
_ANCHORS = f"{_EACH_HIT} WHERE a.row IN ({{}}) AND +a.anchor = a.row ORDER BY a.row"


def annotation(row: tuple[Any, ...]) -> AnnotationRecord:
    """The record of a row of `_COLUMNS`: SQLite keeps truth values as 0 and 1."""
    return AnnotationRecord._make((*row[:6], row[6] == 1, row[7] == 1, row[8] == 1, *row[9:15], False))


def predicted(row: tuple[Any, ...]) -> AnnotationRecord:
    """The record of a row of `_PREDICTED`."""
    return annotation(row)._replace(predicted=True)


class AnnotationQueries:
    """Mixed into `SqliteQueries`."""

    _connection: sqlite3.Connection
    room: int

    def annotation(self, app: int, input_id: str, annotation_id: str) -> AnnotationRecord | None:
        return self.annotations(app, [(input_id, annotation_id)]).get((input_id, annotation_id))

    def annotations(self, app: int, pairs: Sequence[tuple[str, str]]) -> dict[tuple[str, str], AnnotationRecord]:
        found = {
            (row[0], row[2]): predicted(row[1:]) for row in self._pairs(_PREDICTED, "model_annotations", app, pairs)
        }
        return found | {
            (row[0], row[2]): annotation(row[1:]) for row in self._pairs(_COLUMNS, "annotations", app, pairs)
        }

    def _pairs(self, columns: str, table: str, app: int, pairs: Sequence[tuple[str, str]]) -> list[tuple[Any, ...]]:
        return self._connection.execute(
            f"SELECT i.id, {columns} FROM json_each(?) p"
            " CROSS JOIN inputs i ON i.app = ? AND i.id = json_extract(p.value, '$[0]')"
            f" CROSS JOIN {table} a ON a.input = i.row AND a.id = json_extract(p.value, '$[1]')",
            (json.dumps(list(pairs)), app),
        ).fetchall()

    def annotations_by_row(self, rows: Sequence[int]) -> dict[int, AnnotationRecord]:
        template = f"SELECT {_COLUMNS} FROM annotations a WHERE a.row IN ({{}})"
        found = page(self.room, _MESSAGE, cursors_in(self._connection, template, distinct_ints(rows)))
        return {row[0]: annotation(row) for row in found}

    def annotations_of_inputs(self, inputs: Sequence[int]) -> list[AnnotationRecord]:
        found = select_in(
            self._connection, f"SELECT {_COLUMNS} FROM annotations a WHERE a.input IN ({{}})", distinct_ints(inputs)
        )
        by_models = select_in(
            self._connection,
            f"SELECT {_PREDICTED} FROM model_annotations a WHERE a.input IN ({{}})",
            distinct_ints(inputs),
        )
        records = {record.row: record for record in (*map(annotation, found), *map(predicted, by_models))}
        return [records[row] for row in sorted(records)]

    def list_annotations(self, app: int, listing: AnnotationListing, offset: int, limit: int) -> list[AnnotationRecord]:
        if listing.pairs:
            found = sorted(self.annotations(app, listing.pairs).values(), key=lambda a: (a.created_us, a.id))
            return found[offset : offset + limit]
        if _wants_predicted(listing):
            return self._list_all(app, listing, offset, limit)
        where, bound = _conditions(app, listing)
        rows = self._connection.execute(
            f"SELECT {_COLUMNS} FROM (SELECT a.row AS r FROM annotations a WHERE {where}"
            " ORDER BY a.created_us, a.id LIMIT ? OFFSET ?) CROSS JOIN annotations a ON a.row = r",
            (*bound, limit, offset),
        )
        return [annotation(row) for row in page(self.room, _MESSAGE, (rows,))]

    def _list_all(self, app: int, listing: AnnotationListing, offset: int, limit: int) -> list[AnnotationRecord]:
        """With what models said by themselves, in one order."""
        where, bound = _conditions(app, listing)
        theirs, terms = ["+a.app = ?" if listing.input_ids else "a.app = ?"], [app]
        _authored(theirs, terms, app, listing, (("model_version_id", listing.model_version_ids),))
        rows = self._connection.execute(
            f"SELECT a.created_us, a.id, a.row, 0 FROM annotations a WHERE {where}"
            " UNION ALL SELECT a.created_us, a.id, a.row, 1 FROM model_annotations a"
            f" WHERE {' AND '.join(theirs)} ORDER BY 1, 2 LIMIT ? OFFSET ?",
            (*bound, *terms, limit, offset),
        )
        listed = [row for _, _, row, _ in rows]  # no row is that of an annotation and of a model's alike
        template = f"SELECT {_PREDICTED} FROM model_annotations a WHERE a.row IN ({{}})"
        by_models = page(self.room, _MESSAGE, cursors_in(self._connection, template, listed))
        found = {row[0]: predicted(row) for row in by_models} | self.annotations_by_row(listed)
        return [found[row] for row in listed if row in found]

    def annotation_workers(self, app: int, trusted_only: bool) -> list[tuple[str, str, str]]:
        """Of the annotations that listings show: blank ones have no author worth naming."""
        trusted = " AND trusted = 1" if trusted_only else ""
        statement = (
            "SELECT DISTINCT user_id, model_version_id, workflow_version_id FROM annotations"
            f" WHERE app = ?1 AND blank = 0{trusted}"
        )
        if not trusted_only:
            statement += " UNION SELECT DISTINCT '', model_version_id, '' FROM model_annotations WHERE app = ?1"
        return self._connection.execute(f"{statement} ORDER BY 1, 2, 3", (app,)).fetchall()

    def hits(self, anchors: Sequence[int], *, alone: bool = False) -> list[HitRecord]:
        wanted = distinct_ints(anchors)
        if not wanted:
            return []
        template = _ANCHORS if alone else _HITS
        found = page(self.room, _HIT_MESSAGES, cursors_in(self._connection, template, wanted))
        return list(map(HitRecord._make, found))


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
    if listing.statuses:
        where.append("a.status IN (SELECT value FROM json_each(?))")
        terms.append(as_json(map(int, listing.statuses)))
    authors = (
        ("user_id", listing.user_ids),
        ("model_version_id", listing.model_version_ids),
        ("workflow_version_id", listing.workflow_version_ids),
    )
    _authored(where, terms, app, listing, authors)
    return " AND ".join(where), terms


def _authored(
    where: list[str],
    terms: list[Any],
    app: int,
    listing: AnnotationListing,
    authors: Sequence[tuple[str, Sequence[str]]],
) -> None:
    """Adds which inputs and whose annotations."""
    if listing.input_ids:
        where.append(
            "a.input IN (SELECT i.row FROM json_each(?) j CROSS JOIN inputs i ON i.app = ? AND i.id = j.value)"
        )
        terms += [as_json(listing.input_ids), app]
    named = [(column, ids) for column, ids in authors if ids]
    if named:  # one of them is enough
        where.append("(" + " OR ".join(f"a.{column} IN (SELECT value FROM json_each(?))" for column, _ in named) + ")")
        terms += [as_json(ids) for _, ids in named]


def _wants_predicted(listing: AnnotationListing) -> bool:
    """Whether what models said by themselves can be in the listing."""
    by_others = (listing.user_ids or listing.workflow_version_ids) and not listing.model_version_ids
    return listing.predicted and not (
        listing.trusted_only or listing.task_id or by_others or (listing.statuses and _SUCCESS not in listing.statuses)
    )
