"""Every app's catalog, kept in step with the store's change feed: start, catch-up and live writes are one path."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from postil.index.catalog import AppCatalog
from postil.index.columns import Columns
from postil.store.base import Change, Store, StoreClosed, TooOld

log = structlog.get_logger(__name__)

_CLOSE_S = 2.0
_RETRY_S = 1.0
_PAGE = 2048  # annotations read at a time


class Catalogs:
    """Follows the feed. Thread-safe.

    Args:
        store: The truth.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.RLock()
        self._columns = Columns()
        self._apps: dict[int, AppCatalog] = {}
        self._applied = 0
        self._ready = threading.Event()
        self._closing = False
        self._broken = False  # a change could not be taken
        self._loader: threading.Thread | None = None
        self._backlog: list[Change] = []

    def start(self) -> None:
        """Subscribes to the feed and reads all rows, on a thread of its own: what needs no catalog need not wait for
        it. Call once."""
        joined = self._store.subscribe(self.apply)
        self._loader = threading.Thread(target=self._begin, args=(joined,), name="catalog-loader", daemon=True)
        self._loader.start()

    def _begin(self, joined: int) -> None:
        started = time.monotonic()
        while True:
            try:
                self._load()
                break
            except StoreClosed:  # the server stops before it has quite begun
                return
            except Exception:
                log.exception("catalog_not_read")
                self._forget()
                time.sleep(_RETRY_S)
        with self._lock:
            self._applied = joined
            for change in self._backlog:
                self._take(change)
            self._backlog.clear()
            self._ready.set()
        count = sum(len(app.all) for app in self._apps.values())
        log.info("catalog_ready", annotations=count, seconds=round(time.monotonic() - started, 3))

    def close(self) -> None:
        """Waits for the loader, which ends soon: call it before the store closes."""
        self._closing = True
        if self._loader is not None:
            self._loader.join(_CLOSE_S)

    @property
    def applied(self) -> int:
        """The newest change applied."""
        return self._applied

    def apply(self, change: Change) -> None:
        """Takes one change from the feed, in order, from one thread at a time."""
        with self._lock:
            if not self._ready.is_set():
                self._backlog.append(change)
                return
            if self._broken:
                return  # whoever asks next reads everything anew
            try:
                if change.seq > self._applied + 1:  # one before did not come this way
                    self._catch_up(change.seq - 1)
                self._take(change)
            except Exception:
                self._broken = True  # half of it may be in
                raise

    @contextmanager
    def hold(self, app: int) -> Iterator[AppCatalog]:
        """An app's catalog, for as long as nobody else reads or writes it: keep it short. Waits until all is read."""
        self._ready.wait()
        with self._lock:
            if self._broken:
                self._read_anew()
            yield self._app(app)

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

    def _take(self, change: Change) -> None:
        app = self._app(change.app)
        if any(row in app.all for put in change.put for row in put.rows.tolist()):
            app.revectored = change.seq
        if len(change.gone):
            app.revectored = change.seq
            again = set(change.touched.tolist())
            app.remove(change.gone[[row not in again for row in change.gone.tolist()]])
        if len(change.touched):
            facts = change.facts
            app.put(facts if facts is not None else self._store.read().facts(change.touched.tolist()))
        if not app.all and len(change.gone):
            self._apps.pop(change.app)  # deleted, or as good as
        self._applied = max(self._applied, change.seq)

    def _catch_up(self, up_to: int) -> None:
        """Takes what was committed after `applied`, from the store; everything anew when the feed is too short."""
        try:
            for change in self._store.changes(self._applied):
                if change.seq > up_to:
                    return
                self._take(change)
        except TooOld:
            log.info("catalog_feed_trimmed", since=self._applied)
            self._forget()
            self._load()

    def _load(self) -> None:
        queries, after = self._store.read(), 0
        while not self._closing and (page := queries.scan_facts(after, _PAGE)):
            for app, facts in page.items():
                self._app(app).put(facts)
                after = max(after, facts.annotations[-1].record.row)

    def nbytes(self) -> int:
        """Bytes kept; about."""
        with self._lock:
            return self._columns.nbytes + sum(app.nbytes for app in self._apps.values())
