"""What goes on behind calls: deleted apps are erased in pieces, and media that nobody keeps are swept."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from postil.core.chores import Chores
from postil.store.base import Missing, Part, Store, Transaction
from postil.store.blobs import FileBlobs, Pin
from postil.store.layout import BLOBS
from postil.store.sqlite import SqliteStore
from postil.store.verify import verify
from support import nouns

INPUTS = 12


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    with SqliteStore(tmp_path / "data") as opened:
        yield opened


def _age(blobs: FileBlobs, digest: str) -> None:
    path = blobs.path(digest)
    assert path is not None
    os.utime(path, (1, 1))


def _swept(store: SqliteStore) -> int:
    return store.blobs.sweep(store.read().blob_used, 3600)


def _old(store: SqliteStore, content: bytes) -> str:
    digest = store.blobs.put(content)
    _age(store.blobs, digest)
    return digest


def _keep(store: Store, app: int, name: str, digest: str) -> int:
    """An input that keeps a blob; its row."""
    record = store.read().app_by_row(app)
    assert record is not None
    nouns.add_input(store, record, name, {"dog": 1.0})
    found = store.read().input(app, name)
    assert found is not None
    store.write(lambda tx: tx.add_blobs(found.row, [digest]))
    return found.row


def test_media_of_deleted_inputs_go_and_others_stay(store: SqliteStore) -> None:
    app = nouns.app(store).row
    kept, gone = _old(store, b"kept"), _old(store, b"gone")
    _keep(store, app, "a", kept)
    row = _keep(store, app, "b", gone)
    assert _swept(store) == 0
    store.write(lambda tx: tx.delete_inputs(app, [row]))
    assert _swept(store) == 1
    assert (store.blobs.get(kept), store.blobs.get(gone)) == (b"kept", None)


def test_a_dataset_version_keeps_its_media_until_it_goes(store: SqliteStore, tmp_path: Path) -> None:
    app = nouns.app(store).row
    digest = _old(store, b"frozen")
    row = _keep(store, app, "a", digest)
    dataset = store.write(lambda tx: tx.add_dataset(app, "d", b""))
    part = Part(1, b"", frozenset({digest}))
    store.write(lambda tx: tx.add_dataset_version(dataset.row, "v", b"", [part]))
    store.write(lambda tx: tx.delete_inputs(app, [row]))
    assert _swept(store) == 0
    assert list(verify(tmp_path / "data")) == []
    store.write(lambda tx: tx.delete_dataset_versions(dataset.row, ["v"]))
    assert _swept(store) == 1
    assert list(verify(tmp_path / "data")) == []


def test_nothing_is_half_posted_when_the_same_bytes_come_while_the_sweep_looks(store: SqliteStore) -> None:
    """Wherever a sweep is when content that it is about to remove is put again: the row finds its file."""
    app = nouns.app(store)
    stop = threading.Event()

    def sweep() -> None:
        while not stop.is_set():
            _swept(store)

    sweepers = [threading.Thread(target=sweep) for _ in range(2)]
    for one in sweepers:
        one.start()
    try:
        for number in range(150):
            digest = _old(store, b"the same")  # unreferenced and old: the sweeps want it
            assert store.blobs.put(b"the same") == digest
            row = _keep(store, app.row, f"i{number}", digest)
            _age_if_there(store.blobs, digest)
            assert store.blobs.get(digest) == b"the same"
            store.write(lambda tx, row=row: tx.delete_inputs(app.row, [row]))  # type: ignore[misc]
    finally:
        stop.set()
        for one in sweepers:
            one.join()


def _age_if_there(blobs: FileBlobs, digest: str) -> None:
    _age(blobs, digest)  # referenced by now: age alone must not harm it


def test_the_sweep_ends_between_folders_and_never_under_a_backup(store: SqliteStore, tmp_path: Path) -> None:
    for number in range(40):
        _old(store, b"%d" % number)
    assert 0 < store.blobs.sweep(lambda _: False, 3600, lambda: False) < 40
    with Pin(tmp_path / "data" / BLOBS):
        assert store.blobs.sweep(lambda _: False, 3600) == 0
    store.blobs.sweep(lambda _: False, 3600)
    assert list(store.blobs.digests()) == []


def test_setting_the_clock_forward_makes_nothing_old(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = store.blobs.put(b"on its way to its row")
    path = store.blobs.path(digest)
    assert path is not None
    now = path.stat().st_mtime
    monkeypatch.setattr("postil.store.blobs.time.time", lambda: now + 86_400)
    assert store.blobs.sweep(lambda _: False, 3600) == 0
    assert store.blobs.keep(digest)
    assert not store.blobs.keep("0" * 64)


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("postil.store.writes_inputs._ERASED", 5)


def _large(store: SqliteStore) -> int:
    app = nouns.app(store)
    for number in range(INPUTS):
        nouns.add_input(store, app, f"i{number}", {"dog": 1.0})
    return app.row


@pytest.mark.usefixtures("small_pieces")
def test_a_large_app_is_gone_at_once_and_erased_in_pieces(tmp_path: Path) -> None:
    with SqliteStore(tmp_path / "data") as store:
        row = _large(store)
        record = store.read().app_by_row(row)
        assert record is not None
        store.write(lambda tx: tx.delete_app(row))
        assert store.read().app(record.user_id, record.id) is None
        assert store.read().app_by_row(row) is None
        assert store.read().apps(record.user_id, 0, 10) == []
        assert sum(store.read().count_inputs(row).values()) == INPUTS - 5
        with pytest.raises(Missing):
            store.write(lambda tx: tx.ensure_concepts(row, {"new": ""}))
        again = store.write(lambda tx: tx.put_app(record.user_id, record.id, b""))
        assert again.row != row
    assert list(verify(tmp_path / "data")) == [], "half erased is sound"
    with SqliteStore(tmp_path / "data") as store:  # as after a crash
        _work_through(store, lambda: not store.read().erasing_apps())
        assert store.read().count_inputs(row) == {}
        assert store.read().list_concepts(row, "", 0, 10) == []
    assert list(verify(tmp_path / "data")) == []


def test_what_is_posted_into_an_app_that_is_gone_is_refused(store: SqliteStore) -> None:
    app = nouns.app(store)
    store.write(lambda tx: tx.delete_app(app.row))
    with pytest.raises(Missing):
        nouns.add_input(store, app, "late", {})


def test_chores_sweep_once_told_that_rows_are_sound(store: SqliteStore) -> None:
    digest = _old(store, b"unwanted")
    sound, swept = [False], threading.Event()
    chores = Chores(store, lambda: sound[0], swept=swept.set)
    chores.start()
    chores.sweep_soon()
    try:
        sound[0] = True
        while store.blobs.get(digest) is not None:
            chores.sweep_soon()
            swept.wait(0.05)
    finally:
        chores.close()


def test_chores_end_renames_that_a_call_left(store: SqliteStore) -> None:
    app = nouns.app(store)
    nouns.add_input(store, app, "a", {"dog": 1.0})

    def begin(tx: Transaction) -> None:
        tx.put_rename(app.row, tx.concepts(app.row, ["dog"])["dog"].row, 0)

    store.write(begin)
    _work_through(store, lambda: not store.read().renames(1))


def _work_through(store: Store, done: Callable[[], bool]) -> None:
    chores = Chores(store)
    chores.start()
    try:
        while not done():
            threading.Event().wait(0.01)
    finally:
        chores.close()
