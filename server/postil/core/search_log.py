"""Keeps every search that ran: what was asked and which hits were shown, for feedback and to be shown again.

A search does not wait for this. It leaves its record in memory; a thread hands what has gathered to the store some
times a second. So the last moments before a crash may be missing, and under more load than the store takes, searches
run unrecorded (`dropped` counts them).
"""

from __future__ import annotations

import copy
import logging
import threading
import time
from collections.abc import Callable, Sequence
from itertools import islice
from typing import NamedTuple, TypeAlias

from postil.core.hit_cache import HitCache
from postil.core.hit_reader import HitReader, Scored
from postil.core.pages import Page
from postil.store.base import AppRecord, KeptHit, KeptSearch, Store, Transaction
from postil.v1.search_service_pb2 import PostAnnotationsSearchesRequest, PostInputsSearchesRequest

Request: TypeAlias = PostAnnotationsSearchesRequest | PostInputsSearchesRequest

BATCH = 256  # searches written at a time
EVERY_S = 0.2  # at least so often, while there are any
MAX_WAITING_BYTES = 64 << 20  # of records in memory, as estimated; more are dropped
MAX_REQUEST = 64 << 10  # bytes of a request that is kept whole
_RECORD_BYTES = 1024  # what a record takes beside its request and its hits
_DAY_US = 86_400_000_000
_FORGET_EVERY_S = 600.0
_FORGET_STEP = 2_000  # rows deleted per op, so that writers wait milliseconds

_log = logging.getLogger(__name__)


class _Waiting(NamedTuple):
    """A search that is not written yet: put into bytes by the thread that writes."""

    app: int
    time_us: int
    sequence: int
    request: Request
    page: Page
    found: Sequence[Scored]
    size: int  # estimated bytes in memory


class SearchLog:
    """The searches that ran. Thread-safe.

    Args:
        store: Where they are kept.
        days: How long; 0 keeps none.
        dropped: Told how many searches could not be recorded.
    """

    def __init__(self, store: Store, days: int, dropped: Callable[[int], object] = lambda _: None) -> None:
        self._store = store
        self._days = days
        self._dropped = dropped
        self._waiting: dict[tuple[int, str], _Waiting] = {}  # oldest first; those being written are still here
        self._bytes = 0
        self._gate = threading.Lock()
        self._some = threading.Event()
        self._enough = threading.Event()  # a whole batch, or the end
        self._closing = threading.Event()
        self._next_forgetting = 0.0
        self._thread = threading.Thread(target=self._run, name="postil-search-log", daemon=True)

    def start(self) -> None:
        """Begins to write."""
        self._thread.start()

    def close(self) -> None:
        """Writes what is left and ends the thread. Safe to call twice, and without `start`."""
        self._closing.set()
        self._enough.set()
        self._some.set()
        if self._thread.is_alive():
            self._thread.join()

    @property
    def waiting(self) -> int:
        """Searches in memory alone."""
        return len(self._waiting)

    def record(
        self,
        app: int,
        search_id: str,
        sequence: int,
        request: Request,
        page: Page,
        found: Sequence[Scored],
        size: int = 0,
    ) -> None:
        """Takes note of a search that ran. Costs microseconds.

        Args:
            app: Row of the app.
            search_id: The id of the response.
            sequence: The newest change there was when it began.
            request: What was asked; not to be changed afterwards.
            page: Which page is shown.
            found: What is shown, in order; not to be changed afterwards.
            size: Bytes of the response.
        """
        if not self._days:
            return
        length = request.ByteSize()
        if length > MAX_REQUEST:
            request, length = _lean(request), MAX_REQUEST
        size += length + _RECORD_BYTES
        entry = _Waiting(app, time.time_ns() // 1000, sequence, request, page, found, size)
        with self._gate:
            full = self._bytes + size > MAX_WAITING_BYTES
            if not full:
                self._bytes += size
                self._waiting[app, search_id] = entry
            count = len(self._waiting)
        if full:
            self._dropped(1)
        elif count == 1:
            self._some.set()
        elif count == BATCH:
            self._enough.set()

    def find(self, app_row: int, search_id: str) -> KeptSearch | None:
        """A search that ran in the app, written or not; None when there is none, or it was too long ago."""
        with self._gate:
            entry = self._waiting.get((app_row, search_id))
        return _kept(search_id, entry) if entry else self._store.read().kept_search(app_row, search_id)

    def replay(self, app: AppRecord, search_id: str) -> list[Scored] | None:
        """What the search had shown, in the same order and with the same scores, without what was deleted since.

        Inputs and annotations are as they are now. None when `find` gives None.
        """
        kept = self.find(app.row, search_id)
        if kept is None:
            return None
        reader = HitReader(self._store.read(), HitCache(), app)
        there = {hit.annotation: hit for hit in reader.of_annotations(list({hit.annotation for hit in kept.hits}))}
        return [Scored(hit.score, there[hit.annotation]) for hit in kept.hits if hit.annotation in there]

    def _run(self) -> None:
        while True:
            self._some.wait(_FORGET_EVERY_S)
            if not self._closing.is_set():
                self._enough.wait(EVERY_S)
            self._enough.clear()
            left = self._write()
            self._forget()
            if self._closing.is_set() and not left:
                return

    def _write(self) -> int:
        """Writes the oldest batch; how many wait then. What the store does not take is lost, and said so."""
        with self._gate:
            batch = list(islice(self._waiting.items(), BATCH))
        if batch:
            searches = [_kept(search_id, entry) for (_, search_id), entry in batch]
            self._try(lambda tx: tx.keep_searches(searches), len(searches))
        with self._gate:
            for key, entry in batch:
                del self._waiting[key]
                self._bytes -= entry.size
            left = len(self._waiting)
            if not left and not self._closing.is_set():
                self._some.clear()
        if left >= BATCH:
            self._enough.set()
        return left

    def _forget(self) -> None:
        """Deletes what is too old, now and then."""
        now = time.monotonic()
        if now < self._next_forgetting or self._closing.is_set():
            return
        self._next_forgetting = now + _FORGET_EVERY_S
        before_us = time.time_ns() // 1000 - self._days * _DAY_US
        while not self._closing.is_set() and self._try(lambda tx: tx.forget_searches(before_us, _FORGET_STEP)):
            pass

    def _try(self, op: Callable[[Transaction], int | None], lost: int = 0) -> int:
        """What the op gives; 0 when the store fails, which is logged: nobody waits for an answer here."""
        try:
            return self._store.write(op) or 0
        except Exception:  # noqa: BLE001 - a full disk must not end the thread
            _log.exception("the log of searches could not be written; %d searches are not in it", lost)
            if lost:
                self._dropped(lost)
            return 0


def _kept(search_id: str, entry: _Waiting) -> KeptSearch:
    return KeptSearch(
        app=entry.app,
        id=search_id,
        time_us=entry.time_us,
        sequence=entry.sequence,
        endpoint=entry.request.DESCRIPTOR.name.removesuffix("Request"),
        request=entry.request.SerializeToString(),
        page=entry.page.page,
        per_page=entry.page.per_page,
        end_user=next(filter(None, (search.end_user_id for search in entry.request.searches)), ""),
        hits=tuple([KeptHit(hit.annotation, hit.input, score) for score, hit in entry.found]),
    )


def _lean(request: Request) -> Request:
    """The request without the bytes of its pictures; without its searches when it is too large even so."""
    lean = copy.deepcopy(request)
    for search in lean.searches:
        for rank in search.query.ranks:
            rank.annotation.data.image.ClearField("base64")
    if lean.ByteSize() > MAX_REQUEST:
        lean.ClearField("searches")
    return lean
