"""Measures the index alone, in this process: recall and latency, searches while loading, restart, memory, build rates.

    .venv/bin/python benchmarks/index.py [--rows 100000] [--dim 512] [--rate 3500] [--json FILE]

The load is a clustered mixture on the sphere (400 Zipf-sized clusters, spectrum i^-0.5, a random rotation), with
held-out queries. hnswlib alone, asked for as many candidates, stands beside every latency. Figures are for comparison
within one run: run it on a quiet machine.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, cast

import hnswlib
import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from postil.index import build, planner
from postil.index.manager import IndexManager
from postil.index.part import Graph
from postil.index.space import VectorSpace
from postil.store.base import Change, SpaceRecord, Store, Vectors

Matrix = NDArray[np.float32]
APP = SPACE = 1
BATCH = 128
QUERIES = 1000


def mixture(rows: int, dim: int, seed: int = 7, clusters: int = 400) -> Matrix:
    random = np.random.default_rng(seed)
    spectrum = (np.arange(1, dim + 1) ** -0.5).astype(np.float32)
    rotation = np.linalg.qr(random.standard_normal((dim, dim)))[0].astype(np.float32)
    weights = 1 / np.arange(1, clusters + 1)
    centres = random.standard_normal((clusters, dim)).astype(np.float32) * spectrum
    labels = random.choice(clusters, rows, p=weights / weights.sum())
    out = np.empty((rows, dim), np.float32)
    for at in range(0, rows, 8192):
        noise = random.standard_normal((min(8192, rows - at), dim)).astype(np.float32)
        out[at : at + 8192] = (centres[labels[at : at + 8192]] + noise * spectrum) @ rotation
    out /= np.linalg.norm(out, axis=1, keepdims=True)
    return out


class Feed:
    """What the index follows: batches of one matrix, the row of a vector being its place plus one."""

    identity = "0" * 32

    def __init__(self, matrix: Matrix) -> None:
        self.matrix = matrix
        self.committed = 0
        self.consumer: Callable[[Change], None] | None = None

    def subscribe(self, consumer: Callable[[Change], None]) -> int:
        self.consumer = consumer
        return self.committed

    def change(self, seq: int) -> Change:
        at = slice((seq - 1) * BATCH, min(len(self.matrix), seq * BATCH))
        rows = np.arange(at.start + 1, at.stop + 1)
        none = np.empty(0, np.int64)
        return Change(seq, APP, none, none, (Vectors(SPACE, rows, self.matrix[at]),), ())

    def commit(self) -> None:
        self.committed += 1
        if self.consumer is not None:
            self.consumer(self.change(self.committed))

    def changes(self, since: int) -> Iterator[Change]:
        return (self.change(seq) for seq in range(since + 1, self.committed + 1))

    def read(self) -> Feed:
        return self

    def all_spaces(self) -> list[SpaceRecord]:
        return [SpaceRecord(SPACE, APP, "s", "s", "client", self.matrix.shape[1], unit=True)] if self.committed else []

    @property
    def count(self) -> int:
        return min(len(self.matrix), self.committed * BATCH)

    def count_vectors(self, _: int) -> int:
        return self.count

    def vectors(self, space: int, rows: list[int]) -> Vectors:
        wanted = np.array(rows, np.int64)
        return Vectors(space, wanted, self.matrix[wanted - 1])

    def damaged_vectors(self, _: int, __: list[int]) -> set[int]:
        return set()

    def scan_vectors(self, space: int, after: int, limit: int) -> Vectors:
        rows = np.arange(after + 1, min(self.count, after + limit) + 1)
        return Vectors(space, rows, self.matrix[rows - 1])

    def open(self, path: Path) -> IndexManager:
        manager = IndexManager(path, cast("Store", self))
        manager.start()
        return manager


def space_of(manager: IndexManager) -> VectorSpace:
    return cast("VectorSpace", manager.space(SPACE))


def largest(space: VectorSpace) -> tuple[hnswlib.Index, NDArray[np.int64]]:
    """The largest graph and its rows: the baseline asks it directly."""
    part = max(space._view.parts, key=len)  # noqa: SLF001
    return cast("Graph", part.graph).index, part.rows


def milliseconds(seconds: list[float]) -> dict[str, float]:
    return {
        name: round(1e3 * float(np.quantile(seconds, q)), 3) for name, q in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))
    }


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    value = call()
    return time.perf_counter() - started, value


def truth_of(matrix: Matrix, queries: Matrix, k: int, allow: BitMap | None = None) -> list[set[int]]:
    rows = np.arange(len(matrix)) if allow is None else np.array(allow.to_array(), np.int64) - 1
    found = []
    for at in range(0, len(queries), 100):
        near = queries[at : at + 100] @ matrix[rows].T
        found += [set((rows[best] + 1).tolist()) for best in np.argpartition(-near, k - 1, axis=1)[:, :k]]
    return found


def measure(space: VectorSpace, queries: Matrix, truth: list[set[int]], k: int, allow: BitMap | None) -> dict[str, Any]:
    seconds, hits, plans = [], 0, set()
    for query, expected in zip(queries, truth, strict=True):
        took, found = timed(partial(space.search, query, k, allow=allow))
        seconds.append(took)
        hits += len(expected.intersection(found.rows.tolist()))
        plans.add(found.plan.value)
    return {"recall": round(hits / (k * len(queries)), 4), **milliseconds(seconds), "plans": sorted(plans)}


def load(feed: Feed, manager: IndexManager, queries: Matrix, rate: float) -> dict[str, Any]:
    """Commits everything at a bounded rate while one client searches; the writer heeds the pressure."""
    seconds: list[float] = []
    done = threading.Event()

    def search() -> None:
        at = 0
        while not done.is_set():
            space = manager.space(SPACE)
            if space is not None and len(space) > 2 * BATCH:
                seconds.append(timed(partial(space.search, queries[at % len(queries)], 10))[0])
                at += 1
            time.sleep(0.002)  # what a server does between two searches of a client

    searcher = threading.Thread(target=search)
    searcher.start()
    started, cpu_before = time.perf_counter(), time.process_time()
    longest = 0
    for batch in range(-(-len(feed.matrix) // BATCH)):
        feed.commit()
        manager.wait_below(1.0, 0.5)
        longest = max(longest, space_of(manager).exact_rows)
        time.sleep(max(0.0, started + (batch + 1) * BATCH / rate - time.perf_counter()))
    elapsed = time.perf_counter() - started
    done.set()
    searcher.join()
    return {
        "rows_per_second": round(len(feed.matrix) / elapsed),
        "cores": round((time.process_time() - cpu_before) / elapsed, 2),
        "longest_tail": longest,
        "segments": space_of(manager).stats().segments,
        "searches": len(seconds),
        **milliseconds(seconds),
    }


def settle(manager: IndexManager) -> dict[str, Any]:
    """Waits for the background merges; a ticking thread sees how long Python's lock is held."""
    gaps: list[float] = []
    done = threading.Event()

    def tick() -> None:
        while not done.is_set():
            gaps.append(timed(lambda: time.sleep(0.001))[0])

    ticker = threading.Thread(target=tick)
    ticker.start()
    started = quiet = time.perf_counter()
    while time.perf_counter() - quiet < 3.0:
        if manager.busy:
            quiet = time.perf_counter()
        time.sleep(0.05)
    done.set()
    ticker.join()
    stats = space_of(manager).stats()
    return {
        "seconds": round(quiet - started, 1),
        "segments": stats.segments,
        "tail": stats.tail,
        "longest_pause_ms": round(1e3 * max(gaps)),
    }


def bare(space: VectorSpace, queries: Matrix, k: int) -> dict[str, Any]:
    """hnswlib alone, asked for as many candidates as the index asks for."""
    index, _ = largest(space)
    width = planner.width_for(k, 1)
    seconds = [timed(partial(index.knn_query, query, width, num_threads=1))[0] for query in queries]
    return {"width": width, **milliseconds(seconds)}


def widths(space: VectorSpace, queries: Matrix, truth: list[set[int]]) -> dict[int, dict[str, Any]]:
    """Recall@10 and latency of the largest graph alone by ef."""
    index, rows = largest(space)
    found = {}
    for width in (32, 64, 80, 96, 111, 128, 160, 200):
        seconds, hits = [], 0
        for query, expected in zip(queries, truth, strict=True):
            took, (labels, _) = timed(partial(index.knn_query, query, width, num_threads=1))
            seconds.append(took)
            hits += len(expected.intersection(rows[labels[0][:10].astype(np.int64)].tolist()))
        found[width] = {"recall": round(hits / (10 * len(queries)), 4), **milliseconds(seconds)}
    return found


def build_rates(matrix: Matrix, threads: int) -> dict[str, int]:
    """Vectors a second into a fresh graph."""
    found = {}
    for wanted, width, n in ((8192, build.WIDTH_SMALL, 1), (8192, build.WIDTH_SMALL, threads), (32768, 200, threads)):
        rows = min(wanted, len(matrix))
        graph = hnswlib.Index("l2", matrix.shape[1])
        graph.init_index(rows, build.DEGREE, width)
        took, _ = timed(partial(graph.add_items, matrix[:rows], num_threads=n))
        found[f"{rows} rows, efConstruction {width}, {n} threads"] = round(rows / took)
    return found


def memory() -> dict[str, int]:
    """MiB resident now, and at most."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    now = {name: int(fields[name].split()[0]) >> 10 for name in ("RssAnon", "RssFile")}
    return {**now, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10}


def filters(space: VectorSpace, feed: Feed, queries: Matrix) -> dict[str, Any]:
    random = np.random.default_rng(1)
    n = len(feed.matrix)
    sets = {
        f"{share:.1%}": random.choice(n, int(n * share), replace=False) + 1 for share in (0.5, 0.1, 0.05, 0.01, 0.001)
    }
    sets["1.0%, clustered"] = np.argsort(-(feed.matrix @ feed.matrix[7]))[: n // 100] + 1
    found = {}
    for name, rows in sets.items():
        allow = BitMap(rows.tolist())
        found[name] = measure(space, queries, truth_of(feed.matrix, queries, 10, allow), 10, allow)
    return found


def restart(rows: int, path: Path) -> None:
    """In a process of its own: opens what was saved, searches once, prints the figures."""
    whole = np.load(path / "vectors.npy", mmap_mode="r")
    feed = Feed(whole[:rows])
    feed.committed = -(-rows // BATCH)
    opening, manager = timed(lambda: feed.open(path / "index"))
    first, _ = timed(lambda: space_of(manager).search(np.array(whole[rows]), 10))
    figures = {"open_s": round(opening, 3), "first_search_ms": round(first * 1e3, 2), **memory()}
    manager.close()
    print(json.dumps(figures))


def run(rows: int, dim: int, rate: float, path: Path) -> Iterator[tuple[str, Any]]:
    """Yields (name, figures) as they are measured."""
    saved = path / "vectors.npy"
    np.save(saved, mixture(rows + QUERIES, dim))
    whole = np.load(saved, mmap_mode="r")
    feed, queries = Feed(whole[:rows]), np.array(whole[rows:])
    yield "memory before", memory()
    manager = feed.open(path / "index")
    yield "while loading", load(feed, manager, queries, rate)
    yield "memory after loading", memory()
    yield "settling", settle(manager)
    yield "memory settled", memory()
    space = space_of(manager)
    truth = truth_of(feed.matrix, queries, 10)
    for k in (10, 50, 200):
        few = queries if k == 10 else queries[:200]
        expected = truth if k == 10 else truth_of(feed.matrix, few, k)
        measure(space, few[:50], expected[:50], k, None)
        yield f"idle, k={k}", measure(space, few, expected, k, None)
        yield f"hnswlib alone, k={k}", bare(space, few, k)
    yield "scan", milliseconds([timed(partial(space.search, query, 10, exact=True))[0] for query in queries[:50]])
    yield "filters, k=10", filters(space, feed, queries[:200])
    yield "ef of one graph, k=10", widths(space, queries[:500], truth[:500])
    yield "close", {"seconds": round(timed(manager.close)[0], 2)}
    command = [sys.executable, __file__, "--rows", str(rows), "--reopen", str(path)]
    yield "restart", json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.splitlines()[-1])
    yield "build rates", build_rates(np.array(feed.matrix[:32768]), os.cpu_count() or 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--rate", type=float, default=3500)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--reopen", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.reopen:
        restart(options.rows, options.reopen)
        return
    figures: dict[str, Any] = {"rows": options.rows, "dim": options.dim, "cores": os.cpu_count()}
    with tempfile.TemporaryDirectory() as folder:
        for name, values in run(options.rows, options.dim, options.rate, Path(folder)):
            figures[name] = values
            print(f"{name}: {json.dumps(values)}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
