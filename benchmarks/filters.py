"""Measures searches under filters and by several ranks, in this process: throughput, latency and recall in every cell,
and what searches cost as an app grows. `make bench` runs it; so does

    python -m benchmarks.filters [--rows 25000,50000,100000,200000] [--at 100000] [--dim 512] [--queries 100]

The load is that of `benchmarks/index.py`, labelled with concepts of selectivity 50, 10, 1, 0.1 and 0.01 %, and one
whose pictures lie together. Recall is against an exact scan in numpy. One client. `--rows 1000000 --at 0` is what
`make bench-million` runs: memory has to stay below 8 GiB.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks import filter_report, head_ranks, report
from benchmarks.index import mixture
from benchmarks.processes import ROOT
from postil import memory
from postil.core.call import Call
from postil.core.downloads import Downloads
from postil.core.hosting import Hosting
from postil.core.opening import Opening
from postil.core.query_vectors import QueryVectors
from postil.core.search import Searches
from postil.embed.registry import ModelRegistry
from postil.index.catalogs import Catalogs
from postil.index.manager import IndexManager
from postil.media.pictures import PictureReader
from postil.store.base import AnnotationRecord, AppRecord, NewInput, Transaction, Vectors
from postil.store.sqlite import SqliteStore
from postil.v1.annotation_pb2 import Annotation
from postil.v1.concept_pb2 import Concept
from postil.v1.data_pb2 import Data
from postil.v1.input_pb2 import Input
from postil.v1.search_pb2 import Filter, Query, Rank, Search
from postil.v1.search_service_pb2 import MultiSearchResponse, PostAnnotationsSearchesRequest

BATCH = 1000
SHARES = {"half": 0.5, "tenth": 0.1, "percent": 0.01, "permille": 0.001, "few": 0.0001}
K = 10
Mask = NDArray[np.bool_]


class Cell(NamedTuple):
    """One kind of search."""

    name: str
    filters: list[Filter]
    mask: Mask
    concepts: tuple[str, ...] = ()  # to rank by
    picture: bool = True  # rank by the query vector too


class Bench:
    """A server's rooms without its doors."""

    def __init__(self, folder: Path, rows: int, dim: int, queries: int) -> None:
        both = mixture(rows + queries, dim)
        self.queries = both[rows:].copy()
        np.save(folder / "vectors.npy", both[:rows])  # read back where needed: a million of them take 2 GiB
        del both
        self.vectors: NDArray[np.float32] = np.load(folder / "vectors.npy", mmap_mode="r")
        self.rows = 0  # loaded
        random = np.random.default_rng(3)
        self.labels = {name: random.random(rows) < share for name, share in SHARES.items()}
        near = self.vectors @ self.vectors[0]
        self.labels["cluster"] = near > np.quantile(near, 0.99)
        self.store = SqliteStore(folder / "data")
        self.index = IndexManager(folder / "index", self.store, idle_s=0.2)
        self.index.start()
        self.catalogs = Catalogs(self.store)
        self.catalogs.start()
        hosting = Hosting("http://127.0.0.1")
        vectors = QueryVectors(
            ModelRegistry(folder, 1, []),
            Downloads(lambda _url, _wanted: b"", self.store.blobs, hosting),
            Opening(PictureReader()),
        )
        self.searches = Searches(self.store, self.index, self.catalogs, vectors)
        self.app: AppRecord = self.store.write(lambda tx: tx.put_app("me", "bench", b""))

    def load(self, rows: int) -> None:
        """Grows to so many, and waits until nothing is built any more."""
        for start in range(self.rows, rows, BATCH):
            self.store.write(partial(self._load, start=start, count=min(BATCH, rows - start)))
            self.index.wait_below(0.9, 600)
        self.rows = rows
        quiet = time.monotonic()
        while time.monotonic() - quiet < 3:
            time.sleep(0.2)
            quiet = time.monotonic() if self.index.busy else quiet

    def close(self) -> None:
        """Lets go of the files."""
        self.catalogs.close()
        self.index.close()
        self.store.close()

    def _load(self, tx: Transaction, *, start: int, count: int) -> None:
        rows, anchors = tx.reserve_inputs(count), tx.reserve_annotations(count)
        concepts = tx.ensure_concepts(self.app.row, dict.fromkeys(self.labels, ""))
        inputs, records, labels, now = [], [], [], tx.now_us
        for at, (row, anchor) in enumerate(zip(rows, anchors, strict=True), start):
            name = f"i{at}"
            message = Annotation(id=f"{at:032x}", input_id=name, input_level=True)
            for concept, holds in self.labels.items():
                if holds[at]:
                    message.data.concepts.add(id=concept, name=concept, value=1)
                    labels.append((anchor, concepts[concept].row, 1.0))
            message.data.metadata.update({"source": f"camera {at % 40}", "number": at})
            posted = Input(id=name, data=message.data)
            inputs.append(NewInput(row, name, 30000, anchor, posted.SerializeToString(), now, "", "", ()))
            records.append(
                AnnotationRecord(
                    anchor, message.id, row, anchor, message.SerializeToString(),
                    24150, True, True, False, "me", "", "", "", now, now,
                )
            )  # fmt: skip
        tx.add_inputs(self.app.row, inputs)
        tx.add_annotations(self.app.row, records, labels)
        space = tx.ensure_space(self.app.row, "client", "client", "client", self.vectors.shape[1])
        rows_of = np.array(anchors, np.int64)
        tx.put_vectors(self.app.row, Vectors(space.row, rows_of, self.vectors[start : start + count]))

    def measure(self, cell: Cell, plain: Cell) -> dict[str, Any]:
        """Throughput, latency, recall and plans of one cell; by turns with another, so that both see one machine."""
        call = Call("bench", "me", self.app)
        requests = [self._request(cell, query) for query in self.queries]
        others = [self._request(plain, query) for query in self.queries]
        self.searches.annotations(call, requests[0])
        taken, beside, plans, resolve, found = [], [], set(), [], []
        for request, other in zip(requests, others, strict=True):
            began = time.perf_counter()
            self.searches.annotations(call, other)
            beside.append(time.perf_counter() - began)
            began = time.perf_counter()
            answer = self.searches.annotations(call, request)
            taken.append(time.perf_counter() - began)
            parsed = MultiSearchResponse.FromString(answer)
            told = parsed.debug[0]
            plans.add(f"{told.plan}({','.join(told.walks)})")
            resolve += [step.micros for step in told.steps if step.name == "filter"]
            found.append({int(one.input.id[1:]) for one in parsed.hits})
        best = self._best(cell)
        hit, total = sum(len(a & b) for a, b in zip(found, best, strict=True)), sum(map(len, best))
        return {
            "per_s": round(1 / float(np.median(taken)), 1),
            "plain_per_s": round(1 / float(np.median(beside)), 1),
            "p50_ms": round(1e3 * float(np.quantile(taken, 0.5)), 3),
            "p99_ms": round(1e3 * float(np.quantile(taken, 0.99)), 3),
            "recall": round(hit / total, 4) if total else 1.0,
            "filter_us": float(np.median(resolve)) if resolve else 0.0,
            "plans": sorted(plans)[:3],
        }

    @staticmethod
    def _request(cell: Cell, query: NDArray[np.float32]) -> PostAnnotationsSearchesRequest:
        ranks = [Rank(annotation=Annotation(data=Data(concepts=[Concept(id=n, value=1)]))) for n in cell.concepts]
        if cell.picture:
            rank = Rank()
            rank.annotation.data.embeddings.add(vector=query)
            ranks = [rank, *ranks]
        request = PostAnnotationsSearchesRequest(
            searches=[Search(query=Query(filters=cell.filters, ranks=ranks), debug=True)]
        )
        request.pagination.per_page = K
        return request

    def _best(self, cell: Cell) -> list[set[int]]:
        """The exact answer to each query."""
        rows, mask = self.rows, cell.mask[: self.rows]
        scores = np.where(mask, np.float64(1.0), -1.0)
        for name in cell.concepts:
            labels = self.labels[name][:rows]
            centre = self.vectors[:rows][labels].mean(axis=0)
            like = (1.0 + self.vectors[:rows] @ (centre / np.linalg.norm(centre))) / 2.0
            scores = scores * np.where(labels, 1.0, like)
        wanted = min(K, int(mask.sum()))
        found = []
        for query in self.queries if cell.picture else self.queries[:1]:
            one = scores * (1.0 + self.vectors[:rows] @ query) if cell.picture else scores
            if wanted == 0:
                found.append(set[int]())
                continue
            least = np.partition(one, rows - wanted)[rows - wanted]
            candidates = np.flatnonzero(one >= least)
            found.append(set(candidates[np.argsort(-one[candidates], kind="stable")][:wanted].tolist()))
        return found if cell.picture else found * len(self.queries)


def labelled(name: str, *, negate: bool = False) -> Filter:
    return Filter(negate=negate, annotation=Annotation(data=Data(concepts=[Concept(id=name, value=1)])))


def cells(labels: dict[str, Mask]) -> list[Cell]:
    everything = np.ones(len(labels["half"]), np.bool_)
    found = [Cell("no filter", [], everything)]
    found += [Cell(name, [labelled(name)], labels[name]) for name in labels]
    found += [Cell(f"not {name}", [labelled(name, negate=True)], ~labels[name]) for name in labels]
    pairs = [("half", "tenth"), ("half", "percent"), ("tenth", "percent"), ("half", "cluster"), ("tenth", "cluster")]
    found += [Cell(f"{a} and {b}", [labelled(a), labelled(b)], labels[a] & labels[b]) for a, b in pairs]
    found += [Cell(f"{a}, not {b}", [labelled(a), labelled(b, negate=True)], labels[a] & ~labels[b]) for a, b in pairs]
    three = [labelled("half"), labelled("tenth"), labelled("percent", negate=True)]
    found.append(Cell("three filters", three, labels["half"] & labels["tenth"] & ~labels["percent"]))
    found += [Cell(f"rank by {n}", [], everything, (n,), picture=False) for n in ("tenth", "percent", "few")]
    found += [Cell(f"rank by picture and {n}", [], everything, (n,)) for n in ("half", "tenth", "percent", "few")]
    return found


def run(folder: str, sizes: list[int], at: int, dim: int, queries: int) -> dict[str, Any]:
    """Every figure: `growth` by size, `cells` by name, and memory.

    Args:
        folder: Empty, for files.
        sizes: At which to measure a plain search, ascending.
        at: The size at which every cell is measured; 0: none.
        dim: Numbers in a vector.
        queries: How many.
    """
    bench = Bench(Path(folder), max(*sizes, at, 0), dim, queries)
    every = cells(bench.labels)
    growth, found, learned = {}, {}, {}
    for size in sorted({*sizes, at} - {0}):
        bench.load(size)
        growth[size] = bench.measure(every[0], every[0])
        print(f"{size:>9,} {json.dumps(growth[size])}", flush=True)
        if size == at:
            for cell in every:
                found[cell.name] = bench.measure(cell, every[0])
                print(f"{cell.name:28} {json.dumps(found[cell.name])}", flush=True)
            learned = head_ranks.run(bench)
    figures = {
        "growth": growth,
        "cells": found,
        "heads": learned,
        "catalog_bytes": round(bench.catalogs.nbytes() / bench.rows, 1),
        "rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    bench.close()
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", default="100000", help="sizes, with commas")
    parser.add_argument("--at", type=int, help="the size at which every cell is measured; by default the largest")
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--queries", type=int, default=100)
    args = parser.parse_args()
    memory.steady()  # as `postil serve` does: it decides what large temporary arrays cost
    sizes = [int(size) for size in args.rows.split(",")]
    with tempfile.TemporaryDirectory(prefix="postil-bench-") as folder:
        figures = run(folder, sizes, max(sizes) if args.at is None else args.at, args.dim, args.queries)
    lines = filter_report.rows(figures)
    print(report.table(lines))
    kept = report.keep("filters" if args.at != 0 else "million", {**report.facts(), **figures})
    print(kept.relative_to(ROOT))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
