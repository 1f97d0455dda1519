"""Every app's catalog, kept in step with the store's change feed: start, catch-up and live writes are one path.

The writer thread only queues changes. They are taken together, by the next search that needs them, or by a thread of
our own soon after: many small writes cost little more than one large one, and nobody who writes waits for it.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from types import TracebackType

import numpy as np
import structlog

from postil.index import checkpoint
from postil.index.batch import Batch, merged
from postil.index.catalog import AppCatalog
from postil.index.checkpoint import Stamp
from postil.index.columns import Columns
from postil.index.files import Damaged
from postil.store.base import Change, Corrupt, Store, StoreClosed, TooOld

log = structlog.get_logger(__name__)

_CLOSE_S = 2.0
_RETRY_S = 1.0
_PAGE = 2048  # annotations read at a time
_REPLAY = 512  # changes replayed at a time
_SAMPLE = 32  # annotations compared with their rows after a start
_TAKE_EVERY_S = 0.2  # queued changes wait no longer than this
_QUEUED = 1024  # annotations that may be queued; whoever writes more takes them
_SAVE_AFTER = 8192  # annotations taken, at least, before the file is written anew
_SAVE_SHARE = 8  # and at least this part of all
_SAVE_IDLE = 1024  # annotations that are worth a file when nothing is written any more
_IDLE_S = 2.0
_SAVE_PAUSE_S = 10.0  # between two files while writes come in
_SAVED_AT_CLOSE = 256 << 20  # bytes; larger catalogs catch up after a restart rather than keep a closing server


class Catalogs:
    """Follows the feed. Thread-safe.

    Args:
        store: The truth.
        folder: Where a checkpoint is kept, so that the next start is quick; None keeps none.
        schema: Of the store's rows; a checkpoint of another one is not used.
    """

    def __init__(self, store: Store, folder: Path | None = None, schema: str = "") -> None:
        self._store = store
        self._folder = folder
        self._stamp = Stamp(store.identity, schema)
        self._lock = threading.RLock()
        self._columns = Columns()
        self._apps: dict[int, AppCatalog] = {}
        self._queue: deque[Change] = deque()
        self._queued = 0  # annotations in the queue, about
        self._wake = threading.Event()
        self._applied = 0
        self._ready = threading.Event()
        self._closing = threading.Event()
        self._broken = False  # a change could not be taken
        self._unreadable: Exception | None = None  # why what there is could not be read, until it could
        self._keeper = threading.Thread(target=lambda: None, name="catalog-keeper", daemon=True)
        self._wrote = 0.0  # when the newest change came
        self._unsaved = 0  # annotations taken since the file was written
        self._saved = 0.0  # when that was

    def start(self) -> None:
        """Subscribes to the feed and reads what there is, on a thread of its own: what needs no catalog need not wait
        for it. Call once."""
        joined = self._store.subscribe(self.apply)
        self._keeper = threading.Thread(target=self._keep, args=(joined,), name="catalog-keeper", daemon=True)
        self._keeper.start()

    def close(self) -> None:
        """Waits for the thread, which ends soon, and leaves a checkpoint: call it before the store closes."""
        self._closing.set()
        self._wake.set()
        if self._keeper.ident is not None:
            self._keeper.join(_CLOSE_S)

    @property
    def applied(self) -> int:
        """The newest change applied."""
        return self._applied

    def apply(self, change: Change) -> None:
        """Takes one change from the feed, in order, from one thread at a time."""
        self._queue.append(change)
        self._queued += len(change.touched) + len(change.gone)
        self._wrote = time.monotonic()
        if self._queued > _QUEUED and self._ready.is_set():
            with self._lock:
                self._drain()
        elif not self._wake.is_set():
            self._wake.set()

    def hold(self, app: int) -> Held:
        """An app's catalog, for as long as nobody else reads or writes it: keep it short. Waits until all is read."""
        while not self._ready.is_set() and not self._ready.wait(_RETRY_S):
            if self._closing.is_set():
                raise StoreClosed("The server stops before its catalog was read.")
            if self._unreadable is not None:  # a caller that waits for a damaged database would wait for ever
                raise Corrupt(f"What filters need cannot be read: {self._unreadable}. See what `postil verify` says.")
        return Held(self._lock, self._entered, app)

    def _entered(self, app: int) -> AppCatalog:
        """The catalog, up to date; the lock is held."""
        if self._queue:
            self._drain()
        if self._broken:
            self._read_anew()
        return self._app(app)

    # taking changes; the lock is held

    def _drain(self) -> None:
        """Takes what is queued."""
        while self._queue:
            changes = [self._queue.popleft() for _ in range(len(self._queue))]
            self._queued = 0
            newer = [change for change in changes if change.seq > self._applied]
            if self._broken or not newer:
                continue  # whoever asks next reads everything anew
            try:
                if newer[0].seq > self._applied + 1:  # one before did not come this way
                    self._catch_up(newer[0].seq - 1)
                self._take(newer)
            except Exception:
                self._broken = True  # half of it may be in
                log.exception("catalog_change_not_taken")

    def _take(self, changes: list[Change]) -> None:
        """Takes changes that follow on what is here."""
        for batch in merged(changes, lambda app, row: app in self._apps and row in self._apps[app].all):
            self._take_batch(batch)
        self._applied = changes[-1].seq

    def _take_batch(self, batch: Batch) -> None:
        app = self._app(batch.app)
        app.revectored = batch.revectored or app.revectored
        if batch.gone:
            app.remove(np.array(sorted(batch.gone), np.int64))
        if batch.unread:
            batch.add(self._store.read().facts(sorted(batch.unread)))
        if batch.annotations or batch.inputs:
            app.put(batch.facts())
        if not app.all and batch.gone:
            self._apps.pop(batch.app)  # deleted, or as good as
        self._unsaved += len(batch.annotations) + len(batch.gone)

    def _catch_up(self, up_to: int) -> None:
        """Takes what was committed after `applied`, from the store; everything anew when the feed is too short."""
        try:
            changes = (change for change in self._store.changes(self._applied) if change.seq <= up_to)
            while some := list(islice(changes, _REPLAY)):
                self._take(some)
        except TooOld:
            log.info("catalog_feed_trimmed", since=self._applied)
            self._forget()
            self._load()
            self._applied = up_to

    def _read_anew(self) -> None:
        log.warning("catalog_read_anew")
        joined = self._store.committed
        self._forget()
        self._load()
        self._applied, self._broken = joined, False

    def _forget(self) -> None:
        self._columns = Columns()
        self._apps = {}

    def _app(self, app: int) -> AppCatalog:
        found = self._apps.get(app)
        if found is None:
            found = self._apps[app] = AppCatalog(self._columns)
        return found

    def _load(self) -> None:
        queries, after = self._store.read(), 0
        while not self._closing.is_set() and (page := queries.scan_facts(after, _PAGE)):
            for app, facts in page.items():
                self._app(app).put(facts)
                after = max(after, facts.annotations[-1].record.row)
                self._unsaved += len(facts.annotations)

    # the thread of our own

    def _keep(self, joined: int) -> None:
        if not self._begin(joined):
            return
        while not self._closing.is_set():
            self._wake.wait(_IDLE_S)
            if self._closing.wait(_TAKE_EVERY_S):
                break
            self._wake.clear()
            with self._lock:
                self._drain()
            self.tidy()
            if self._due():
                self._save()
        if self._unsaved and self.nbytes() <= _SAVED_AT_CLOSE:
            self._save()

    def _begin(self, joined: int) -> bool:
        """Reads what there is; False when the server stops before it has quite begun."""
        started = time.monotonic()
        while True:
            try:
                source = self._open(joined)
                break
            except StoreClosed:
                return False
            except Exception as error:
                self._unreadable = error
                log.exception("catalog_not_read")
                self._discard()
                if self._closing.wait(_RETRY_S):
                    return False
        with self._lock:
            self._drain()
        if self._closing.is_set():
            return False  # it may not be all
        self._unreadable = None
        self._ready.set()
        count = sum(len(app.all) for app in self._apps.values())
        seconds = round(time.monotonic() - started, 3)
        log.info("catalog_ready", annotations=count, seconds=seconds, source=source)
        return True

    def _open(self, joined: int) -> str:
        """Everything up to a change number: from the file and the feed, else from rows. Where from."""
        if self._folder is not None:
            try:
                saved = checkpoint.load(self._folder, self._stamp, joined)
                if saved is not None:
                    self._columns, self._apps, self._applied = saved.columns, saved.apps, saved.applied
                    self._check()
                    self._catch_up(joined)
                    return "checkpoint"
            except Damaged as error:
                log.warning("catalog_checkpoint_refused", reason=str(error))
                self._discard()
        self._load()
        self._applied = joined
        return "rows"

    def _discard(self) -> None:
        """Nothing of what was read is trusted, nor the file."""
        if self._folder is not None:
            checkpoint.remove(self._folder)
        self._forget()

    def _check(self) -> None:
        """Compares the newest annotations and some others with their rows. Raises `Damaged`."""
        for app in self._apps.values():
            rows = np.array(app.all.to_array(), np.int64)
            some = {*rows[-_SAMPLE // 2 :].tolist(), *rows[:: max(1, len(rows) * 2 // _SAMPLE)].tolist()}
            for fact in self._store.read().facts(sorted(some)).annotations:
                record = fact.record
                if self._columns.created[self._columns.place(record.row)] != record.created_us:
                    raise Damaged(f"annotation {record.row} is not the one it was")

    def tidy(self) -> None:
        """Lets go of what is gone, when that is worth it (docs/adr/0025). App by app, so that nobody waits long."""
        with self._lock:
            if not self._columns.wasteful:
                return
            self._columns.sweep()
            apps = list(self._apps.values())
        for app in apps:
            with self._lock:
                app.tidy()

    def _due(self) -> bool:
        """The file is worth writing anew."""
        now = time.monotonic()
        if self._folder is None or self._broken or not self._unsaved:
            return False
        if now - self._wrote > _IDLE_S:
            return self._unsaved >= _SAVE_IDLE
        total = sum(len(app.all) for app in self._apps.values())
        return now - self._saved > _SAVE_PAUSE_S and self._unsaved >= max(_SAVE_AFTER, total // _SAVE_SHARE)

    def _save(self) -> None:
        """Writes the checkpoint; one that cannot be written costs the next start some time."""
        if self._folder is None or self._broken:
            return
        with self._lock:
            self._drain()
            taken = checkpoint.snapshot(self._stamp, self._applied, self._columns, self._apps)
            self._unsaved = 0
        self._saved = time.monotonic()
        try:
            checkpoint.save(self._folder, taken)
        except OSError:
            log.exception("catalog_checkpoint_not_written", path=str(self._folder))

    def nbytes(self) -> int:
        """Bytes kept; about."""
        with self._lock:
            return self._columns.nbytes + sum(app.nbytes for app in self._apps.values())


class Held:
    """`with` gives the catalog, and lets go of it at the end."""

    __slots__ = ("_app", "_enter", "_lock")

    def __init__(self, lock: threading.RLock, enter: Callable[[int], AppCatalog], app: int) -> None:
        self._lock = lock
        self._enter = enter
        self._app = app

    def __enter__(self) -> AppCatalog:
        self._lock.acquire()
        try:
            return self._enter(self._app)
        except BaseException:
            self._lock.release()
            raise

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._lock.release()
