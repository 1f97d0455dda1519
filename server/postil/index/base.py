"""The index's contract: nearest neighbours of a vector among the live rows of one space.

Derived from rows and never the truth: `Indexes` follows the store's change feed, and a lost file costs time, not an
answer. Ids are annotation rows (the *anchors*, see `store/base.py`). Distances are squared Euclidean over raw
vectors, or cosine distance (1 - cos); smaller is nearer; ties break by row, ascending.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from postil.store.base import Change

Rows = NDArray[np.int64]
Distances = NDArray[np.float32]


class Metric(Enum):
    """How far apart two vectors are."""

    EUCLIDEAN = "euclidean"  # squared
    COSINE = "cosine"


class Plan(Enum):
    """Which way a search went; visible in debug output, counted in metrics, asserted by tests (law 3)."""

    GRAPH = "graph"  # HNSW segments plus the exact tail
    KEPT = "kept"  # what the segments keep for a standing query, plus the exact tail
    SCAN = "scan"  # every live vector
    GATHER = "gather"  # exactly the allowed vectors
    EMPTY = "empty"  # nothing to search


class Neighbours(NamedTuple):
    """The nearest rows, nearest first."""

    rows: Rows  # int64 [m], m <= k
    distances: Distances  # float32 [m]
    plan: Plan


class SpaceIndex(Protocol):
    """All live vectors of one space. Searching never waits for building."""

    def search(
        self,
        query: NDArray[np.float32],
        k: int,
        *,
        metric: Metric = Metric.EUCLIDEAN,
        exact: bool = False,
        allow: BitMap | None = None,
        standing: bool = False,
    ) -> Neighbours:
        """`query` is float32 [dim]. `exact` forces a scan. `allow` limits the answer to these rows. A `standing` query
        will be asked again, so that it pays to keep what it finds.
        Fewer than k rows come back only when fewer are live and allowed."""
        ...

    def measure(self, query: NDArray[np.float32], rows: Rows, *, metric: Metric = Metric.EUCLIDEAN) -> Distances:
        """Distances float32 [n] of these rows (ascending, distinct) as `search` gives them; NaN where none is live."""
        ...

    def vectors(self, rows: Rows) -> tuple[Rows, NDArray[np.float32]]:
        """(rows [m], vectors [m, dim]) of those rows (ascending, distinct) that are live, in no particular order."""
        ...

    def live_rows(self) -> BitMap:
        """The rows a search can find."""
        ...

    def __len__(self) -> int:
        """Live vectors."""
        ...


class Indexes(Protocol):
    """Every space's index, kept in step with the store."""

    def apply(self, change: Change) -> None:
        """Takes one change from the feed. Called in order, from one thread at a time."""
        ...

    def space(self, space: int) -> SpaceIndex | None:
        """The index of a space row, or None when nothing was ever put in it."""
        ...

    def lost(self, app: int | None = None) -> int:
        """Vectors of an app, or of all, that no search finds because they are damaged and nobody has them any more."""
        ...

    @property
    def applied(self) -> int:
        """The newest sequence number applied."""
        ...
