"""What the annotations of one app say, in memory: a bitmap of rows for each mark, packed columns and postings.

A filter is set algebra over these. Rows are annotation rows; a set of inputs is written as the set of their
input-level annotations (*levels*), so that where every annotation is input-level, the two are the same set.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from postil.index.columns import Columns
from postil.index.marks import GEO, LEVEL, OWN, Mark, Said, absent, id_number, of_input, present, said
from postil.index.postings import Postings
from postil.index.rowsets import Rows, bitmap, mask_of, rows_of
from postil.store.base import AnnotationFact, Facts

_FEW = 64  # so many look-ups cost less than a pass over the app
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
        self._tokens = Postings()
        self._members = Postings()  # level -> the other annotations of its input
        self.revectored = 0  # the newest change that replaced or took away vectors of annotations that stay

    # writing

    def put(self, facts: Facts) -> None:
        """Takes annotations and inputs as they are now."""
        columns = self._columns
        rows = [fact.record.row for fact in facts.annotations] + [fact.anchor for fact in facts.inputs]
        columns.reserve(max(rows, default=0), max((fact.row for fact in facts.inputs), default=0))
        renewed: list[int] = []
        for fact in facts.inputs:
            columns.levels_by_input[fact.row] = fact.anchor
            kind = columns.interned(of_input(fact.status, fact.message))
            if columns.input_kinds[fact.anchor] != kind:
                columns.input_kinds[fact.anchor] = kind
                renewed.append(fact.anchor)
        entries = [self._entry(fact) for fact in facts.annotations]
        taken = {entry.fact.record.row for entry in entries}
        self._renew([level for level in renewed if level in self.all], taken)
        self._put(entries)

    def _entry(self, fact: AnnotationFact) -> _Entry:
        columns, record = self._columns, fact.record
        level = record.row if record.input_level else int(columns.levels_by_input[record.input])
        what = said(record)
        kind = columns.interned(what.marks + columns.members(int(columns.input_kinds[level])))
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
            row = record.row
            groups.setdefault(kind, []).append(row)
            groups.setdefault(labels, []).append(row)
            columns.set(row, level, kind, labels, record.created_us, record.modified_us)
            columns.ids[row] = id_number(record.id)
            columns.epochs[row] += 1
            tokens += what.tokens
            owners += [row] * len(what.tokens)
            if what.place is not None:
                columns.latitudes[row], columns.longitudes[row] = what.place
        for group, rows in groups.items():
            self._mark(columns.members(group), rows)
        self._join([entry for entry in entries if entry.fact.record.row not in self.all])
        self.all.update([entry.fact.record.row for entry in entries])
        if owners:
            rows32 = np.array(owners, np.uint32)
            self._tokens.add(np.array(tokens, np.uint64), rows32, columns.epochs[rows32])

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

    def _unmark(self, rows: Iterable[int]) -> None:
        columns = self._columns
        for row in rows:
            for group in (int(columns.kinds[row]), int(columns.labels[row])):
                for mark in columns.members(group):
                    self._marks[mark].discard(row)

    def _renew(self, levels: list[int], taken: set[int]) -> None:
        """The inputs of these levels changed: gives their annotations the inputs' marks, but for those `taken`."""
        columns = self._columns
        for level in levels:
            for row in (level, *self.members(level).tolist()):
                if row in taken or row not in self.all:
                    continue
                before = columns.members(int(columns.kinds[row]))
                kept = tuple(mark for mark in before if mark[0] not in {"medium", "input_status"})
                after = kept + columns.members(int(columns.input_kinds[level]))
                for mark in before:
                    self._marks[mark].discard(row)
                self._mark(after, [row])
                columns.kinds[row] = columns.interned(after)

    def remove(self, rows: Rows) -> None:
        """Forgets annotations; those that are not here are passed over."""
        mine = [row for row in rows.tolist() if row in self.all]
        self._unmark(mine)
        self.all.difference_update(BitMap(mine))

    # keeping, see `checkpoint.py`

    def parts(self) -> tuple[BitMap, dict[Mark, BitMap], Postings, Postings]:
        """(all, marks, tokens, members). Not to be changed."""
        return self.all, self._marks, self._tokens, self._members

    def restore(
        self, every: BitMap, sets: dict[Mark, BitMap], tokens: Postings, members: Postings, revectored: int
    ) -> None:
        """Puts back what `parts` gave."""
        self.all, self._marks, self._tokens, self._members = every, sets, tokens, members
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
        return bitmap(self._tokens.find(number, self._columns.epochs)) & self.all

    def with_id(self, annotation_id: str) -> BitMap:
        """The annotations of that id (ids are unique within an input)."""
        rows = rows_of(self.all)
        return bitmap(rows[self._columns.ids[rows] == np.uint64(id_number(annotation_id))])

    def of_levels(self, levels: BitMap) -> BitMap:
        """All annotations of these inputs."""
        if len(levels) <= _FEW:
            found = [row for level in levels for row in self.members(level).tolist()]
            return (levels | BitMap(found)) & self.all
        others = self.all - self.marked(LEVEL)
        if not others:
            return levels & self.all
        rows = rows_of(others)
        wanted = mask_of(levels, self._columns.size)
        return (levels & self.all) | bitmap(rows[wanted[self._columns.levels[rows]]])

    def members(self, level: int) -> NDArray[np.uint32]:
        """The other annotations of a level's input, ascending; some may be gone."""
        return self._members.find(level)

    def levels_of(self, rows: BitMap) -> BitMap:
        """The levels of the inputs of these annotations."""
        if self.plain:
            return rows
        levels = rows & self.marked(LEVEL)
        others = rows_of(rows - levels)
        return levels | bitmap(np.unique(self._columns.levels[others])) if len(others) else levels

    def anchors_of(self, rows: BitMap) -> BitMap:
        """The anchors whose vectors stand for these annotations."""
        if self.plain:
            return rows
        own = rows & self.marked(OWN)
        others = rows_of(rows - own)
        return own | bitmap(np.unique(self._columns.levels[others])) if len(others) else own

    def level_of(self, rows: Rows) -> Rows:
        """int64 [n]: the level of each annotation."""
        return self._columns.levels[rows].astype(np.int64)

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
            levels = self._columns.levels[candidates].astype(np.int64)
            place = np.minimum(np.searchsorted(anchors[order], levels), len(anchors) - 1)
            hit = anchors[order][place] == levels
            rows.append(candidates[hit])
            at.append(order[place[hit]])
        return np.concatenate(rows), np.concatenate(at)

    def created_by(self, time_us: int) -> BitMap:
        """The annotations that were there at a time, inclusive."""
        rows = rows_of(self.all)
        return bitmap(rows[self._columns.created[rows] <= time_us])

    def modified_between(self, start_us: int | None, end_us: int | None) -> BitMap:
        """The annotations last changed in a range of times, both ends inclusive."""
        rows = rows_of(self.all)
        times = self._columns.modified[rows]
        keep = np.ones(len(rows), np.bool_)
        if start_us is not None:
            keep &= times >= start_us
        if end_us is not None:
            keep &= times <= end_us
        return bitmap(rows[keep])

    def within(self, latitude: float, longitude: float, radians: float) -> BitMap:
        """The annotations whose place is within a great-circle distance of a point, in degrees."""
        rows = rows_of(self.marked(GEO))
        lat = np.radians(self._columns.latitudes[rows].astype(np.float64))
        lon = np.radians(self._columns.longitudes[rows].astype(np.float64))
        here, there = np.radians(latitude), np.radians(longitude)
        half = np.sin((lat - here) / 2) ** 2 + np.cos(lat) * np.cos(here) * np.sin((lon - there) / 2) ** 2
        return bitmap(rows[2 * np.arcsin(np.sqrt(np.clip(half, 0.0, 1.0))) <= radians])

    def in_box(self, south: float, north: float, west: float, east: float) -> BitMap:
        """The annotations whose place is in a box of degrees, borders included."""
        rows = rows_of(self.marked(GEO))
        lat, lon = self._columns.latitudes[rows], self._columns.longitudes[rows]
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
