"""Brings a space's index in step with the rows: loads what verifies, reads again what does not.

Uses nothing but the store's Protocol and the space's folder, so that start-up, a crash and a lost folder are one path.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import structlog
from pyroaring import BitMap

from postil.index import build
from postil.index.files import Damaged, Folder, Manifest, SegmentEntry
from postil.index.part import members
from postil.index.space import VectorSpace
from postil.store.base import Corrupt, Queries, SpaceRecord, Store, Vectors

log = structlog.get_logger(__name__)

_PAGE_BYTES = 8 << 20
_SAMPLE = 16


def opened(folder: Folder, store: Store, record: SpaceRecord) -> VectorSpace:
    """The space as its files have it, what was damaged read again from rows. It holds every change up to `covered`."""
    try:
        manifest = folder.load()
        _check(manifest, store, record)
    except Damaged as error:
        if folder.path.is_dir():
            log.warning("index_rebuilt", space=record.row, reason=str(error))
        folder.sweep(None)
        return rebuilt(folder, store, record)
    folder.sweep(manifest)
    space = VectorSpace(folder, store.identity, record.dim, manifest.covered, manifest.generation)
    for entry in _adopt(space, manifest):
        for page in pages(store.read(), record, entry.first_row - 1, entry.last_row):
            space.restore(page.rows, page.matrix)
    if not manifest.covered:
        reconcile(space, store, record)
    return space


def _check(manifest: Manifest, store: Store, record: SpaceRecord) -> None:
    if manifest.store != store.identity:
        raise Damaged("the files belong to another store")
    if manifest.dim != record.dim:
        raise Damaged(f"the files are of dimension {manifest.dim}, the space of {record.dim}")
    if manifest.covered > store.committed:  # it was put back from a copy
        raise Damaged(f"the files cover change {manifest.covered}, the store ends at {store.committed}")


def _adopt(space: VectorSpace, manifest: Manifest) -> list[SegmentEntry]:
    """Loads the segments that verify; returns the others."""
    lost: list[SegmentEntry] = []
    for entry in manifest.segments:
        try:
            space.adopt(build.load(space.folder, entry, space.dim), entry)
        except Damaged as error:
            log.warning("index_segment_damaged", reason=str(error))
            lost.append(entry)
    return lost


def rebuilt(folder: Folder, store: Store, record: SpaceRecord) -> VectorSpace:
    """A space read from rows alone."""
    space = VectorSpace(folder, store.identity, record.dim)
    reconcile(space, store, record)
    return space


def reconcile(space: VectorSpace, store: Store, record: SpaceRecord) -> None:
    """Makes the space hold what the rows hold, whatever it held before. Costs a read of all its vectors."""
    covered = store.committed
    seen = BitMap()
    for page in pages(store.read(), record):
        space.restore(page.rows, page.matrix)
        seen.update(page.rows.tolist())
    space.forget(members(space.live_rows() - seen))
    space.covered = max(space.covered, covered)


def agrees(space: VectorSpace, queries: Queries, record: SpaceRecord) -> bool:
    """The index holds the rows that the store holds, and a sample of them number for number.

    A last guard against a store that was put back from a copy and went on; damage is found by checksums. Vectors whose
    rows are damaged have nothing to compare: the index may have them or not.
    """
    live = space.live_rows()
    if len(live) != queries.count_vectors(record.row):
        stored = BitMap(queries.vector_rows(record.row))
        missing = members(stored - live).tolist()
        if live - stored or queries.damaged_vectors(record.row, missing) != missing:
            return False
    if not live:
        return True
    some = {live[len(live) * at // _SAMPLE] for at in range(_SAMPLE)}
    sound = sorted(some.difference(queries.damaged_vectors(record.row, sorted(some))))
    truth = queries.vectors(record.row, sound)
    rows, matrix = space.vectors(np.array(sound, np.int64))
    order = np.argsort(rows)
    return rows[order].tolist() == truth.rows.tolist() and bool((matrix[order] == truth.matrix).all())


class Mended(NamedTuple):
    """Annotation rows whose vectors failed their checksums."""

    mended: list[int]  # put back from the index
    lost: list[int]  # nobody has them any more


def mend(space: VectorSpace | None, store: Store, record: SpaceRecord) -> Mended:
    """Looks at every vector of a space, and puts back from the index those that were damaged in their rows.

    A vector is only put back when the row's checksum was made of it.
    """
    damaged = store.read().damaged_vectors(record.row)
    if not damaged:
        return Mended([], [])
    mended: list[int] = []
    if space is not None:
        rows, matrix = space.vectors(np.array(damaged, np.int64))
        held = Vectors(record.row, rows, matrix)
        mended = sorted(store.write(lambda tx: tx.mend_vectors(held)))
    lost = sorted(set(damaged) - set(mended))
    log.warning("vectors_damaged", space=record.id, mended=len(mended), lost=len(lost), first=damaged[0])
    return Mended(mended, lost)


def saved(folder: Folder, store: Store, record: SpaceRecord) -> VectorSpace | None:
    """What a space's files hold, those of them that verify, and no more; None when there is nothing to trust."""
    try:
        manifest = folder.load()
        _check(manifest, store, record)
    except Damaged:
        return None
    space = VectorSpace(folder, store.identity, record.dim, manifest.covered, manifest.generation)
    _adopt(space, manifest)
    return space


def pages(queries: Queries, record: SpaceRecord, after: int = 0, last: int | None = None) -> Iterator[Vectors]:
    """The vectors of a space by ascending row, rows in (after, last]. A row that fails its checksum is left out."""
    limit = max(1, _PAGE_BYTES // (4 * record.dim))
    while last is None or after < last:
        page, after = _page(queries, record.row, after, limit)
        if page is None:
            continue
        if not len(page.rows):
            return
        if last is not None and page.rows[-1] > last:
            keep = page.rows <= last
            page = Vectors(page.space, page.rows[keep], page.matrix[keep])
        yield page


def _page(queries: Queries, space: int, after: int, limit: int) -> tuple[Vectors | None, int]:
    """(vectors or None, the row to go on after). Around a corrupt row pages shrink until it stands alone."""
    while True:
        try:
            page = queries.scan_vectors(space, after, limit)
        except Corrupt as error:
            if limit == 1:
                log.warning("index_row_skipped", reason=str(error))
                return None, after + 1
            limit = max(1, limit // 8)
        else:
            return page, int(page.rows[-1]) if len(page.rows) else after
