"""Every space's index, kept in step with the store's change feed. Implements `Indexes`."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import structlog

from postil.index import planner, recovery
from postil.index.builder import IDLE_S, Builder, save_with_tail
from postil.index.files import Folder
from postil.index.space import SpaceStats, VectorSpace
from postil.store.base import Change, SpaceRecord, Store, TooOld

log = structlog.get_logger(__name__)

_CLOSE_S = 2.0
# Larger tails are read from rows again after a restart, rather than keep a closing server waiting.
_TAIL_BYTES_SAVED = 128 << 20
# Writers are slowed down between these multiples of the size at which a tail is built.
_EASY, _FULL = 1.5, 3.0


class IndexManager:
    """Follows the feed, answers with a space's index, builds in the background.

    Args:
        path: The index folder of the data directory; it may be deleted at any time while the server is down.
        store: The truth.
        idle_s: Seconds without writes after which segments are merged.
    """

    def __init__(self, path: Path, store: Store, idle_s: float = IDLE_S) -> None:
        self._path = path
        self._store = store
        self._spaces: dict[int, VectorSpace] = {}
        self._apps: dict[int, set[int]] = {}  # app -> its spaces
        self._heavy: set[int] = set()  # spaces whose tail is due to be built
        self._applied = 0
        self._ready = False
        self._backlog: list[Change] = []
        self._lost: dict[int, set[int]] = {}  # space -> rows whose vectors are damaged, and nowhere else
        self._lock = threading.Lock()  # over the feed: catching up, then one change at a time
        self._builder = Builder(lambda: list(self._spaces.values()), lambda: self._applied, idle_s)

    def start(self) -> None:
        """Loads, catches up with the rows, subscribes to the feed, and starts building. Call once."""
        started = time.monotonic()
        joined = self._store.subscribe(self.apply)
        records = {record.row: record for record in self._store.read().all_spaces()}
        self._remove_strangers(records)
        for record in records.values():
            self._spaces[record.row] = recovery.opened(self._folder(record.row), self._store, record)
            self._apps.setdefault(record.app, set()).add(record.row)
        self._catch_up(joined, records)
        with self._lock:
            for change in self._backlog:
                self._take(change)
            self._backlog.clear()
            self._applied = max(self._applied, joined)
            self._ready = True
        self._builder.start()
        live = sum(len(space) for space in self._spaces.values())
        log.info("index_ready", spaces=len(self._spaces), vectors=live, seconds=round(time.monotonic() - started, 3))

    @property
    def ready(self) -> bool:
        """Every committed change is in; searches answer from now on."""
        return self._ready

    @property
    def applied(self) -> int:
        """The newest change applied."""
        return self._applied

    @property
    def busy(self) -> bool:
        """A segment is being built in the background."""
        return self._builder.busy

    def apply(self, change: Change) -> None:
        """Takes one change from the feed, in order, from one thread at a time."""
        with self._lock:
            if not self._ready:
                self._backlog.append(change)
                return
            if change.seq > self._applied + 1:  # one before failed here
                self._replay(change.seq - 1)
            self._take(change)
        self._builder.wrote(urgent=self._load() >= 1.0)

    def space(self, space: int) -> VectorSpace | None:
        """The index of a space row, or None when nothing was ever put in it."""
        return self._spaces.get(space)

    def pressure(self) -> float:
        """How far building lags behind writing: 0 (not at all) to 1 (the tail is several times its bound)."""
        return min(1.0, max(0.0, (self._load() - _EASY) / (_FULL - _EASY)))

    def wait_below(self, level: float, timeout: float) -> bool:
        """Waits until `pressure()` is below `level`; False when `timeout` seconds did not suffice. For write paths."""
        deadline = time.monotonic() + timeout
        while self.pressure() >= level:
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            time.sleep(min(0.01, left))
        return True

    def mend(self) -> None:
        """Looks at every vector row once, and puts those that were damaged back from the index. Takes a while; beside
        everything else. Nothing is mended once the store is closed."""
        for record in self._store.read().all_spaces():
            lost = recovery.mend(self._spaces.get(record.row), self._store, record).lost
            with self._lock:
                self._lost[record.row] = set(lost)

    def lost(self, app: int | None = None) -> int:
        """Vectors of an app, or of all, that no search finds because they are damaged and nobody has them any more."""
        if not any(self._lost.values()):
            return 0
        spaces = self._lost if app is None else self._apps.get(app, ())
        return sum(len(self._lost.get(space, ())) for space in list(spaces))

    def stats(self) -> dict[int, SpaceStats]:
        """space row -> counts."""
        return {row: space.stats() for row, space in self._spaces.copy().items()}

    def close(self) -> None:
        """Stops building and saves what is cheap to save. Within 3 seconds; what is left out is replayed next time."""
        deadline = time.monotonic() + _CLOSE_S
        self._builder.close(_CLOSE_S)
        if not self._ready or self._builder.alive:
            return
        for space in self._spaces.values():
            if time.monotonic() > deadline:
                return
            if space.exact_rows * space.dim * 4 <= _TAIL_BYTES_SAVED and space.lag(self._applied):
                try:
                    save_with_tail(space, self._applied)
                except OSError:
                    log.exception("index_not_saved", path=str(space.folder.path))

    def _replay(self, up_to: int) -> None:
        """Takes what was committed after `applied`, up to a change number, from the store. Raises TooOld."""
        if self._applied < up_to:
            for change in self._store.changes(self._applied):
                if change.seq > up_to:
                    break
                self._take(change)

    def _load(self) -> float:
        """The longest tail, in units of the size at which one is built."""
        worst = 0.0
        for row in self._heavy.copy():
            space = self._spaces.get(row)
            load = space.exact_rows / planner.seal_rows(space.dim) if space is not None else 0.0
            worst = max(worst, load)
            if load < 1.0:
                self._heavy.discard(row)
        return worst

    def _take(self, change: Change) -> None:
        if len(change.gone):
            for row in self._apps.get(change.app, ()):
                self._spaces[row].delete(change.gone, change.seq)
        for vectors in change.put:
            if not len(vectors.rows):
                continue
            space = self._spaces.get(vectors.space)
            if space is None:
                space = VectorSpace(self._folder(vectors.space), self._store.identity, vectors.matrix.shape[1])
                self._spaces = {**self._spaces, vectors.space: space}
            self._apps.setdefault(change.app, set()).add(vectors.space)
            space.put(vectors.rows, vectors.matrix, change.seq)
            if space.exact_rows >= planner.seal_rows(space.dim):
                self._heavy.add(vectors.space)
        for row in change.spaces_gone:
            self._forget(change.app, row)
        if self._lost:
            self._found(change)
        self._applied = max(self._applied, change.seq)

    def _found(self, change: Change) -> None:
        """What was lost and is put again, or gone, is not lost any more."""
        for row in self._apps.get(change.app, ()):
            self._lost.get(row, set()).difference_update(change.gone.tolist())
        for vectors in change.put:
            self._lost.get(vectors.space, set()).difference_update(vectors.rows.tolist())
        for row in change.spaces_gone:
            self._lost.pop(row, None)

    def _forget(self, app: int, row: int) -> None:
        space = self._spaces.get(row)
        self._apps.get(app, set()).discard(row)
        if space is not None:
            space.gone = True
            self._spaces = {key: value for key, value in self._spaces.items() if key != row}
            space.folder.remove()

    def _folder(self, row: int) -> Folder:
        return Folder(self._path / str(row))

    def _remove_strangers(self, records: dict[int, SpaceRecord]) -> None:
        """Removes folders of spaces that the store does not know."""
        for path in self._path.iterdir() if self._path.is_dir() else ():
            if path.name.isdecimal() and int(path.name) not in records:
                Folder(path).remove()

    def _catch_up(self, joined: int, records: dict[int, SpaceRecord]) -> None:
        """Replays what was committed after the files were written, then compares with the rows."""
        self._applied = min((space.covered for space in self._spaces.values()), default=joined)
        try:
            self._replay(joined)
        except TooOld:
            log.info("index_feed_trimmed", since=self._applied)
            for record in records.values():
                recovery.reconcile(self._spaces[record.row], self._store, record)
        queries = self._store.read()
        for record in records.values():
            space = self._spaces.get(record.row)
            # Only comparable while nobody writes.
            if space is not None and self._store.committed == joined and not recovery.agrees(space, queries, record):
                log.warning("index_disagrees", space=record.row)
                space.folder.sweep(None)
                self._spaces[record.row] = recovery.rebuilt(self._folder(record.row), self._store, record)
