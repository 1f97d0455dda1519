"""Start-up: what was saved comes back, what is damaged or missing is read again, and no file can crash the process."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from postil.index.base import Plan
from postil.index.files import MANIFEST, Damaged, Folder
from postil.index.manager import IndexManager
from postil.index.space import VectorSpace
from postil.store.base import Vectors
from postil.store.sqlite import SqliteStore
from support.index_world import SPACE, MemoryStore, check, clustered, crash, folder_of, merge, space_of
from support.stores import Filler

DIM = 16
ROWS = 5500
VECTORS = clustered(ROWS + 2000, DIM)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "index"


@pytest.fixture
def store(path: Path) -> MemoryStore:
    """Two graphs with some dead in each, a segment without a graph, identical vectors; saved and closed."""
    store = MemoryStore(DIM)
    manager = store.open(path)
    store.put(range(1, 4701), VECTORS[:4700])
    space = space_of(manager)
    merge(space)
    doubled = VECTORS[4700:ROWS].copy()
    doubled[10:60] = doubled[10]
    store.put(range(4701, ROWS + 1), doubled)
    merge(space)
    store.delete(range(3, ROWS, 11))
    store.put(range(ROWS + 1, ROWS + 101), VECTORS[ROWS : ROWS + 100])
    manager.close()
    return store


def test_what_was_saved_comes_back_without_reading_rows(store: MemoryStore, path: Path) -> None:
    store.scans = 0
    manager = store.open(path)
    space = check(manager, store)
    assert store.scans == 0
    assert manager.ready
    assert manager.applied == store.committed
    assert space.stats().segments == 2
    assert space.search(VECTORS[0], 5).plan is Plan.GRAPH
    manager.close()


def test_what_was_committed_meanwhile_is_replayed(store: MemoryStore, path: Path) -> None:
    store._consumers.clear()
    store.put(range(9000, 9050), VECTORS[5000:5050])
    store.put([5, 9001], VECTORS[100:102])
    store.delete([7, 9002])
    store.scans = 0
    manager = store.open(path)
    check(manager, store)
    assert store.scans == 0
    manager.close()


def test_a_trimmed_feed_means_reading_the_rows(store: MemoryStore, path: Path) -> None:
    store._consumers.clear()
    store.put(range(9000, 9050), VECTORS[5000:5050])
    store.put([5], VECTORS[100:101])
    store.delete([7, 9002])
    store.trimmed = store.committed
    manager = store.open(path)
    space = check(manager, store)
    assert store.scans > 0
    assert space.stats().segments == 2  # what was good was kept
    manager.close()


def test_a_missing_folder_is_read_again(store: MemoryStore, path: Path) -> None:
    shutil.rmtree(path)
    manager = store.open(path)
    check(manager, store)
    manager.close()
    store.scans = 0
    manager = store.open(path)
    check(manager, store)
    assert store.scans == 0
    manager.close()


def test_after_a_crash_the_tail_is_replayed(store: MemoryStore, path: Path) -> None:
    manager = store.open(path)
    store.put(range(9500, 9900), VECTORS[:400])
    store.delete([1, 9501])
    crash(manager)
    manager = store.open(path)
    check(manager, store)
    manager.close()


def test_a_crash_after_a_rebuild_loses_nothing(store: MemoryStore, path: Path) -> None:
    """Vectors read from rows lie in memory; a manifest written then must not claim to cover them."""
    shutil.rmtree(path)
    manager = store.open(path, still=True)
    merge(space_of(manager))
    store.put(range(9500, 9900), VECTORS[:400])
    space_of(manager).save(manager.applied)
    crash(manager)
    manager = store.open(path, still=True)
    check(manager, store)
    crash(manager)
    damaged = next(folder_of(path).glob("*.i64"))
    damaged.write_bytes(b"")
    manager = store.open(path, still=True)
    check(manager, store)
    space_of(manager).save(manager.applied)
    crash(manager)
    manager = store.open(path, still=True)
    check(manager, store)
    manager.close()


KINDS = ["*.f32", "*.i64", "*.len", "*.hnsw", "*.same", "*.dead", MANIFEST]


def truncate(content: bytes, random: np.random.Generator) -> bytes:
    return content[: int(random.integers(len(content)))]


def flip(content: bytes, random: np.random.Generator) -> bytes:
    changed = bytearray(content)
    for at in random.integers(len(content), size=int(random.integers(1, 51))).tolist():
        changed[at] ^= int(random.integers(1, 256))
    return bytes(changed)


def zero(content: bytes, random: np.random.Generator) -> bytes:
    start = int(random.integers(len(content)))
    end = min(len(content), start + 4096)
    changed = content[:start] + bytes(end - start) + content[end:]
    return changed if changed != content else b""


def extend(content: bytes, random: np.random.Generator) -> bytes:
    return content + random.bytes(8)


@pytest.mark.parametrize("harm", [truncate, flip, zero, extend])
@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files_cost_time_but_no_answer(
    store: MemoryStore, path: Path, kind: str, harm: Callable[[bytes, np.random.Generator], bytes]
) -> None:
    """Each kind of file, harmed at random places: never a crash, always exact answers."""
    good = path.parent / "good"
    shutil.copytree(path, good)
    files = sorted(folder.name for folder in folder_of(path).glob(kind))
    assert files
    for seed in range(6):
        random = np.random.default_rng(seed)
        victim = folder_of(path) / files[seed % len(files)]
        victim.write_bytes(harm(victim.read_bytes(), random))
        store.scans = 0
        manager = store.open(path)
        check(manager, store)
        assert store.scans > 0  # the damage was seen
        manager.close()
        shutil.rmtree(path)
        shutil.copytree(good, path)


def test_files_that_no_manifest_names_are_removed(store: MemoryStore, path: Path) -> None:
    named = {file.name for file in folder_of(path).iterdir()}
    for name in ("manifest.json.tmp", "00000099.f32.tmp", "00000099.hnsw", "00000001-00000077.dead"):
        (folder_of(path) / name).write_bytes(b"left over")
    (path / "77").mkdir()
    (path / "77" / "00000001.f32").write_bytes(b"of a space that is gone")
    manager = store.open(path)
    assert {file.name for file in folder_of(path).iterdir()} == named
    assert not (path / "77").exists()
    check(manager, store)
    manager.close()


def test_a_crash_at_any_file_operation_of_a_save_loses_nothing(
    store: MemoryStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process dies before the n-th file of a build is renamed into place, for every n."""
    renames = 0
    died = True
    limit = 0
    rename = Path.rename

    def dies(self: Path, target: Path) -> Path:
        nonlocal renames
        renames += 1
        if renames > limit:
            raise KeyboardInterrupt
        return rename(self, target)

    while died:
        manager = store.open(path)
        store.put([6000 + limit], VECTORS[limit : limit + 1])
        store.delete([50 + limit])
        space = space_of(manager)
        renames, died = 0, False
        monkeypatch.setattr(Path, "rename", dies)
        try:
            merge(space, segments=range(space.stats().segments))
            space.save(manager.applied)
        except KeyboardInterrupt:
            died = True
        monkeypatch.setattr(Path, "rename", rename)
        crash(manager)
        manager = store.open(path)
        check(manager, store)
        crash(manager)
        limit += 1
    assert limit > 5


def test_a_manifest_of_the_past_is_caught_up(store: MemoryStore, path: Path) -> None:
    """The folder was put back from a copy: its generation is old, and all that followed is replayed."""
    old = path.parent / "old"
    shutil.copytree(path, old)
    manager = store.open(path)
    store.delete(range(100, 200))
    store.put(range(7000, 7100), VECTORS[:100])
    merge(space_of(manager), segments=[0, 1])
    manager.close()
    shutil.rmtree(path)
    shutil.copytree(old, path)
    manager = store.open(path)
    check(manager, store)
    manager.close()


def test_files_of_another_store_or_of_the_future_are_not_believed(store: MemoryStore, path: Path) -> None:
    other = MemoryStore(DIM, identity="b" * 32)
    for start in range(0, 500, 100):
        other.put(range(start + 1, start + 101), VECTORS[start + 9 : start + 109])
    manager = other.open(path)
    check(manager, other)
    manager.close()
    young = MemoryStore(DIM, identity="b" * 32)
    young.put(range(1, 11), VECTORS[:10])
    manager = young.open(path)
    check(manager, young)
    manager.close()


def test_a_store_put_back_from_a_copy_is_noticed(store: MemoryStore, path: Path) -> None:
    """Same identity, enough changes, other vectors."""
    copy = MemoryStore(DIM, identity=store.identity)
    for at in range(store.committed + 3):
        copy.put([at + 1], VECTORS[at + 50 : at + 51])
    manager = copy.open(path)
    check(manager, copy)
    manager.close()


def test_another_dimension_or_format_is_rebuilt(store: MemoryStore, path: Path) -> None:
    manifest = folder_of(path) / MANIFEST
    content = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**content, "format": 99}))
    with pytest.raises(Damaged, match="format 99"):
        Folder(folder_of(path)).load()
    manager = store.open(path)
    check(manager, store)
    manager.close()


def test_a_corrupt_row_is_left_out_and_the_rest_is_there(store: MemoryStore, path: Path) -> None:
    shutil.rmtree(path)
    store.corrupt = {1000}
    manager = store.open(path)
    space = space_of(manager)
    assert 1000 not in space.live_rows()
    assert len(space) == store.count_vectors(SPACE) - 1
    manager.close()


def test_a_space_that_goes_takes_its_files(store: MemoryStore, path: Path) -> None:
    manager = store.open(path)
    store.put([1, 2, 3], np.eye(3, dtype=np.float32), space=2)
    space_of(manager, 2).save(manager.applied)
    store.drop(SPACE)
    assert manager.space(SPACE) is None
    assert not folder_of(path).exists()
    assert sorted(manager.stats()) == [2]
    manager.close()


def test_changes_that_come_while_starting_are_kept(store: MemoryStore, path: Path) -> None:
    """A write that lands between subscribing and the end of the replay is applied afterwards, in order."""

    class Busy(MemoryStore):
        def all_spaces(self) -> list[object]:  # type: ignore[override]
            if not self.scans:
                self.scans = 1
                self.put([8000], VECTORS[:1])
                self.delete([20])
            return super().all_spaces()  # type: ignore[return-value]

    busy = Busy(DIM)
    busy.put(range(1, 101), VECTORS[:100])
    manager = busy.open(path.parent / "busy")
    check(manager, busy)
    assert manager.applied == 3
    manager.close()


def test_a_change_that_failed_is_taken_again_with_the_next(store: MemoryStore, path: Path) -> None:
    manager = store.open(path)
    put = VectorSpace.put
    calls = []

    def fails_once(self: VectorSpace, *args: object) -> None:
        calls.append(args)
        if len(calls) == 1:
            raise MemoryError
        put(self, *args)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(VectorSpace, "put", fails_once)
        with pytest.raises(MemoryError):
            store.put([8000], VECTORS[:1])
        store.put([8001], VECTORS[1:2])
    check(manager, store)
    manager.close()


def test_over_the_real_store(tmp_path: Path) -> None:
    """Writes, deletes, a clean restart and a crash, with SQLite underneath."""
    store = SqliteStore(tmp_path)
    fill = Filler(store)
    app = fill.app()
    space = fill.space(app, DIM)
    anchors = [record.anchor for record in fill.inputs(app, *(str(n) for n in range(200)))]
    manager = IndexManager(tmp_path / "index", store)
    manager.start()
    fill.vectors(app, space, anchors, VECTORS[:200])
    gone = store.read().annotations_by_row(anchors[:5])
    store.write(lambda tx: tx.delete_inputs(app, [record.input for record in gone.values()]))
    store.write(lambda tx: tx.put_vectors(app, Vectors(space, np.array(anchors[5:7]), VECTORS[300:302])))
    for close in (True, False):
        index = manager.space(space)
        assert index is not None
        assert list(index.live_rows()) == anchors[5:]
        assert index.search(VECTORS[300], 1).rows.tolist() == anchors[5:6]
        assert manager.applied == store.committed
        if close:
            manager.close()
        else:
            crash(manager)
        store.close()
        store = SqliteStore(tmp_path)
        manager = IndexManager(tmp_path / "index", store)
        manager.start()
        fill = Filler(store)
        fill.vectors(app, space, anchors[7:8], VECTORS[400:401])
    manager.close()
    store.close()


def test_a_folder_goes_with_its_manifest_first(path: Path, store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is killed while a deleted app's folder goes leaves none whose manifest names files that are gone."""
    folder, gone = folder_of(path), []
    unlink = Path.unlink

    def noted(self: Path, missing_ok: bool = False) -> None:
        gone.append(self.name)
        unlink(self, missing_ok)

    monkeypatch.setattr(Path, "unlink", noted)
    Folder(folder).remove()
    assert gone[0] == MANIFEST
    assert len(gone) > 3
    assert not folder.exists()


def test_what_is_saved_after_its_folder_went_is_not_written(path: Path, store: MemoryStore) -> None:
    """A builder that was at work when its app was deleted would leave a manifest that names files that are gone."""
    folder = Folder(folder_of(path))
    manifest = folder.load()
    folder.remove()
    folder.save(manifest)
    assert not folder.path.exists()
