"""Index files: each case damages one and starts over it, in this process, through the code that a server starts with.

What was damaged must be noticed before native code reads it (else this process dies), searches must answer exactly, and
the files must be whole again after a clean stop.
"""

from __future__ import annotations

import random
import shutil
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from damage.harm import HARMS
from support.index_world import MemoryStore, check, clustered, crash, folder_of, merge, space_of

DIM = 16
_ROWS = 900
_VECTORS = clustered(_ROWS + 200, DIM)


class Case(NamedTuple):
    """What was done to which kind of file, and whether it was noticed."""

    kind: str  # the file's suffix
    harm: str
    noticed: bool  # False: the harm had left the bytes as they were


class IndexFiles:
    """A sound index, and another store's, to be damaged as often as one likes.

    Args:
        folder: An empty folder.
    """

    def __init__(self, folder: Path) -> None:
        self._good, self._foreign, self._path = folder / "good", folder / "foreign", folder / "index"
        self._store = furnished(self._good, "a" * 32)
        furnished(self._foreign, "b" * 32, shift=37)
        self.counts: Counter[str] = Counter()

    def case(self, seed: int) -> Case:
        """Runs one case. Raises AssertionError when anything is wrong with the outcome."""
        rng = random.Random(seed)
        shutil.rmtree(self._path, ignore_errors=True)
        shutil.copytree(self._good, self._path)
        files = sorted(folder_of(self._path).iterdir())
        victim, harm = rng.choice(files), rng.choice((*HARMS, self.foreign))
        before = {path.name: path.read_bytes() for path in files}
        harm(victim, files, rng)
        changed = {path.name: path.read_bytes() if path.exists() else b"lost" for path in files} != before
        name = getattr(harm, "__name__", "")
        try:
            self._start(changed, whole=seed % 8 == 0)
        except BaseException as error:
            error.add_note(f"case {seed}: {name} {victim.name}")
            raise
        self.counts[f"{victim.suffix.lstrip('.')} {name}"] += 1
        return Case(victim.suffix, name, changed)

    def foreign(self, victim: Path, _others: object, rng: random.Random) -> None:
        """The file of another store, whole, in this one's place."""
        same = [path for path in folder_of(self._foreign).iterdir() if path.suffix == victim.suffix]
        shutil.copyfile(rng.choice(same), victim)

    def _start(self, changed: bool, *, whole: bool) -> None:
        store = self._store
        store.scans = 0
        manager = store.open(self._path)
        check(manager, store)
        assert bool(store.scans) == changed, "damage that nobody noticed" if changed else "noticed what is not there"
        if not whole:
            crash(manager)
            return
        manager.close()
        store.scans = 0
        manager = store.open(self._path)
        check(manager, store)
        assert not store.scans, "the files were not made whole again"
        crash(manager)


def furnished(path: Path, identity: str, shift: int = 0) -> MemoryStore:
    """Two graphs with dead places and identical vectors in them, and a part without a graph; saved and closed."""
    store = MemoryStore(DIM, identity)
    manager = store.open(path)
    store.put(range(1, 501), _VECTORS[shift : 500 + shift])
    merge(space_of(manager))
    doubled = _VECTORS[500 + shift : _ROWS + shift].copy()
    doubled[10:30] = doubled[10]
    store.put(range(501, _ROWS + 1), doubled)
    merge(space_of(manager))
    store.delete(range(3, _ROWS, 11))
    store.put(range(_ROWS + 1, _ROWS + 51), _VECTORS[50:100])
    manager.close()
    return store
