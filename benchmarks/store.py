"""What the store alone does, without RPC and index: durable writes by size and number of writers, hits of a search.

    python benchmarks/store.py [--inputs 20000] [--dir DIR]

Every write is committed with synchronous=FULL: the figures depend on how fast the disk flushes, so that is printed too.
"""

from __future__ import annotations

import argparse
import os
import secrets
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from itertools import chain, count
from pathlib import Path
from typing import NamedTuple

import numpy as np

from postil.store.base import AnnotationRecord, NewInput, Transaction, Vectors
from postil.store.sqlite import SqliteStore

DIM = 512
BATCH = 128
MESSAGE = bytes(range(256)) + bytes(44)  # 300 bytes
INPUT_MESSAGE = MESSAGE[:200]


class Line(NamedTuple):
    """One line of the table: what, how many a second, milliseconds at p50 and p99."""

    what: str
    rate: float
    p50_ms: float
    p99_ms: float


def line(what: str, items: float, seconds: float, laps: list[float]) -> Line:
    p50, p99 = np.percentile(np.array(laps) * 1e3, [50, 99])
    return Line(what, items / seconds, float(p50), float(p99))


def annotation(row: int, input_row: int, anchor: int, now_us: int, *, level: bool) -> AnnotationRecord:
    return AnnotationRecord(
        row,
        secrets.token_hex(16),
        input_row,
        anchor,
        MESSAGE,
        24150,
        True,
        level,
        level,
        "me",
        "",
        "",
        "",
        now_us,
        now_us,
    )


def input_op(app: int, space: int, matrix: np.ndarray) -> Callable[[Transaction], None]:
    """An op that adds one input with its input-level annotation and vector for each row of the matrix."""
    ids = [secrets.token_hex(16) for _ in matrix]

    def op(tx: Transaction) -> None:
        inputs, rows = tx.reserve_inputs(len(ids)), tx.reserve_annotations(len(ids))
        tx.add_inputs(
            app,
            [
                NewInput(i, name, 30000, row, INPUT_MESSAGE, tx.now_us, "", "", ())
                for i, name, row in zip(inputs, ids, rows, strict=True)
            ],
        )
        levels = [annotation(row, i, row, tx.now_us, level=True) for i, row in zip(inputs, rows, strict=True)]
        tx.add_annotations(app, levels, [])
        tx.put_vectors(app, Vectors(space, np.array(rows, dtype=np.int64), matrix))

    return op


def label_op(app: int, targets: list[tuple[int, int]], concept: int) -> Callable[[Transaction], None]:
    """An op that adds one labelled annotation to each (input row, anchor row)."""

    def op(tx: Transaction) -> None:
        rows = tx.reserve_annotations(len(targets))
        records = [annotation(row, i, a, tx.now_us, level=False) for row, (i, a) in zip(rows, targets, strict=True)]
        tx.add_annotations(app, records, [(row, concept, 1.0) for row in rows])

    return op


def timed(store: SqliteStore, ops: Iterator[Callable[[Transaction], None]], laps: list[float]) -> None:
    for op in ops:
        start = time.perf_counter()
        store.write(op)
        laps.append(time.perf_counter() - start)


def load(store: SqliteStore, app: int, space: int, inputs: int) -> Line:
    rng = np.random.default_rng(7)
    matrix = rng.standard_normal((BATCH, DIM), dtype=np.float32)
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    laps: list[float] = []
    start = time.perf_counter()
    timed(store, (input_op(app, space, matrix) for _ in range(inputs // BATCH)), laps)
    return line(f"inputs with a vector of {DIM}, {BATCH} an op", inputs, time.perf_counter() - start, laps)


def annotate(store: SqliteStore, app: int, concept: int, targets: list[tuple[int, int]], batches: int) -> Line:
    laps: list[float] = []
    step = max(1, len(targets) - BATCH)
    starts = [i * BATCH % step for i in range(batches)]
    start = time.perf_counter()
    timed(store, (label_op(app, targets[at : at + BATCH], concept) for at in starts), laps)
    return line(f"labelled annotations, {BATCH} an op", batches * BATCH, time.perf_counter() - start, laps)


def annotate_singly(
    store: SqliteStore, app: int, concept: int, targets: list[tuple[int, int]], writers: int, ops: int
) -> Line:
    laps: list[list[float]] = [[] for _ in range(writers)]

    def work(number: int) -> None:
        picks = [targets[(number * ops + i) * 7919 % len(targets)] for i in range(ops)]
        timed(store, (label_op(app, [pick], concept) for pick in picks), laps[number])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(writers)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - start
    return line(f"labelled annotations, one an op, {writers} threads", writers * ops, seconds, list(chain(*laps)))


def fetch_hits(store: SqliteStore, anchors: list[int], rounds: int) -> Line:
    rng = np.random.default_rng(1)
    picks = rng.choice(anchors, (rounds, 10))
    queries = [row.tolist() for row in picks]
    laps: list[float] = []
    start = time.perf_counter()
    for query in queries:
        lap = time.perf_counter()
        store.read().hits(query)
        laps.append(time.perf_counter() - lap)
    return line("hits of 10 anchors", rounds, time.perf_counter() - start, laps)


def scan(store: SqliteStore, space: int) -> Line:
    laps: list[float] = []
    after, total = 0, 0
    start = time.perf_counter()
    for _ in count():
        lap = time.perf_counter()
        vectors = store.read().scan_vectors(space, after, 4096)
        laps.append(time.perf_counter() - lap)
        if not len(vectors.rows):
            break
        after = int(vectors.rows[-1])
        total += len(vectors.rows)
    return line("vectors scanned with checksums", total, time.perf_counter() - start, laps)


def flush_ms(directory: Path) -> float:
    """Median milliseconds of an fdatasync after 4 KiB."""
    laps = []
    with (directory / "flush").open("wb", buffering=0) as file:
        for _ in range(200):
            file.write(bytes(4096))
            lap = time.perf_counter()
            os.fdatasync(file.fileno())
            laps.append(time.perf_counter() - lap)
    return float(np.median(laps) * 1e3)


def run(directory: Path, inputs: int) -> Iterator[Line]:
    with SqliteStore(directory) as store:
        app = store.write(lambda tx: tx.put_app("me", "bench", b"")).row
        concept = store.write(lambda tx: tx.ensure_concepts(app, {"cat": ""}))["cat"].row
        space = store.write(lambda tx: tx.ensure_space(app, "client", "client", "client", DIM)).row
        yield load(store, app, space, inputs)
        records = store.read().stream_inputs(app, "", by_id=False, descending=False, limit=inputs)
        targets = [(record.row, record.anchor) for record in records]
        anchors = [record.anchor for record in records]
        yield fetch_hits(store, anchors, 5000)
        yield scan(store, space)
        yield annotate(store, app, concept, targets, 200)
        for writers in (1, 16):
            yield annotate_singly(store, app, concept, targets, writers, 6400 // writers)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=20_000)
    parser.add_argument(
        "--dir", type=Path, default=None, help="where to make the temporary store (default: the system's)"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.dir) as name:
        directory = Path(name)
        print(f"fdatasync of 4 KiB: {flush_ms(directory):.2f} ms median")
        print(f"{'':48}{'a second':>12}{'p50 ms':>10}{'p99 ms':>10}")
        for what, rate, p50, p99 in run(directory / "store", arguments.inputs // BATCH * BATCH):
            print(f"{what:48}{rate:12,.0f}{p50:10.3f}{p99:10.3f}")


if __name__ == "__main__":
    main()
