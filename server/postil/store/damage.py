"""What the disk and a damaged database do to us, in the words of the contract; and what is known of the damage.

SQLite notices pages that are not what a page can be, when it reads them. From then on nothing is written to the file:
what is still good in it stays so. Reads go on, and those that meet the damage say so.
"""

from __future__ import annotations

import errno
import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from postil import processors
from postil.store import seals
from postil.store.base import Corrupt, StoreClosed, WriteFailed
from postil.store.messages import damaged_messages
from postil.store.sql import connect

_DISK_CODES = frozenset(
    (
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
    )
)
_DAMAGE_CODES = frozenset((sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB))
_UNDECODABLE = "Could not decode to UTF-8"  # Python's own, without a code; we only ever write UTF-8
_REFUSED = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO))

_LOOK_S = 0.5  # that a call waits
_LOOK_EVERY_S = 600.0

_log = logging.getLogger(__name__)


class Broken(Corrupt):
    """The database file itself is damaged. `args[0]` says how, and what to do."""


class Health:
    """What is known of a database's damage. Thread-safe; damage is noted once and never forgotten.

    Args:
        path: The database file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._damage = ""
        self._gate = threading.Lock()
        self._looking: Checker | None = None
        self._look_at = 0.0  # monotonic; not before

    @property
    def damage(self) -> str:
        """What SQLite said of the first damage met; "" while none was."""
        return self._damage

    def note(self, said: str) -> Broken:
        """Remembers damage, so that nothing is written any more; the exception to raise."""
        with self._gate:
            first = not self._damage
            self._damage = self._damage or said
        if first:
            _log.error("the database %s is damaged, nothing is written to it any more: %s", self._path, said)
        return Broken(
            f"The database {self._path} is damaged ({self._damage}). Nothing is written to it any more; reads that do"
            " not meet the damage go on. Stop the server, see what `postil verify` says, and put the newest backup in"
            " its place with `postil restore`."
        )

    def check_writable(self) -> None:
        """Raises Broken once damage is known."""
        if self._damage:
            raise self.note(self._damage)

    def explain(self, error: BaseException) -> BaseException:
        """SQLite's and the system's complaints in the words of the contract; anything else as it is."""
        explained = error
        if isinstance(error, sqlite3.Error):
            explained = self._of_sqlite(error)
        elif isinstance(error, OSError) and error.errno in _REFUSED:
            explained = refused(error)
        if explained is not error:
            explained.__cause__ = error
        return explained

    def suspect(self, error: BaseException) -> BaseException:
        """The same for an error that nobody expected while a server starts: SQLite looks through all pages, to see
        whether damage is behind it."""
        explained = self.explain(error)
        if explained is error and isinstance(error, Exception):
            checker = Checker(self._path, self)
            checker.start()
            checker.wait()
            if self._damage:
                explained = self.note(self._damage)
                explained.__cause__ = error
        return explained

    def look(self, error: Exception) -> BaseException:
        """The same for one that nobody expected while a server runs: now and then the pages and messages are looked
        through on account of it. A small database is through in time for this error, a large one for the next."""
        with self._gate:
            if not self._damage and time.monotonic() >= self._look_at:
                self._look_at = time.monotonic() + _LOOK_EVERY_S
                self._looking = Checker(self._path, self)
                self._looking.start()
            looking = self._looking
        if looking is not None:
            looking.wait(_LOOK_S)
        if not self._damage:
            return error
        explained = self.note(self._damage)
        explained.__cause__ = error
        return explained

    def close(self) -> None:
        """Looks no further."""
        if self._looking is not None:
            self._looking.close()

    def explain_opening(self, error: BaseException) -> BaseException:
        """The same while the database is opened, when a row or a table that every one has can only be missing through
        damage."""
        explained = self.explain(error)
        if explained is error and isinstance(error, TypeError | ValueError | sqlite3.Error):
            explained = self.note(f"what every database holds is missing: {error}")
            explained.__cause__ = error
        return explained

    def _of_sqlite(self, error: sqlite3.Error) -> BaseException:
        code = getattr(error, "sqlite_errorcode", None)
        if code is None:
            return self.note(str(error)) if _UNDECODABLE in str(error) else error
        if code & 0xFF in _DAMAGE_CODES:
            return self.note(str(error))
        if code & 0xFF in _DISK_CODES:
            full = "the disk is full" if code & 0xFF == sqlite3.SQLITE_FULL else "the disk refused"
            return WriteFailed(
                f"Nothing was kept, {full}: {error} ({error.sqlite_errorname}, {self._path}). Reads and searches go on;"
                " make room, then try again."
            )
        return error


def refused(error: OSError) -> WriteFailed:
    """A file that could not be written."""
    return WriteFailed(
        f"Nothing was kept, the disk refused: {error.strerror or error} ({error.filename or 'unknown file'})."
        " Reads and searches go on; make room, then try again."
    )


class Checker:
    """Lets SQLite look through all pages once, beside everything else, on a thread of its own.

    Args:
        path: The database file.
        health: Told of the damage.
        then: Called last, unless it was broken off: what else is to be looked at.
    """

    def __init__(
        self,
        path: Path,
        health: Health,
        then: Callable[[], object] = lambda: None,
    ) -> None:
        self._path = path
        self._health = health
        self._then = then
        self._closing = threading.Event()
        self._connection: sqlite3.Connection | None = None
        self._thread = threading.Thread(target=self._run, name="postil-check", daemon=True)

    def start(self) -> None:
        """Begins; returns at once."""
        self._thread.start()

    def wait(self, timeout: float | None = None) -> None:
        """Until it is through, or for so many seconds."""
        self._thread.join(timeout)

    def close(self) -> None:
        """Breaks off."""
        self._closing.set()
        while self._thread.is_alive():
            connection = self._connection
            if connection is not None:
                connection.interrupt()
            self._thread.join(0.05)

    def _run(self) -> None:
        processors.step_back()
        try:
            with closing(connect(self._path, writer=False)) as connection:
                self._connection = connection
                if not self._closing.is_set():
                    self._look(connection)
                self._connection = None
            if not self._closing.is_set() and not self._health.damage:
                self._then()
        except StoreClosed:
            pass
        except Exception as error:  # noqa: BLE001 - a thread of its own
            if not self._closing.is_set() and self._health.explain(error) is error:
                _log.exception("the database could not be looked through")

    def _look(self, connection: sqlite3.Connection) -> None:
        for (said,) in connection.execute("PRAGMA quick_check(1)"):
            if said != "ok":
                self._health.note(" ".join(str(said).split()))
                return
        for look in (damaged_messages, seals.broken):
            for said in look(connection, lambda: not self._closing.is_set()):
                self._health.note(said)
