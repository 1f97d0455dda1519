"""`postil` with a moment at which it kills itself: the product unchanged, the system calls and a few steps wrapped.

    python -m crash.armed MOMENT HIT SEED serve --data-dir DIR ...

MOMENT is a key of `MOMENTS`, HIT which time it is reached counts (from 1). Segments, checkpoints and trimming of the
change feed come much more often than they do in production, so that seconds of load reach every moment.
"""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

SMALL_SEGMENT = 256  # rows of a tail that becomes a segment
CHECKPOINT_PAGES = 60
KEEP_CHANGES = 200

# What happens at each moment, and up to which hit it is worth waiting for it.
MOMENTS: dict[str, int] = {
    "op.after-another": 60,  # one op of a group has run, nothing is committed
    "commit.before": 100,  # a group has run, nothing is committed
    "commit.after": 100,  # rows are durable; no index, no caller knows
    "index.applied": 100,  # the index knows, no caller does
    "checkpoint.middle": 8,  # pages are being copied from the log into the database
    "checkpoint.after": 8,
    "feed.trim": 3,
    "segment.half-vectors": 6,  # a build has written some of its vectors
    "segment.half-graph": 3,  # hnswlib has written half of its file
    "segment.half-written": 8,  # any file of a segment, before its fsync
    "segment.before-rename": 12,
    "segment.after-rename": 12,
    "segment.before-manifest": 3,  # a segment is published in memory only
    "segment.before-unlink": 4,  # the manifest has changed, the old files are still there
    "manifest.half-written": 3,
    "manifest.before-rename": 3,
    "manifest.after-rename": 3,
    "catalog.half-written": 2,  # what annotations say, kept so that a start need not read them all
    "catalog.before-rename": 2,
    "catalog.after-rename": 2,
    "blob.half-written": 20,
    "blob.before-rename": 20,
    "blob.after-rename": 20,
    "blob.before-row": 20,  # the file is durable, no row refers to it
    "migration.in-step": 60,  # any statement of a step
    "migration.between-steps": 8,
    "rehost.middle": 2,  # stored URLs are being moved to another public URL
    "rename.piece": 3,  # some labels have their concept's new name, in an op that is not through
    "erase.piece": 3,  # some rows of a deleted app are gone, in an op that is not through
    "sweep.before-unlink": 4,  # a medium that nobody keeps is about to go
    "sweep.after-unlink": 4,
    "start.index-read": 1,
}


class Fuse:
    """Counts the times that the one armed moment is reached, and ends the process at the right one."""

    def __init__(self, moment: str, hit: int, seed: int) -> None:
        if moment not in MOMENTS:
            raise SystemExit(f"{moment!r} is no moment; there are {', '.join(MOMENTS)}")
        self._moment = moment
        self._left = hit
        self._lock = threading.Lock()
        self.random = random.Random(seed)

    def armed(self, moment: str) -> bool:
        """Whether this is the moment and the time; for moments that need some preparation."""
        if moment != self._moment:
            return False
        with self._lock:
            self._left -= 1
            return self._left == 0

    def at(self, moment: str) -> None:
        """Ends the process when it is the moment and the time."""
        if self.armed(moment):
            burn()

    def cut(self, path: Path) -> None:
        """Ends the process with a file half written."""
        os.truncate(path, self.random.randint(0, path.stat().st_size))
        burn()

    def within(self, seconds: float) -> None:
        """Ends the process at any time from now, while native code goes on."""
        threading.Timer(self.random.uniform(0, seconds), burn).start()


def burn() -> None:
    """As `kill -9` does it."""
    os.kill(os.getpid(), signal.SIGKILL)
    signal.pause()


def kind_of(path: str) -> str:
    """Which of our files this is, "" for none that a moment is about."""
    parts = Path(path).parts
    if "blobs" in parts:
        return "blob"
    if "index" in parts:
        return next((kind for kind in ("manifest", "catalog") if parts[-1].startswith(kind)), "segment")
    return ""


def arm_files(fuse: Fuse) -> None:
    """Renames, fsyncs and removals of our own files."""
    from postil.store import blobs

    rename, replace, fsync, unlink = os.rename, os.replace, os.fsync, os.unlink

    def moved(real: Callable[..., None]) -> Callable[..., None]:
        def move(source: Any, target: Any, **options: Any) -> None:
            kind = kind_of(os.fspath(target))
            fuse.at(f"{kind}.before-rename")
            real(source, target, **options)
            fuse.at(f"{kind}.after-rename")

        return move

    def synced(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").resolve()
        if path.is_file() and fuse.armed(f"{kind_of(str(path))}.half-written"):
            fuse.cut(path)
        fsync(descriptor)

    def removed(path: Any, **options: Any) -> None:
        scratch = os.fspath(path).endswith(".tmp") or Path(path).name.startswith(blobs._PARTIAL)
        kind = "" if scratch else kind_of(os.fspath(path))
        fuse.at({"segment": "segment.before-unlink", "blob": "sweep.before-unlink"}.get(kind, ""))
        unlink(path, **options)
        fuse.at("sweep.after-unlink" if kind == "blob" else "")

    wrapped = {"rename": moved(rename), "replace": moved(replace), "fsync": synced, "unlink": removed}
    for name, function in wrapped.items():
        setattr(os, name, function)


def arm_database(fuse: Fuse) -> None:
    """Statements on every connection, of the writer and of the migrations."""
    from postil.store import sqlite

    migrating = threading.Event()
    connect, migrate = sqlite3.connect, vars(sqlite)["migrate"]

    class Armed(sqlite3.Connection):
        ops = 0  # of the transaction under way

        def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
            if migrating.is_set():
                fuse.at("migration.in-step")
            self.ops = self.ops + (sql == "SAVEPOINT op") if self.in_transaction else 0
            if sql == "SAVEPOINT op" and self.ops > 1:
                fuse.at("op.after-another")
            elif sql == "COMMIT":
                fuse.at("commit.before")
            elif sql.startswith("DELETE FROM changes"):
                fuse.at("feed.trim")
            if sql == "COMMIT" and fuse.armed("checkpoint.middle"):
                super().execute("PRAGMA wal_autocheckpoint=1")
                fuse.within(0.004)
            cursor = super().execute(sql, *arguments)
            if sql == "COMMIT":
                fuse.at("migration.between-steps" if migrating.is_set() else "commit.after")
                fuse.at("checkpoint.after")
            return cursor

    def opened(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection = connect(*arguments, factory=Armed, **options)
        connection.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
        return connection

    def watched(path: Path) -> None:
        migrating.set()
        migrate(path)
        migrating.clear()

    vars(sqlite3)["connect"] = opened
    vars(sqlite)["migrate"] = watched


def arm_steps(fuse: Fuse) -> None:
    """Steps of the product that no system call marks."""
    from postil.core import concept_names, rehosting
    from postil.index import build, manager, recovery, space
    from postil.store import blobs, transaction

    after(manager.IndexManager, "apply", lambda: fuse.at("index.applied"))
    after(space.VectorSpace, "publish", lambda: fuse.at("segment.before-manifest"))
    after(build.Build, "step", lambda: fuse.at("segment.half-vectors"))
    after(blobs.FileBlobs, "put", lambda: fuse.at("blob.before-row"))
    after(recovery, "opened", lambda: fuse.at("start.index-read"))
    after(rehosting, "_rewrite", lambda: fuse.at("rehost.middle"))
    after(concept_names, "_rewrite", lambda: fuse.at("rename.piece"))
    after(transaction.SqliteTransaction, "erase_app", lambda: fuse.at("erase.piece"))
    save = build.Build._save_graph

    def half(self: Any, graph: Any, entry: Any) -> Any:
        if fuse.armed("segment.half-graph"):
            scratch = self._folder.scratch(f"{self.name}.hnsw")
            graph.index.save_index(str(scratch))
            fuse.cut(scratch)
        return save(self, graph, entry)

    build.Build._save_graph = half  # type: ignore[method-assign]


def after(owner: Any, name: str, act: Callable[[], None]) -> None:
    """Does something whenever a function has returned."""
    real = getattr(owner, name)

    def wrapped(*arguments: Any, **options: Any) -> Any:
        result = real(*arguments, **options)
        act()
        return result

    setattr(owner, name, wrapped)


def hurry() -> None:
    """Small segments, short feeds: what takes hours of load comes within a second."""
    from postil.core import chores, concept_names, rehosting
    from postil.index import builder, catalogs, manager, planner
    from postil.store import sqlite, writer, writes_inputs

    planner.seal_rows = lambda dim: SMALL_SEGMENT  # noqa: ARG005
    planner.GRAPH_MIN = SMALL_SEGMENT // 2
    builder._LAG = 40
    catalogs._SAVE_AFTER, catalogs._SAVE_PAUSE_S, catalogs._SAVE_IDLE, catalogs._IDLE_S = 100, 0.2, 20, 0.2
    writer.TRIM_EVERY = 50
    rehosting._CHUNK = 50
    concept_names.PIECE = 20
    writes_inputs._ERASED = 60
    chores.KEPT_S = 20.0  # longer than any post takes here from its file to its row
    chores.Chores.__init__.__defaults__ = (*chores.Chores.__init__.__defaults__[:-1], 0.5)  # type: ignore[index]
    chores._LOOK_AGAIN_S = 0.5
    sqlite.SqliteStore.__init__.__kwdefaults__["keep_changes"] = KEEP_CHANGES  # type: ignore[index]
    manager.IndexManager.__init__.__defaults__ = (0.2,)


def main() -> None:
    moment, hit, seed, *arguments = sys.argv[1:]
    fuse = Fuse(moment, int(hit), int(seed))
    hurry()
    arm_database(fuse)
    arm_steps(fuse)
    arm_files(fuse)
    from postil import cli

    sys.argv[1:] = arguments
    cli.main()


if __name__ == "__main__":
    main()
