"""Reads of what annotations and inputs say, many at a time, for whoever keeps it in memory."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from postil.store.base import AnnotationFact, Facts, InputFact
from postil.store.queries_annotations import ANNOTATION_COLUMNS, annotation
from postil.store.sql import distinct_ints, select_in

_COLUMNS = ", ".join(f"a.{name}" for name in ANNOTATION_COLUMNS)
# The input is read where the annotation is its input-level one, so each input once.
_FACTS = (
    f"SELECT a.app, i.row, i.anchor, i.status, i.message, {_COLUMNS} FROM annotations a"
    " LEFT JOIN inputs i ON a.input_level = 1 AND i.row = a.input"
)
_INPUT_END = 5  # of the columns above, before those of the annotation


class FactQueries:
    """Mixed into `SqliteQueries`."""

    _connection: sqlite3.Connection

    def facts(self, rows: Sequence[int]) -> Facts:
        wanted = distinct_ints(rows)
        found = select_in(self._connection, f"{_FACTS} WHERE a.row IN ({{}})", wanted)
        labels = select_in(
            self._connection, "SELECT annotation, concept, value FROM labels WHERE annotation IN ({})", wanted
        )
        return _facts(sorted(set(found), key=lambda row: int(row[_INPUT_END])), sorted(set(labels)))

    def scan_facts(self, after_row: int, limit: int) -> dict[int, Facts]:
        found = self._connection.execute(
            f"{_FACTS} WHERE a.row > ? ORDER BY a.row LIMIT ?", (int(after_row), limit)
        ).fetchall()
        if not found:
            return {}
        labels = self._connection.execute(
            "SELECT annotation, concept, value FROM labels WHERE annotation BETWEEN ? AND ? ORDER BY annotation",
            (found[0][_INPUT_END], found[-1][_INPUT_END]),
        ).fetchall()
        apps: dict[int, list[tuple[Any, ...]]] = {}
        for row in found:
            apps.setdefault(row[0], []).append(row)
        return {app: _facts(rows, labels) for app, rows in apps.items()}


def _facts(rows: Sequence[tuple[Any, ...]], labels: Sequence[tuple[int, int, float]]) -> Facts:
    """Of rows of `_FACTS`, ascending; labels of other annotations are passed over."""
    by_row: dict[int, list[tuple[int, float]]] = {}
    for row, concept, value in labels:
        by_row.setdefault(row, []).append((concept, value))
    return Facts(
        tuple(AnnotationFact(annotation(row[_INPUT_END:]), tuple(by_row.get(row[_INPUT_END], ()))) for row in rows),
        tuple(InputFact(*row[1:_INPUT_END]) for row in rows if row[1] is not None),
    )
