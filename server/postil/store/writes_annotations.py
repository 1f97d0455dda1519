"""Writes of annotations and their labels."""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Mapping, Sequence

from postil.store.base import AnnotationFact, AnnotationRecord, Duplicate, Missing
from postil.store.counters import Counters
from postil.store.erase import erase_annotations, erase_predictions
from postil.store.feed import Effects
from postil.store.queries_annotations import ANNOTATION_COLUMNS, AnnotationQueries
from postil.store.queries_facts import FactQueries
from postil.store.sql import distinct_ints, insert_rows, select_in

_INSERT = f"INSERT INTO annotations (app, crc, {', '.join(ANNOTATION_COLUMNS)})"
_CHANGEABLE = ANNOTATION_COLUMNS[3:]  # all but row, id and input
_UPDATE = f"UPDATE annotations SET crc = ?, {', '.join(f'{name} = ?' for name in _CHANGEABLE)} WHERE row = ?"
_LABEL = "INSERT INTO labels (concept, annotation, anchor, value)"


class AnnotationWrites(AnnotationQueries, FactQueries):
    """Mixed into `SqliteTransaction`."""

    _connection: sqlite3.Connection
    _counters: Counters

    def _effects(self, app: int) -> Effects:
        raise NotImplementedError

    def _check_reserved(self, table: str, rows: Sequence[int]) -> None:
        raise NotImplementedError

    def _check_present(self, table: str, app: int, rows: Sequence[int]) -> None:
        raise NotImplementedError

    def reserve_annotations(self, n: int) -> range:
        return self._counters.reserve("annotations", n)

    def add_annotations(
        self,
        app: int,
        annotations: Sequence[AnnotationRecord],
        labels: Sequence[tuple[int, int, float]],
    ) -> None:
        if not annotations:
            return
        self._check_reserved("annotations", [record.row for record in annotations])
        self._check_present("inputs", app, [record.input for record in annotations])
        try:
            insert_rows(self._connection, _INSERT, [(app, zlib.crc32(a.message), *a[:-1]) for a in annotations])
        except sqlite3.IntegrityError:
            self._check_new(annotations)
            raise
        if labels:
            anchors = {record.row: record.anchor for record in annotations}
            insert_rows(
                self._connection, _LABEL, [(concept, row, anchors[row], value) for row, concept, value in labels]
            )
        effects = self._effects(app)
        effects.touched += [record.row for record in annotations]
        by_row: dict[int, list[tuple[int, float]]] = {}
        for row, concept, value in labels:
            by_row.setdefault(row, []).append((concept, value))
        for record in annotations:
            effects.annotations[record.row] = AnnotationFact(record, tuple(by_row.get(record.row, ())))

    def _check_new(self, annotations: Sequence[AnnotationRecord]) -> None:
        """Tells which id was there before these annotations, or is two of theirs; some of them may be written."""
        keys = [(record.input, record.id) for record in annotations]
        mine = {record.row for record in annotations}
        found = self._connection.execute(
            "SELECT a.input, a.id, a.row FROM json_each(?) p CROSS JOIN annotations a"
            " ON a.input = json_extract(p.value, '$[0]') AND a.id = json_extract(p.value, '$[1]')",
            (json.dumps(keys),),
        )
        taken: set[tuple[int, str]] = {(source, id_) for source, id_, row in found if row not in mine}
        for key in keys:
            if key in taken:
                raise Duplicate(key[1])
            taken.add(key)

    def update_annotation(self, record: AnnotationRecord, labels: Sequence[tuple[int, float]]) -> None:
        found = self._connection.execute(
            "SELECT app, input, id FROM annotations WHERE row = ?", (record.row,)
        ).fetchone()
        if found is None or found[1:] != (record.input, record.id):
            raise Missing(f"annotation {record.row}")
        self._connection.execute(_UPDATE, (zlib.crc32(record.message), *record[3:-1], record.row))
        self._connection.execute("DELETE FROM labels WHERE annotation = ?", (record.row,))
        rows = [(concept, record.row, record.anchor, value) for concept, value in labels]
        insert_rows(self._connection, _LABEL, rows)
        effects = self._effects(found[0])
        effects.touched.append(record.row)
        effects.annotations[record.row] = AnnotationFact(record, tuple(labels))

    def replace_messages(self, messages: Mapping[int, bytes]) -> None:
        apps: dict[int, int] = {}
        for row, message in messages.items():
            found = self._connection.execute(
                "UPDATE annotations SET message = ?, crc = ? WHERE row = ? RETURNING app",
                (message, zlib.crc32(message), row),
            ).fetchone()
            if found is None:
                raise Missing(f"annotation {row}")
            apps[row] = found[0]
        for fact in self.facts(list(messages)).annotations:
            effects = self._effects(apps[fact.record.row])
            effects.touched.append(fact.record.row)
            effects.annotations[fact.record.row] = fact

    def delete_annotations(self, app: int, rows: Sequence[int]) -> None:
        found = select_in(
            self._connection,
            "SELECT row, input_level FROM annotations WHERE +app = ? AND row IN ({})",
            distinct_ints(rows),
            (app,),
        )
        mine = sorted({row for row, _ in found})
        for row, input_level in found:
            if input_level:
                raise ValueError(f"Annotation {row} is input-level: it goes with its input.")
        if mine:
            erase_annotations(self._connection, app, mine)
            self._effects(app).delete(mine)
        predicted = select_in(
            self._connection,
            "SELECT row FROM model_annotations WHERE +app = ? AND row IN ({})",
            distinct_ints(rows),
            (app,),
        )
        erase_predictions(self._connection, sorted({row for (row,) in predicted}))
