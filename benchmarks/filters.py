"""Measures searches under filters and by several ranks, in this process: throughput, latency and recall in every cell.

    .venv/bin/python benchmarks/filters.py [--rows 100000] [--dim 512] [--queries 200] [--json FILE]

The load is that of `benchmarks/index.py`, labelled with concepts of selectivity 50, 10, 1, 0.1 and 0.01 %, and one
whose pictures lie together. Recall is against an exact scan in numpy. One client.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.index import mixture
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
        self.vectors, self.queries = both[:rows], both[rows:]
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
            Downloads(lambda _: b"", self.store.blobs, hosting),
            Opening(PictureReader()),
        )
        self.searches = Searches(self.store, self.index, self.catalogs, vectors)
        self.app: AppRecord = self.store.write(lambda tx: tx.put_app("me", "bench", b""))
        for start in range(0, rows, BATCH):
            self.store.write(partial(self._load, start=start))
            self.index.wait_below(0.9, 60)
        quiet = time.monotonic()
        while time.monotonic() - quiet < 3:
            time.sleep(0.2)
            quiet = time.monotonic() if self.index.busy else quiet

    def _load(self, tx: Transaction, *, start: int) -> None:
        count = min(BATCH, len(self.vectors) - start)
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

    def measure(self, cell: Cell) -> dict[str, Any]:
        """Throughput, latency, recall and plans of one cell."""
        ranks = [Rank(annotation=Annotation(data=Data(concepts=[Concept(id=n, value=1)]))) for n in cell.concepts]
        call = Call("bench", "me", self.app)
        taken, hit, total, plans, resolve = [], 0, 0, set(), []
        for query in self.queries:
            rank = Rank()
            rank.annotation.data.embeddings.add(vector=query)
            all_ranks = [rank, *ranks] if cell.picture else ranks
            search = Search(query=Query(filters=cell.filters, ranks=all_ranks), debug=True)
            request = PostAnnotationsSearchesRequest(searches=[search])
            request.pagination.per_page = K
            began = time.perf_counter()
            answer = self.searches.annotations(call, request)
            taken.append(time.perf_counter() - began)
            parsed = MultiSearchResponse.FromString(answer)
            told = parsed.debug[0]
            plans.add(f"{told.plan}({','.join(told.walks)})")
            resolve += [step.micros for step in told.steps if step.name == "filter"]
            best = self._best(query, cell)
            hit += len(best.intersection(int(one.input.id[1:]) for one in parsed.hits))
            total += len(best)
        return {
            "per_s": round(len(taken) / sum(taken)),
            "p50_ms": round(1e3 * float(np.quantile(taken, 0.5)), 2),
            "p99_ms": round(1e3 * float(np.quantile(taken, 0.99)), 2),
            "recall": round(hit / max(1, total), 4),
            "filter_us": float(np.median(resolve)) if resolve else 0.0,
            "plans": sorted(plans)[:3],
        }

    def _best(self, query: NDArray[np.float32], cell: Cell) -> set[int]:
        scores = np.ones(len(self.vectors))
        if cell.picture:
            scores = np.clip((1.0 + self.vectors @ query) / 2.0, 0.0, 1.0).astype(np.float64)
        for name in cell.concepts:
            centre = self.vectors[self.labels[name]].mean(axis=0)
            like = (1.0 + self.vectors @ (centre / np.linalg.norm(centre))) / 2.0
            scores = scores * np.where(self.labels[name], 1.0, like)
        scores = np.where(cell.mask, scores, -1.0)
        return set(np.argsort(-scores, kind="stable")[: min(K, int(cell.mask.sum()))].tolist())


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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--only", default="", help="cells whose name contains this, beside the one without a filter")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="postil-bench-") as folder:
        bench = Bench(Path(folder), args.rows, args.dim, args.queries)
        figures = {}
        for cell in cells(bench.labels):
            if args.only not in cell.name and cell.name != "no filter":
                continue
            figures[cell.name] = found = bench.measure(cell)
            print(f"{cell.name:28} {json.dumps(found)}", flush=True)
        memory = {"catalog_bytes_per_annotation": round(bench.catalogs.nbytes() / args.rows, 1)}
        memory["rss_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(json.dumps(memory))
        bench.index.close()
        bench.store.close()
    if args.json:
        args.json.write_text(json.dumps({"figures": figures, **memory}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
