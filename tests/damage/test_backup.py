"""Backups taken beside a server that is being written to: one moment, nothing half, whole or not there."""

from __future__ import annotations

import os
import random
import resource
import signal
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from damage.harm import HARMS
from damage.pages import dump, furnish
from postil.store.backup import MANIFEST, Unusable, problems, read, restore, take
from postil.store.blobs import FileBlobs, Pin
from postil.store.layout import BLOBS, DATABASE, RESTORING, Unfinished
from postil.store.sqlite import SqliteStore
from postil.store.verify import verify
from postil.v1.annotation_pb2 import Annotation
from postil.v1.concept_pb2 import Concept
from postil.v1.data_pb2 import Data, Embedding
from postil.v1.input_pb2 import Input
from postil.v1.input_service_pb2 import PostInputsRequest
from postil.v1.input_service_pb2_grpc import InputsStub
from postil.v1.search_pb2 import Query, Rank, Search
from postil.v1.search_service_pb2 import PostInputsSearchesRequest
from postil.v1.status_code_pb2 import StatusCode
from support.server import OWN, Server, clean_environment, command

_BATCH = 8


def _quiet(_what: str, _done: int, _of: int) -> None:
    """No bar."""


def postil(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), capture_output=True, text=True, check=False, env=clean_environment())


class Writer(threading.Thread):
    """Posts batches of labelled pictures' worth of data until told to stop; counts what was acknowledged."""

    def __init__(self, server: Server, name: str, picture: bytes) -> None:
        super().__init__(daemon=True)
        self._channel = grpc.insecure_channel(server.grpc)
        self._name, self._picture = name, picture
        self.stop = threading.Event()
        self.acknowledged: list[str] = []

    def run(self) -> None:
        rng, post, number = np.random.default_rng(len(self._name)), InputsStub(self._channel).PostInputs, 0
        while not self.stop.is_set():
            items = []
            for at in range(_BATCH):
                vector = rng.standard_normal(32).astype(np.float32).tolist()
                data = Data(embeddings=[Embedding(vector=vector)], concepts=[Concept(id="c", value=1)])
                items.append(Input(id=f"{self._name}-{number}-{at}", data=data))
            if number % 5 == 0:  # media too; each is a file of its own
                items[0].data.ClearField("embeddings")
                items[0].data.video.base64 = self._picture + f"{self._name}{number}".encode()
            answer = post(PostInputsRequest(inputs=items), timeout=60)
            assert answer.status.code == StatusCode.SUCCESS, answer.status
            self.acknowledged.append(f"{self._name}-{number}")
            number += 1
        self._channel.close()


def _video() -> bytes:
    return b"\x00\x00\x00\x18ftypmp42" + b"\x00" * 4000


def test_a_backup_in_the_middle_of_a_storm_is_one_moment(start_server: Callable[..., Server], tmp_path: Path) -> None:
    server = start_server()
    writers = [Writer(server, name, _video()) for name in ("a", "bb", "ccc")]
    for writer in writers:
        writer.start()
    deadline = time.monotonic() + 60
    while not all(len(writer.acknowledged) > 2 for writer in writers) and time.monotonic() < deadline:
        time.sleep(0.02)
    before = {name for writer in writers for name in list(writer.acknowledged)}
    first = postil("backup", "--data-dir", str(server.data_dir), str(tmp_path / "one"))
    second = postil(
        "backup", "--data-dir", str(server.data_dir), str(tmp_path / "two"), "--reuse", str(tmp_path / "one")
    )
    for writer in writers:
        writer.stop.set()
    for writer in writers:
        writer.join(60)
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    description = read(tmp_path / "one")
    assert read(tmp_path / "two").sequence >= description.sequence > 0
    shared = next(path for path in (tmp_path / "one" / BLOBS).rglob("*") if path.is_file())
    assert shared.samefile(tmp_path / "two" / shared.relative_to(tmp_path / "one"))

    assert postil("restore", str(tmp_path / "one"), str(tmp_path / "restored/data")).returncode == 0
    restored = _rows(tmp_path / "restored/data" / DATABASE)
    live = _rows(server.data_dir / DATABASE)
    # Nothing was changed or deleted by the storm: the state at that sequence is the live one's rows up to it.
    for table, key in (("changes", "seq"), ("inputs", "row"), ("annotations", "row")):
        assert restored[table] == [row for row in live[table] if row[0] <= restored[table][-1][0]], (table, key)
    assert restored["changes"][-1][0] == description.sequence
    names = [row[2] for row in restored["inputs"]]
    ops = {name.rpartition("-")[0] for name in names}
    assert len(names) == len(ops) * _BATCH, "half a batch"
    assert before <= ops, "acknowledged before it began"
    assert list(verify(tmp_path / "restored/data")) == []

    again = start_server(folder="restored")
    vector = np.frombuffer(_vector_of(tmp_path / "one" / DATABASE), "<f4").tolist()
    rank = Rank(annotation=Annotation(data=Data(embeddings=[Embedding(vector=vector)])))
    hits = again.call(
        OWN, "PostInputsSearches", PostInputsSearchesRequest(searches=[Search(query=Query(ranks=[rank]))])
    ).hits
    assert hits[0].score == pytest.approx(1.0)


def _rows(database: Path) -> dict[str, list[Any]]:
    return dump(database)


def _vector_of(database: Path) -> bytes:
    with closing(sqlite3.connect(f"file:{database}?immutable=1", uri=True)) as connection:
        return bytes(connection.execute("SELECT data FROM vectors LIMIT 1").fetchone()[0])


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    furnish(tmp_path / "data")
    with SqliteStore(tmp_path / "data") as store:
        digests = [store.blobs.put(f"medium {n}".encode() * 100) for n in range(8)]
        store.write(lambda tx: tx.add_blobs(1, digests))
    return tmp_path / "data"


def test_a_damaged_backup_is_refused_and_named(data_dir: Path, tmp_path: Path) -> None:
    """Whatever happens to whatever file of it."""
    backup = tmp_path / "backup"
    take(data_dir, backup, reuse=None, progress=_quiet)
    assert list(problems(backup, _quiet)) == []
    files = sorted(path for path in backup.rglob("*") if path.is_file())
    good = {path: path.read_bytes() for path in files}
    noticed = 0
    for seed in range(80):
        rng = random.Random(seed)
        rng.choice(HARMS)(rng.choice(files), files, rng)
        now = {path: path.read_bytes() if path.exists() else None for path in files}
        if now != good:
            noticed += 1
            with pytest.raises(Unusable):
                restore(backup, tmp_path / f"restored-{seed}", _quiet)
            assert not (tmp_path / f"restored-{seed}").exists()
        for path, content in good.items():
            path.write_bytes(content)
    assert noticed > 60


def test_a_restore_goes_into_an_empty_directory_only(data_dir: Path, tmp_path: Path) -> None:
    take(data_dir, tmp_path / "backup", reuse=None, progress=_quiet)
    with pytest.raises(Unusable, match="not empty"):
        restore(tmp_path / "backup", data_dir, _quiet)
    with pytest.raises(Unusable, match="exists already"):
        take(data_dir, tmp_path / "backup", reuse=None, progress=_quiet)
    (tmp_path / "empty").mkdir()
    restore(tmp_path / "backup", tmp_path / "empty", _quiet)
    assert dump(tmp_path / "empty" / DATABASE) == dump(data_dir / DATABASE)
    assert list(verify(tmp_path / "empty")) == []


def test_a_restore_that_broke_off_keeps_servers_out_and_can_go_on(data_dir: Path, tmp_path: Path) -> None:
    take(data_dir, tmp_path / "backup", reuse=None, progress=_quiet)
    half = tmp_path / "half"
    (half / BLOBS).mkdir(parents=True)
    (half / RESTORING).write_text("")
    with pytest.raises(Unfinished, match="postil restore"):
        SqliteStore(half)
    restore(tmp_path / "backup", half, _quiet)
    assert list(verify(half)) == []
    SqliteStore(half).close()


def test_a_backup_that_is_killed_leaves_nothing_that_looks_like_one(data_dir: Path, tmp_path: Path) -> None:
    big = data_dir / BLOBS
    with SqliteStore(data_dir) as store:
        digests = [store.blobs.put(os.urandom(1 << 20)) for _ in range(30)]
        store.write(lambda tx: tx.add_blobs(1, digests))
    target = tmp_path / "backup"
    for step in range(6):
        process = subprocess.Popen(
            command("backup", "--data-dir", str(data_dir), str(target)),
            env=clean_environment(),
            stderr=subprocess.DEVNULL,
        )
        partial, deadline = target.with_name("backup.partial"), time.monotonic() + 60
        while not partial.exists() and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.002)
        time.sleep(0.01 * step)
        process.send_signal(signal.SIGKILL)
        process.wait()
        if target.exists():  # it was quicker
            break
        with pytest.raises(Unusable):
            read(partial)
    if not target.exists():
        take(data_dir, target, reuse=None, progress=_quiet)
    assert list(problems(target, _quiet)) == []
    assert not target.with_name("backup.partial").exists()
    assert big.is_dir()


def test_a_backup_that_fails_takes_itself_away(data_dir: Path, tmp_path: Path) -> None:
    lost = next(path for path in (data_dir / BLOBS).rglob("*") if path.is_file())
    lost.unlink()
    with pytest.raises(Unusable, match="missing"):
        take(data_dir, tmp_path / "backup", reuse=None, progress=_quiet)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_damaged_database_is_not_backed_up(data_dir: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(data_dir / DATABASE)) as connection:
        connection.execute("UPDATE vectors SET crc = crc + 1 WHERE key = (SELECT min(key) FROM vectors)")
        connection.commit()
    with pytest.raises(Unusable, match="checksum"):
        take(data_dir, tmp_path / "backup", reuse=None, progress=_quiet)
    assert not (tmp_path / "backup").exists()


def test_nothing_is_swept_while_a_backup_is_taken(tmp_path: Path) -> None:
    blobs = FileBlobs(tmp_path / BLOBS)
    digest = blobs.put(b"unwanted")
    with Pin(tmp_path / BLOBS):
        assert blobs.sweep(lambda _: False, older_than_s=-10) == 0
    assert blobs.get(digest) is not None
    assert blobs.sweep(lambda _: False, older_than_s=-10) == 1


def test_the_description_says_what_it_is(data_dir: Path, tmp_path: Path) -> None:
    taken = take(data_dir, tmp_path / "backup", reuse=None, progress=_quiet)
    with SqliteStore(data_dir) as store:
        assert (taken.sequence, taken.identity, taken.schema) == (store.committed, store.identity, store.schema)
    assert taken.blobs == 8
    checked = subprocess.run(
        ["sha256sum", "--check", "--quiet", "blobs.sha256"], cwd=tmp_path / "backup", check=False, capture_output=True
    )
    assert checked.returncode == 0
    assert (tmp_path / "backup" / MANIFEST).is_file()


def test_what_is_kept_is_for_its_owner_alone(data_dir: Path, tmp_path: Path) -> None:
    """Also where the folder was made beforehand, by somebody who closed it to nobody, and by an older version."""
    old = os.umask(0o022)
    try:
        (tmp_path / "fresh").mkdir()
        with SqliteStore(tmp_path / "fresh") as store:
            store.blobs.put(b"medium")
            assert _open_to_others(tmp_path / "fresh") == set()  # beside its log
        data_dir.chmod(0o755)
        for path in (data_dir / DATABASE, data_dir / BLOBS):
            path.chmod(0o755)
        SqliteStore(data_dir).close()
        assert _open_to_others(data_dir) == set()
        (data_dir / DATABASE).chmod(0o640)  # a group's, on purpose
        SqliteStore(data_dir).close()
        assert (data_dir / DATABASE).stat().st_mode & 0o777 == 0o640
        take(data_dir, tmp_path / "backup", reuse=None, progress=_quiet)
        (tmp_path / "backup").chmod(0o755)
        assert _open_to_others(tmp_path / "backup") == set()
        (tmp_path / "restored").mkdir()
        restore(tmp_path / "backup", tmp_path / "restored", _quiet)
        assert _open_to_others(tmp_path / "restored") == set()
    finally:
        os.umask(old)


def test_what_is_in_the_way_of_a_backup_is_left_alone(data_dir: Path, tmp_path: Path) -> None:
    """A folder of somebody else's, or a link to one, by the name that the backup has until it is whole."""
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "thesis.txt").write_text("three years")
    partial = tmp_path / "backup.partial"
    partial.symlink_to(theirs)
    for _ in range(2):
        with pytest.raises(Unusable, match="in the way"):
            take(data_dir, tmp_path / "backup", reuse=None, progress=_quiet)
        assert (theirs / "thesis.txt").read_text() == "three years"
        if partial.is_symlink():
            partial.unlink()
            theirs.rename(partial)
            theirs = partial
    (partial / "thesis.txt").rename(tmp_path / "thesis.txt")
    take(data_dir, tmp_path / "backup", reuse=None, progress=_quiet)
    assert list(problems(tmp_path / "backup", _quiet)) == []


def test_a_backup_of_a_newer_version_is_not_restored(data_dir: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(data_dir / DATABASE)) as connection:
        connection.execute(
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('postil', 'm9999_later', '')"
        )
        connection.commit()
    take(data_dir, tmp_path / "backup", reuse=None, progress=_quiet)
    with pytest.raises(Unusable, match="newer Postil"):
        restore(tmp_path / "backup", tmp_path / "restored", _quiet)
    assert not (tmp_path / "restored").exists()


def test_links_in_the_place_of_a_restore_are_not_followed(data_dir: Path, tmp_path: Path) -> None:
    take(data_dir, tmp_path / "backup", reuse=None, progress=_quiet)
    theirs = tmp_path / "theirs.txt"
    theirs.write_text("three years")
    half = tmp_path / "half"
    half.mkdir()
    (half / RESTORING).write_text("")
    (half / f"{DATABASE}.partial").symlink_to(theirs)
    with pytest.raises(OSError, match="symbolic"):
        restore(tmp_path / "backup", half, _quiet)
    assert theirs.read_text() == "three years"
    with pytest.raises(Unfinished):
        SqliteStore(half)


@pytest.mark.parametrize("which", [MANIFEST, DATABASE, "blobs.sha256", "medium"])
@pytest.mark.parametrize("what", ["pipe", "device"])
def test_pipes_and_devices_in_a_backup_end_nothing(which: str, what: str, data_dir: Path, tmp_path: Path) -> None:
    """Reading one would wait for ever, or never be done."""
    backup = tmp_path / "backup"
    take(data_dir, backup, reuse=None, progress=_quiet)
    medium = next(path for path in (backup / BLOBS).rglob("*") if path.is_file())
    place = medium if which == "medium" else backup / which
    place.unlink()
    if what == "pipe":
        os.mkfifo(place)
    else:
        place.symlink_to("/dev/zero")
    with pytest.raises(Unusable):
        restore(backup, tmp_path / "restored", _quiet)
    assert not (tmp_path / "restored").exists()


def test_a_backup_does_not_go_into_what_it_backs_up(data_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(data_dir)
    for place in (data_dir / "backup", data_dir / BLOBS / "backup", tmp_path / "link" / "backup"):
        with pytest.raises(Unusable, match="lost with it"):
            take(data_dir, place, reuse=None, progress=_quiet)
        assert not place.exists()
        assert not place.with_name("backup.partial").exists()


def test_a_restore_without_room_says_where_and_goes_on_later(data_dir: Path, tmp_path: Path) -> None:
    backup, place = tmp_path / "backup", tmp_path / "restored"
    take(data_dir, backup, reuse=None, progress=_quiet)
    line = command("restore", str(backup), str(place))
    limit = (1 << 14, 1 << 14)  # of a file: what the system then says has no name in it, as on a full disk
    done = subprocess.run(
        line, check=False, capture_output=True, text=True, env=clean_environment(), timeout=120,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit),
    )  # fmt: skip
    assert done.returncode == 2
    assert str(place) in done.stderr
    assert len(done.stderr.splitlines()) == 1
    with pytest.raises(Unfinished):
        SqliteStore(place)
    done = subprocess.run(line, check=False, capture_output=True, text=True, env=clean_environment(), timeout=120)
    assert done.returncode == 0, done.stderr
    assert list(verify(place)) == []


def _open_to_others(folder: Path) -> set[str]:
    """What other users of the machine could read if they may enter the folder itself."""
    found = set()
    for path in folder.iterdir():
        if path.name != "backup.json" and path.stat().st_mode & 0o007:
            found.add(path.name)
    return found
