"""Backups: a copy of the database at one moment with the media that it names, whole or not there.

BACKUP/backup.json       what it is: sequence, schema, version, time, and the checksums of the two files below
BACKUP/postil.sqlite3    the database
BACKUP/blobs.sha256      the checksum of every medium, as `sha256sum --check` reads it
BACKUP/blobs/ab/cdef...  the media

A backup is written beside its destination and renamed at the end, its description last: what lies under the final name
is complete and on disk. The database is read in one transaction, beside a server that goes on writing; media are never
changed, and a sweep waits (`Pin`). The index is not part of it: it is read again from rows.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import postil
from postil.store import migrations
from postil.store.blobs import Pin, intact, sync_directory
from postil.store.layout import BLOBS, DATABASE, RESTORING, keep_private, private_file
from postil.store.lock import DirectoryLock
from postil.store.sql import connect, connect_still
from postil.store.verify import database_problems

FORMAT = 1
MANIFEST = "backup.json"
LIST = "blobs.sha256"
_PARTIAL = ".partial"
_PAGES = 4096  # copied at a time: 32 MiB
_BLOCK = 1 << 20
_AT_ONCE = 4  # media
_KEEPERS = ("blob_refs", "version_blobs")  # the second came with m0014

Progress = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and how much there is."""


class Unusable(Exception):
    """A backup cannot be taken, read or put back. `args[0]` says why and what to do."""


@dataclass(frozen=True, slots=True)
class Description:
    """What a backup says about itself."""

    taken: str  # UTC, ISO 8601
    version: str  # of the Postil that took it
    schema: str  # the newest migration in it
    identity: str  # of the store
    sequence: int  # the newest change in it
    database_bytes: int
    database_sha256: str
    blobs: int
    blob_bytes: int
    list_sha256: str


def take(data_dir: Path, destination: Path, *, reuse: Path | None, progress: Progress) -> Description:
    """Backs a data directory up, also while its server runs.

    Args:
        data_dir: What to back up.
        destination: The folder to make; it must not exist.
        reuse: An earlier backup on the same file system: media that it holds are linked instead of copied, once their
            checksums hold.
        progress: See `Progress`.

    Raises:
        Unusable: There is nothing to back up, it is damaged, or the destination is taken.
        OSError: The destination cannot be written.
    """
    _check_places(data_dir, destination)
    if reuse is not None:
        read(reuse)
    with _naming(destination), _aside(destination) as partial, Pin(data_dir / BLOBS):
        sequence, identity = _copy_database(data_dir / DATABASE, partial / DATABASE, progress)
        _refuse_damaged(partial / DATABASE, progress)
        digests = list(_digests(partial / DATABASE))
        blob_bytes = _copy_blobs(digests, data_dir / BLOBS, partial / BLOBS, reuse, progress)
        _write(partial / LIST, "".join(f"{digest}  {_place(digest)}\n" for digest in digests).encode())
        description = Description(
            taken=datetime.now(UTC).isoformat(timespec="seconds"),
            version=postil.__version__,
            schema=_schema(partial / DATABASE),
            identity=identity,
            sequence=sequence,
            database_bytes=(partial / DATABASE).stat().st_size,
            database_sha256=_sha256(partial / DATABASE),
            blobs=len(digests),
            blob_bytes=blob_bytes,
            list_sha256=_sha256(partial / LIST),
        )
        _describe(partial / MANIFEST, description)
    return description


def _check_places(data_dir: Path, destination: Path) -> None:
    """Raises Unusable."""
    if not (data_dir / DATABASE).is_file() or (data_dir / RESTORING).exists():
        raise Unusable(f"There is no database at {data_dir / DATABASE}: nothing to back up.")
    if destination.exists():
        raise Unusable(f"{destination} exists already. Give each backup a name of its own.")
    if destination.resolve().is_relative_to(data_dir.resolve()):
        raise Unusable(f"{destination} lies in {data_dir}, and would be lost with it. Take the backup elsewhere.")


def read(backup: Path) -> Description:
    """What a backup says about itself. Raises Unusable when it is none, or its description is damaged."""
    path = backup / MANIFEST
    if not path.is_file():
        raise Unusable(f"{backup} is not a backup that `postil backup` finished: it has no {MANIFEST}.")
    try:
        whole = json.loads(path.read_text(encoding="utf-8"))
        if whole["format"] != FORMAT:
            raise Unusable(f"{path} has format {whole['format']}; this Postil reads format {FORMAT}.")
        if whole["sha256"] != _digest(whole["backup"]):
            raise Unusable(f"{path} does not match its own checksum: the backup is damaged. Use another.")
        return Description(**whole["backup"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise Unusable(f"{backup} is not a backup that `postil backup` finished: {error}.") from error


def problems(backup: Path, progress: Progress) -> Iterator[str]:
    """What is wrong with a backup, a sentence each: every checksum, then the rows. Raises Unusable when it is none."""
    description = read(backup)
    for name, expected in ((DATABASE, description.database_sha256), (LIST, description.list_sha256)):
        if not intact(backup / name, expected):
            yield f"{backup / name} is missing, or not what was written."
            return
    digests = _listed(backup)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        checked = pool.map(lambda digest: intact(backup / _place(digest), digest), digests)
        for done, (digest, sound) in enumerate(zip(digests, checked, strict=True), 1):
            if not sound:
                yield f"{backup / _place(digest)} is missing, or not what was written."
            progress("checking media", done, len(digests))
    yield from database_problems(backup / DATABASE)


def restore(backup: Path, data_dir: Path, progress: Progress) -> Description:
    """Puts a backup into an empty directory, after every checksum in it held. The database comes last.

    One that broke off is taken up again; until then no server starts there.

    Raises:
        Unusable: The backup is damaged, or the directory is not empty.
        DirectoryInUse: A server has the directory open.
        OSError: It cannot be written.
    """
    description = read(backup)
    if not migrations.knows(description.schema):
        raise Unusable(f"A newer Postil ({description.version}) took this backup, {backup}. Restore it with that one.")
    found = next(problems(backup, progress), "")
    if found:
        raise Unusable(f"The backup {backup} is damaged, nothing was restored: {found}")
    if data_dir.is_dir() and any(data_dir.iterdir()) and not (data_dir / RESTORING).exists():
        raise Unusable(f"{data_dir} is not empty. Restore into a new directory, or move what is there aside first.")
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    _write(data_dir / RESTORING, f"{backup.absolute()}\n".encode())
    sync_directory(data_dir)
    lock = DirectoryLock(data_dir)
    try:
        with _naming(data_dir):
            _put(backup, data_dir, description, progress)
    finally:
        lock.release()
    return description


def _put(backup: Path, data_dir: Path, description: Description, progress: Progress) -> None:
    digests = _listed(backup)
    (data_dir / BLOBS).mkdir(mode=0o700, exist_ok=True)
    keep_private(data_dir)
    _copy_blobs(digests, backup / BLOBS, data_dir / BLOBS, None, progress)
    part = data_dir / (DATABASE + _PARTIAL)
    if _copied(backup / DATABASE, part) != description.database_sha256:
        raise Unusable(f"{backup / DATABASE} changed while it was read. Nothing can be started in {data_dir}.")
    part.replace(data_dir / DATABASE)
    sync_directory(data_dir)
    (data_dir / RESTORING).unlink()
    sync_directory(data_dir)


@contextlib.contextmanager
def _naming(place: Path) -> Iterator[None]:
    """What a write that fails does not say: where."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            raise OSError(error.errno, error.strerror, str(place)) from error
        raise


@contextlib.contextmanager
def _aside(destination: Path) -> Iterator[Path]:
    """A folder beside the destination that takes its place at the end, or goes away."""
    partial = destination.with_name(destination.name + _PARTIAL)
    try:
        partial.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(partial, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except (FileExistsError, NotADirectoryError):
        raise Unusable(f"{partial} is in the way, and no folder of a backup. Move it aside.") from None
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Unusable(f"Another backup to {destination} is being taken.") from None
        _empty(partial)
        try:
            yield partial
            for folder, _, _ in os.walk(partial):
                sync_directory(Path(folder))
            partial.rename(destination)
            sync_directory(destination.parent)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
    finally:
        os.close(handle)


def _empty(folder: Path) -> None:
    """Removes what a backup that was killed left behind, and nothing of anybody else's."""
    status = folder.stat()
    ours = {MANIFEST, LIST, BLOBS, *(f"{DATABASE}{end}" for end in ("", "-journal", "-wal", "-shm"))}
    if status.st_uid != os.geteuid() or not {path.name for path in folder.iterdir()} <= ours:
        raise Unusable(f"{folder} is in the way, and not what an earlier backup left. Move it aside.")
    folder.chmod(0o700)
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _copy_database(source: Path, target: Path, progress: Progress) -> tuple[int, str]:
    """Copies the database as it is at one moment; its sequence and identity."""
    private_file(target).close()  # before SQLite makes it for everybody to read
    try:
        with closing(connect(source, writer=False)) as reader, closing(sqlite3.connect(target)) as copy:
            # Without a transaction of our own, each commit of the server would make the copy begin again.
            reader.execute("BEGIN")
            sequence, identity = reader.execute("SELECT changes, value FROM counters, identity").fetchone()
            copy.execute("PRAGMA journal_mode=OFF")
            copy.execute("PRAGMA synchronous=OFF")
            reader.backup(
                copy, pages=_PAGES, progress=lambda _, left, total: progress("copying rows", total - left, total)
            )
    except sqlite3.DatabaseError as error:
        raise Unusable(f"The database {source} could not be copied: {error}. See what `postil verify` says.") from error
    with target.open("rb") as file:
        os.fsync(file.fileno())
    return int(sequence), str(identity)


def _refuse_damaged(database: Path, progress: Progress) -> None:
    progress("checking rows", 0, 1)
    found = next(database_problems(database), "")
    if found:
        raise Unusable(f"No backup was made, for the database is damaged: {found} See what `postil verify` says.")
    progress("checking rows", 1, 1)


def _digests(database: Path) -> Iterator[str]:
    with closing(connect_still(database)) as connection:
        tables = [
            name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE name IN (?, ?)", _KEEPERS)
        ]
        union = " UNION ".join(f"SELECT digest FROM {name}" for name in tables)
        for (digest,) in connection.execute(f"{union} ORDER BY digest"):
            yield str(digest)


def _schema(database: Path) -> str:
    """The newest step of the schema."""
    with closing(connect_still(database)) as connection:
        return str(connection.execute("SELECT name FROM _sqlite_migrations ORDER BY id DESC LIMIT 1").fetchone()[0])


def _listed(backup: Path) -> list[str]:
    return [line.partition(" ")[0] for line in (backup / LIST).read_text(encoding="ascii").splitlines()]


def _copy_blobs(digests: list[str], source: Path, target: Path, reuse: Path | None, progress: Progress) -> int:
    """Copies media, each compared with its digest; bytes in all. Those that are there and whole are left alone."""
    target.mkdir(mode=0o700, exist_ok=True)
    for prefix in {digest[:2] for digest in digests}:
        (target / prefix).mkdir(mode=0o700, exist_ok=True)

    def copy(digest: str) -> int:
        place = target / digest[:2] / digest[2:]
        if not intact(place, digest) and not (reuse is not None and _linked(reuse / _place(digest), place, digest)):
            _copy_blob(source / digest[:2] / digest[2:], place, digest)
        return place.stat().st_size

    size = 0
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for done, length in enumerate(pool.map(copy, digests), 1):
            size += length
            progress("copying media", done, len(digests))
    for folder in (*target.iterdir(), target):
        sync_directory(folder)
    return size


def _copy_blob(source: Path, place: Path, digest: str) -> None:
    part = place.with_name(place.name + _PARTIAL)
    try:
        found = _copied(source, part)
    except FileNotFoundError:
        raise Unusable(f"The medium {source} is missing. `postil verify` names the input that it belongs to.") from None
    if found != digest:
        raise Unusable(f"The medium {source} is damaged. `postil verify` names the input that it belongs to.")
    part.replace(place)


def _linked(earlier: Path, place: Path, digest: str) -> bool:
    """Shares a medium with an earlier backup; False when that cannot be."""
    if not intact(earlier, digest):
        return False
    try:
        place.unlink(missing_ok=True)
        os.link(earlier, place)
    except OSError:  # another file system, or one without links
        return False
    return True


def _copied(source: Path, target: Path) -> str:
    """Copies a file durably; the sha256 of what was copied."""
    digest = hashlib.sha256()
    with source.open("rb") as read_from, private_file(target) as out:
        while block := read_from.read(_BLOCK):
            digest.update(block)
            out.write(block)
        out.flush()
        os.fsync(out.fileno())
    return digest.hexdigest()


def _describe(path: Path, description: Description) -> None:
    body = asdict(description)
    _write(path, (json.dumps({"format": FORMAT, "backup": body, "sha256": _digest(body)}, indent=1) + "\n").encode())


def _write(path: Path, content: bytes) -> None:
    with private_file(path) as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())


def _place(digest: str) -> str:
    return f"{BLOBS}/{digest[:2]}/{digest[2:]}"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest(body: object) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
