"""What goes on behind calls, a piece at a time: erasing deleted apps, ending renames, sweeping media nobody keeps.

The work is in the rows: a server that was killed takes it up where it was.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from functools import partial

from postil import processors
from postil.core import concept_names
from postil.store.base import Corrupt, Store, StoreClosed, Transaction, WriteFailed

KEPT_S = 3600.0  # media that nobody refers to yet: what posted it may still be on its way to its rows
_LOOK_AGAIN_S = 30.0
_BREATH_S = 0.02  # between folders of media

_log = logging.getLogger(__name__)


class Chores:
    """One thread. `wake` says that there is something to erase.

    Args:
        store: Where the work is.
        sound: Whether the rows can be relied on. While they cannot, no medium is swept.
        swept: Called after each sweep of media, for what is derived from them.
        every_s: Seconds between sweeps.
    """

    def __init__(
        self,
        store: Store,
        sound: Callable[[], bool] = lambda: True,
        swept: Callable[[], object] = lambda: None,
        every_s: float = KEPT_S,
    ) -> None:
        self._store = store
        self._sound = sound
        self._swept = swept
        self._every_s = every_s
        self._work = threading.Event()
        self._stopping = threading.Event()
        self._sweep_now = threading.Event()
        self._thread = threading.Thread(target=self._run, name="postil-chores", daemon=True)

    def start(self) -> None:
        """Begins with what an earlier run left."""
        self._work.set()
        self._thread.start()

    def wake(self) -> None:
        """Says that an app was deleted."""
        self._work.set()

    def sweep_soon(self) -> None:
        """Says that the rows were looked through: media may be swept from now on."""
        self._sweep_now.set()
        self._work.set()

    def close(self) -> None:
        """Breaks off after the piece at hand."""
        self._stopping.set()
        self._work.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        processors.step_back()
        swept = time.monotonic()
        while not self._stopping.is_set():
            self._work.wait(_LOOK_AGAIN_S)
            self._work.clear()
            if time.monotonic() - swept >= self._every_s:
                self._sweep_now.set()
            try:
                self._rows()
                if self._sweep_now.is_set() and not self._stopping.is_set():
                    self._sweep_now.clear()
                    swept = time.monotonic()
                    self._media()
            except StoreClosed:
                return
            except (WriteFailed, Corrupt) as error:
                _log.warning("chores wait: %s", error)
            except Exception:  # noqa: BLE001 - the thread must outlive a passing fault of the store
                _log.exception("chores could not be done")

    def _rows(self) -> None:
        """Renames that a call did not end, then apps."""
        while not self._stopping.is_set() and self._store.read().renames(1):
            self._store.write(concept_names.step)
        for app in self._store.read().erasing_apps():
            while not self._stopping.is_set() and self._store.write(partial(_erase, app)):
                pass

    def _media(self) -> None:
        if self._sound():
            removed = self._store.blobs.sweep(lambda digest: self._store.read().blob_used(digest), KEPT_S, self._go_on)
            if removed:
                _log.info("%d media that nobody kept are gone", removed)
            self._swept()

    def _go_on(self) -> bool:
        return self._sound() and not self._stopping.wait(_BREATH_S)


def _erase(app: int, tx: Transaction) -> bool:
    return tx.erase_app(app)
