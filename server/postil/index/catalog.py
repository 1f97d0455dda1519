"""What the annotations of one app say, in memory: a bitmap of rows for each mark, packed columns and postings.

A filter is set algebra over these. Rows are annotation rows; a set of inputs is written as the set of their
input-level annotations (*levels*), so that where every annotation is input-level, the two are the same set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from postil.index.columns import Columns
from postil.index.marks import GEO, LEVEL, OWN, Mark, Said, absent, id_number, of_input, present, said
from postil.index.postings import Postings, Run
from postil.index.rowsets import Rows, bitmap, mask_of, rows_of
from postil.store.base import AnnotationFact, Facts

_FEW = 64  # so many look-ups cost less than a pass over the app
_DENSE = 4  # an app with this part of all rows reads the whole column
_EARTH_KM = 6371.0088  # mean radius (IUGG)


class _Entry(NamedTuple):
    """One annotation on its way in."""

    fact: AnnotationFact
    level: int
    said: Said
    kind: int
    labels: int


class AppCatalog:
    """One app. Not thread-safe: `Catalogs` holds a lock over it.

    Args:
        columns: Shared by all apps, by annotation row.
    """

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self.all = BitMap()
        self._marks: dict[Mark, BitMap] = {}
        self._tokens = Postings(self._says)
        self._members = Postings(self._belongs)  # level -> the other annotations of its input
        self.revectored = 0  # the newest change that replaced or took away vectors of annotations that stay

    # writing

    def put(self, facts: Facts) -> None:
        """Takes annotations and inputs as they are now."""
        columns = self._columns
        anchors = [fact.anchor for fact in facts.inputs]
        columns.reserve([fact.record.row for fact in facts.annotations] + anchors, [fact.row for fact in facts.inputs])
        renewed: list[int] = []
        for fact in facts.inputs:
            columns.put_level(fact.row, fact.anchor)
            kind, place = columns.interned(of_input(fact.status, fact.message)), columns.place(fact.anchor)
            if columns.input_kinds[place] != kind:
                columns.input_kinds[place] = kind
                renewed.append(fact.anchor)
        entries = [self._entry(fact) for fact in facts.annotations]
        taken = {entry.fact.record.row for entry in entries}
        self._renew([level for level in renewed if level in self.all], taken)
        self._put(entries)

    def _entry(self, fact: AnnotationFact) -> _Entry:
        columns, record = self._columns, fact.record
        level = record.row if record.input_level else columns.level_of_input(record.input)
        what = said(record)
        kind = columns.interned(what.marks + columns.members(int(columns.input_kinds[columns.place(level)])))
        labels = tuple(present(c) if value > 0.0 else absent(c) for c, value in sorted(fact.labels))
        return _Entry(fact, level, what, kind, columns.interned(labels))

    def _put(self, entries: list[_Entry]) -> None:
        columns = self._columns
        old = [entry.fact.record.row for entry in entries if entry.fact.record.row in self.all]
        self._unmark(old)
        groups: dict[int, list[int]] = {}
        tokens: list[int] = []
        owners: list[int] = []
        for fact, level, what, kind, labels in entries:
            record = fact.record
            row, place = record.row, columns.place(record.row)
            groups.setdefault(kind, []).append(row)
            groups.setdefault(labels, []).append(row)
            columns.levels[place], columns.kinds[place], columns.labels[place] = level, kind, labels
            columns.created[place], columns.modified[place] = record.created_us, record.modified_us
            columns.ids[place] = id_number(record.id)
            columns.epochs[place] += 1
            tokens += what.tokens
            owners += [row] * len(what.tokens)
            if what.place is not None:
                columns.latitudes[place], columns.longitudes[place] = what.place
        for group, rows in groups.items():
            self._mark(columns.members(group), rows)
        self._join([entry for entry in entries if entry.fact.record.row not in self.all])
        columns.born(len(entries) - len(old))
        self.all.update([entry.fact.record.row for entry in entries])
        if owners:
            rows32 = np.array(owners, np.uint32)
            self._tokens.add(np.array(tokens, np.uint64), rows32, columns.epochs[columns.at(rows32)])

    def _join(self, entries: list[_Entry]) -> None:
        """Notes new annotations under their inputs."""
        pairs = [(e.level, e.fact.record.row) for e in entries if e.level != e.fact.record.row]
        if pairs:
            levels, rows = np.array(pairs, np.uint64).T
            self._members.add(levels, rows.astype(np.uint32), np.zeros(len(rows), np.uint32))

    def _mark(self, marks: Iterable[Mark], rows: list[int]) -> None:
        for mark in marks:
            found = self._marks.get(mark)
            if found is None:
                self._marks[mark] = BitMap(rows)
            else:
                found.update(rows)

    def _unmark(self, rows: Sequence[int]) -> None:
        columns = self._columns
        for place, row in zip(columns.at(np.array(rows, np.int64)).tolist(), rows, strict=True):
            for group in (int(columns.kinds[place]), int(columns.labels[place])):
                for mark in columns.members(group):
                    self._marks[mark].discard(row)

    def _renew(self, levels: list[int], taken: set[int]) -> None:
        """The inputs of these levels changed: gives their annotations the inputs' marks, but for those `taken`."""
        columns = self._columns
        for level in levels:
            for row in (level, *self.members(level).tolist()):
                if row in taken or row not in self.all:
                    continue
                place = columns.place(row)
                before = columns.members(int(columns.kinds[place]))
                kept = tuple(mark for mark in before if mark[0] not in {"medium", "input_status"})
                after = kept + columns.members(int(columns.input_kinds[columns.place(level)]))
                for mark in before:
                    self._marks[mark].discard(row)
                self._mark(after, [row])
                columns.kinds[place] = columns.interned(after)

    def remove(self, rows: Rows) -> None:
        """Forgets annotations; those that are not here are passed over."""
        mine = [row for row in rows.tolist() if row in self.all]
        self._unmark(mine)
        self._columns.forget(mine)
        self.all.difference_update(BitMap(mine))

    def tidy(self) -> None:
        """Lets go of what only annotations that are gone have said."""
        self._marks = {mark: found for mark, found in self._marks.items() if found}
        self._tokens.purge()
        self._members.purge()

    def _says(self, pairs: Run) -> NDArray[np.bool_]:
        """Which tokens are still said by their annotations."""
        found: NDArray[np.bool_] = self._columns.epochs[self._columns.at(pairs.rows)] == pairs.epochs
        return found

    def _belongs(self, pairs: Run) -> NDArray[np.bool_]:
        """Which members are still there."""
        return self._columns.alive(pairs.rows)

    # keeping, see `checkpoint.py`

    def parts(self) -> tuple[BitMap, dict[Mark, BitMap], Postings, Postings]:
        """(all, marks, tokens, members). Not to be changed."""
        return self.all, self._marks, self._tokens, self._members

    def restore(
        self, every: BitMap, sets: dict[Mark, BitMap], tokens: list[Run], members: list[Run], revectored: int
    ) -> None:
        """Puts back what `parts` gave."""
        self.all, self._marks = every, sets
        self._tokens, self._members = Postings(self._says, tokens), Postings(self._belongs, members)
        self.revectored = revectored

    # reading; what is returned is the caller's, except where it says so

    def marked(self, mark: Mark) -> BitMap:
        """The annotations with a mark. Not to be changed."""
        return self._marks.get(mark) or BitMap()

    def any_of(self, marks: Sequence[Mark]) -> BitMap:
        """The annotations with at least one of the marks. Not to be changed."""
        if len(marks) == 1:
            return self.marked(marks[0])
        return BitMap.union(*(self.marked(mark) for mark in marks)) if marks else BitMap()

    def with_token(self, number: int) -> BitMap:
        """The annotations whose JSON has a token."""
        return bitmap(self._tokens.find(number))

    def with_id(self, annotation_id: str) -> BitMap:
        """The annotations of that id (ids are unique within an input)."""
        wanted = np.uint64(id_number(annotation_id))
        return self._where(self._columns.ids, lambda ids: ids == wanted)

    def of_levels(self, levels: BitMap) -> BitMap:
        """All annotations of these inputs."""
        if len(levels) <= _FEW:
            found = [row for level in levels for row in self.members(level).tolist()]
            return (levels | BitMap(found)) & self.all
        others = self.all - self.marked(LEVEL)
        if not others:
            return levels & self.all
        rows = rows_of(others)
        wanted = mask_of(levels, self._columns.end)
        return (levels & self.all) | bitmap(rows[wanted[self._levels_at(rows)]])

    def members(self, level: int) -> NDArray[np.uint32]:
        """The other annotations of a level's input, ascending."""
        return self._members.find(level)

    def levels_of(self, rows: BitMap) -> BitMap:
        """The levels of the inputs of these annotations."""
        if self.plain:
            return rows
        levels = rows & self.marked(LEVEL)
        others = rows_of(rows - levels)
        return levels | bitmap(np.unique(self._levels_at(others))) if len(others) else levels

    def anchors_of(self, rows: BitMap) -> BitMap:
        """The anchors whose vectors stand for these annotations."""
        if self.plain:
            return rows
        own = rows & self.marked(OWN)
        others = rows_of(rows - own)
        return own | bitmap(np.unique(self._levels_at(others))) if len(others) else own

    def level_of(self, rows: Rows) -> Rows:
        """int64 [n]: the level of each annotation."""
        return self._levels_at(rows).astype(np.int64)

    def _levels_at(self, rows: Rows) -> NDArray[np.uint32]:
        return self._columns.levels[self._columns.at(rows)]

    @property
    def plain(self) -> bool:
        """Every annotation is the only one of its input, and so its own anchor."""
        return len(self.marked(LEVEL)) == len(self.all)

    def represented(self, anchors: Rows, among: BitMap) -> tuple[Rows, NDArray[np.int64]]:
        """The annotations among a set that these anchors (distinct) stand for: (rows [m], their places in anchors)."""
        if self.plain:
            mine = np.fromiter(map(among.__contains__, anchors.tolist()), np.bool_, len(anchors))
            return anchors[mine], np.flatnonzero(mine)
        own = self.marked(OWN)
        mine = np.fromiter((a in among and a in own for a in anchors.tolist()), np.bool_, len(anchors))
        at = [np.flatnonzero(mine)]
        rows = [anchors[mine]]
        others = among - own
        if others and len(anchors) <= _FEW:
            for number, anchor in enumerate(anchors.tolist()):
                found = [row for row in self.members(anchor).tolist() if row in others]
                rows.append(np.array(found, np.int64))
                at.append(np.full(len(found), number))
        elif others:
            candidates = rows_of(others)
            order = np.argsort(anchors)
            levels = self.level_of(candidates)
            place = np.minimum(np.searchsorted(anchors[order], levels), len(anchors) - 1)
            hit = anchors[order][place] == levels
            rows.append(candidates[hit])
            at.append(order[place[hit]])
        return np.concatenate(rows), np.concatenate(at)

    def created_by(self, time_us: int) -> BitMap:
        """The annotations that were there at a time, inclusive."""
        return self._where(self._columns.created, lambda times: times <= time_us)

    def modified_between(self, start_us: int | None, end_us: int | None) -> BitMap:
        """The annotations last changed in a range of times, both ends inclusive."""

        def inside(times: NDArray[np.int64]) -> NDArray[np.bool_]:
            keep = np.ones(len(times), np.bool_)
            if start_us is not None:
                keep &= times >= start_us
            if end_us is not None:
                keep &= times <= end_us
            return keep

        return self._where(self._columns.modified, inside)

    def _where(self, column: NDArray[Any], test: Callable[[NDArray[Any]], NDArray[np.bool_]]) -> BitMap:
        """The annotations whose item of a column passes. A column that is mostly ours is read as it lies."""
        columns = self._columns
        if _DENSE * len(self.all) > columns.size:
            return bitmap(columns.rows_where(test(columns.scanned(column)))) & self.all
        rows = rows_of(self.all)
        return bitmap(rows[test(column[columns.at(rows)])])

    def within(self, latitude: float, longitude: float, radians: float) -> BitMap:
        """The annotations whose place is within a great-circle distance of a point, in degrees."""
        rows = rows_of(self.marked(GEO))
        places = self._columns.at(rows)
        lat = np.radians(self._columns.latitudes[places].astype(np.float64))
        lon = np.radians(self._columns.longitudes[places].astype(np.float64))
        here, there = np.radians(latitude), np.radians(longitude)
        half = np.sin((lat - here) / 2) ** 2 + np.cos(lat) * np.cos(here) * np.sin((lon - there) / 2) ** 2
        return bitmap(rows[2 * np.arcsin(np.sqrt(np.clip(half, 0.0, 1.0))) <= radians])

    def in_box(self, south: float, north: float, west: float, east: float) -> BitMap:
        """The annotations whose place is in a box of degrees, borders included."""
        rows = rows_of(self.marked(GEO))
        places = self._columns.at(rows)
        lat, lon = self._columns.latitudes[places], self._columns.longitudes[places]
        return bitmap(rows[(lat >= south) & (lat <= north) & (lon >= west) & (lon <= east)])

    @property
    def nbytes(self) -> int:
        """Bytes kept for this app alone, without the columns; about."""
        return (
            sum(len(found.serialize()) for found in self._marks.values()) + self._tokens.nbytes + self._members.nbytes
        )


def radians_of_km(kilometres: float) -> float:
    """A distance on the Earth's surface as an angle."""
    return kilometres / _EARTH_KM
