"""The builder in the background: tails become segments, segments merge, failures leave nothing behind."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from postil.index import build, builder, planner
from postil.index.manager import IndexManager
from postil.index.space import VectorSpace
from support.index_world import SPACE, MemoryStore, check, clustered, crash, folder_of

DIM = 16
VECTORS = clustered(5000, DIM)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "index"


def wait(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def quick(path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[MemoryStore, IndexManager]]:
    """A manager with a small tail that merges at once."""
    monkeypatch.setattr(planner, "seal_rows", lambda _: 2048)
    store = MemoryStore(DIM)
    manager = store.open(path, idle_s=0.2)
    yield store, manager
    manager.close()


def test_the_builder_turns_tails_into_segments_and_merges_them_when_idle(
    quick: tuple[MemoryStore, IndexManager], path: Path
) -> None:
    store, manager = quick
    for start in range(0, 5000, 100):
        store.put(range(start + 1, start + 101), VECTORS[start : start + 100])
    wait(lambda: manager.stats()[SPACE][2:] == (0, 1, 0))
    check(manager, store)
    store.delete(range(1, 1501))
    wait(lambda: manager.stats()[SPACE].dead == 0)
    check(manager, store)
    wait(lambda: not manager.busy)
    crash(manager)
    store.scans = 0
    again = store.open(path)
    check(again, store)
    again.close()
    assert (store.scans, again.stats()[SPACE].segments) == (0, 1)


def test_pressure_rises_with_the_tail_and_falls_when_it_is_built(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planner, "seal_rows", lambda _: 2048)
    store = MemoryStore(DIM)
    manager = store.open(path)
    assert manager.pressure() == 0
    assert manager.wait_below(0.5, 0)
    with monkeypatch.context() as patch:
        patch.setattr(VectorSpace, "begin", lambda *_: None)
        for copy in range(4):
            store.put(range(copy * 5000 + 1, copy * 5000 + 5001), VECTORS[:5000])
        assert manager.pressure() == 1
        assert not manager.wait_below(0.5, 0.02)
    assert manager.wait_below(0.5, 30)
    wait(lambda: manager.pressure() == 0)
    manager.close()


def test_a_failing_build_is_tried_again_and_leaves_no_files(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planner, "seal_rows", lambda _: 2048)
    monkeypatch.setattr(builder, "_RETRY_S", 0.05)
    finish = build.Build.finish
    failures: list[build.Build] = []

    def full_disk(self: build.Build) -> object:
        if len(failures) < 3:
            failures.append(self)
            raise OSError(28, "No space left on device")
        return finish(self)

    monkeypatch.setattr(build.Build, "finish", full_disk)
    store = MemoryStore(DIM)
    manager = store.open(path)
    store.put(range(1, 2501), VECTORS[:2500])
    wait(lambda: manager.stats()[SPACE].segments == 1)
    check(manager, store)
    manager.close()
    assert len(failures) == 3
    assert {file.name.split(".")[0] for file in folder_of(path).iterdir()} == {"manifest", "00000004"}
