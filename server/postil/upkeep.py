"""What is done to a data directory whose server is stopped, or beside it: verify, rebuild the index.

Puts the same rooms together as `app.py`, without doors.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from postil.core.agreement import disagreements
from postil.index import checkpoint, recovery
from postil.index.builder import IDLE_S
from postil.index.files import MANIFEST, Damaged, Folder
from postil.index.manager import IndexManager
from postil.store.backup import Unusable
from postil.store.base import Corrupt, Transaction, WriteFailed
from postil.store.layout import INDEX, Unfinished, refuse_unfinished
from postil.store.lock import DirectoryInUse, DirectoryLock
from postil.store.migrations import NewerSchema
from postil.store.sqlite import SqliteStore
from postil.store.verify import verify

# What these raise when the fault is in the directory or the machine; the text is for the person who asked.
refusals = (Corrupt, DirectoryInUse, NewerSchema, Unfinished, Unusable, WriteFailed)

_LOOK_S = 0.2


def verify_directory(data_dir: Path) -> Iterator[str]:
    """What is wrong in a data directory, a sentence each: rows, media, then the index.

    Beside a running server the index is left out: the server looks after it by itself.

    Raises:
        NewerSchema, Unfinished, Corrupt: It cannot be looked at.
    """
    refuse_unfinished(data_dir)
    try:
        lock = DirectoryLock(data_dir)
    except DirectoryInUse:
        yield from verify(data_dir, disagreements)
        return
    try:
        sound = True
        for finding in itertools.chain(verify(data_dir, disagreements), _verify_index_files(data_dir / INDEX)):
            sound = False
            yield finding
    finally:
        lock.release()
    if sound:
        yield from _verify_index_rows(data_dir)


def _verify_index_files(path: Path) -> Iterator[str]:
    try:
        checkpoint.verify(path)
    except Damaged as error:
        yield f"The catalog of filters is damaged: {error}. The next start reads it again from rows."
    for manifest in sorted(path.glob(f"*/{MANIFEST}")):
        folder = Folder(manifest.parent)
        try:
            folder.verify(entry for segment in folder.load().segments for entry in segment.files())
        except Damaged as error:
            yield f"The index is damaged: {error}. The next start reads it again from rows."


def _verify_index_rows(data_dir: Path) -> Iterator[str]:
    """Loads the index as a start would, and compares what it holds with the rows."""
    with contextlib.closing(SqliteStore(data_dir)) as store, _indexed(data_dir, store) as index:
        index.start()
        for record in store.read().all_spaces():
            space, stored = index.space(record.row), store.read().count_vectors(record.row)
            held = len(space) if space else 0
            if held != stored:
                yield f"The index of space {record.id} holds {held} vectors, the rows {stored}."


class Rebuilt(NamedTuple):
    """What a rebuild came to."""

    vectors: int  # in the new index
    mended: int  # damaged vectors that the old index still had
    lost: list[str]  # a sentence for each that nobody has any more
    dropped: int  # of those, taken out


def rebuild_index(data_dir: Path, *, drop: bool, progress: Callable[[int, int], None]) -> Rebuilt:
    """Mends what the old index can mend, removes it, and builds a new one from rows.

    Args:
        data_dir: Of a stopped server.
        drop: Take out the vectors that are lost, so that what they belonged to can be given new ones.
        progress: Told (vectors in the graph, vectors in all) now and then.

    Raises:
        DirectoryInUse, NewerSchema, Unfinished, Corrupt, WriteFailed: It cannot be done.
    """
    refuse_unfinished(data_dir)
    with contextlib.closing(SqliteStore(data_dir)) as store:
        mended, lost, dropped = 0, [], 0
        for record in store.read().all_spaces():
            folder = Folder(data_dir / INDEX / str(record.row))
            found = recovery.mend(recovery.saved(folder, store, record), store, record)
            mended += len(found.mended)
            lost += [f"The vector of annotation {row} in space {record.id} is lost." for row in found.lost]
            if drop and found.lost:
                store.write(partial(_drop, record.row, found.lost))
                dropped += len(found.lost)
            folder.remove()
        with _indexed(data_dir, store, idle_s=0.0) as index:
            index.start()
            vectors = _built(index, progress)
    return Rebuilt(vectors, mended, lost, dropped)


def _drop(space: int, rows: list[int], transaction: Transaction) -> None:
    transaction.drop_damaged_vectors(space, rows)


def _indexed(data_dir: Path, store: SqliteStore, idle_s: float = IDLE_S) -> contextlib.closing[IndexManager]:
    return contextlib.closing(IndexManager(data_dir / INDEX, store, idle_s))


def _built(index: IndexManager, progress: Callable[[int, int], None]) -> int:
    """Waits until nothing is left to build; how many vectors there are."""
    quiet = 0
    while True:
        stats = index.stats().values()
        total = sum(one.live for one in stats)
        progress(total - sum(one.tail for one in stats), total)
        quiet = 0 if index.busy else quiet + 1
        if quiet * _LOOK_S > 1.5:  # the builder looks for work once a second
            return total
        time.sleep(_LOOK_S)
