"""The measurements on a running server, one function each. Every figure lands in one flat dictionary."""

from __future__ import annotations

import contextlib
import os
import signal
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from benchmarks import clients, filters, inprocess, json_door, load
from benchmarks.processes import Floor, Postil, Process

Figures = dict[str, float]
P = TypeVar("P", bound=Process)


@dataclass(frozen=True)
class Scale:
    """How much is measured."""

    vectors: int = 100_000
    dim: int = 512
    queries: int = 1000
    seconds: float = 4.0
    rounds: int = 3
    extra: int = 20_000  # vectors loaded while others search
    bulk_calls: int = 160  # of 128 annotations
    single_calls: int = 6000
    pictures: int = 400
    own_writes: int = 300  # each searched for by another client at once
    growth: tuple[int, ...] = (25_000, 50_000, 100_000, 200_000)
    cells_at: int = 100_000  # annotations under filters
    cell_queries: int = 100


QUICK = Scale(
    vectors=6000, queries=200, seconds=1.0, rounds=1, extra=2560, bulk_calls=10, single_calls=320, pictures=24,
    own_writes=40, growth=(3000, 6000), cells_at=6000, cell_queries=20,
)  # fmt: skip


class Bench:
    """One run over one load, in a folder of its own.

    Args:
        scale: How much.
        folder: Where data and logs go.
    """

    def __init__(self, scale: Scale, folder: Path) -> None:
        self.scale = scale
        self.figures: Figures = {}
        self.cells: dict[str, Any] = {}  # see filters.run
        self._folder = folder
        self._load = load.make(scale.vectors + scale.extra, scale.dim, scale.queries)
        self._vectors = str(folder / "vectors.npy")
        np.save(self._vectors, self._load.vectors)
        self._first = str(folder / "first.npy")
        np.save(self._first, self._load.vectors[: scale.vectors])
        self._exact = load.truth(self._load.vectors[: scale.vectors], self._load.queries)
        self._graph = folder / "graph.bin"
        self._ef = 0
        self._servers = contextlib.ExitStack()

    def library(self) -> None:
        """hnswlib in process; it also builds the floor's graph."""
        scale = self.scale
        found = clients.apart(
            inprocess.hnswlib_alone, self._first, self._load.queries, self._exact, str(self._graph), scale.seconds
        )
        self._ef = found.ef
        self.figures |= {
            "hnswlib_recall": found.recall,
            "hnswlib_ef": found.ef,
            "hnswlib_build_per_s": found.rows_per_second,
            "hnswlib_p50_ms": found.one.percentile_ms(50),
            "hnswlib_c1_per_s": found.one.per_second,
            "hnswlib_c8_per_s": found.eight.per_second,
        }

    def serve(self) -> Postil:
        """A server on the run's data directory."""
        return self._started(Postil(self._folder / "data"))

    def _started(self, process: P) -> P:
        """The process, which will not outlive the run."""
        self._servers.callback(process.kill)
        return process

    def loading(self, server: Postil) -> None:
        """All vectors through PostInputs: acknowledged means durable and searchable."""
        n = self.scale.vectors
        run = clients.apart(clients.post_inputs, server.address, self._vectors, 0, n, 2)
        self.figures |= {
            "load_per_s": n / run.seconds,
            "load_call_p50_ms": run.percentile_ms(50),
            "load_call_p99_ms": run.percentile_ms(99),
            "load_settle_s": server.settle(),
            "rss_mib": server.resident_mib(),
            "raw_mib": self._load.vectors[:n].nbytes / 2**20,
        }

    def searching(self, server: Postil) -> None:
        """The product and the floor by turns, so that both see the same machine."""
        scale, queries = self.scale, self._load.queries
        response = self._folder / "response.bin"
        response.write_bytes(clients.apart(clients.one_response, server.address, queries[0]))
        floor = self._started(Floor(self._graph, scale.dim, self._ef, response))
        runs: dict[str, list[clients.Run]] = {"postil_c1": [], "floor_c1": [], "postil_c8": [], "floor_c8": []}
        for _ in range(scale.rounds):
            for name, address in (("floor", floor.address), ("postil", server.address)):
                runs[f"{name}_c1"].append(clients.apart(clients.search_once_each, address, queries))
            for name, address in (("floor", floor.address), ("postil", server.address)):
                runs[f"{name}_c8"].append(clients.apart(clients.search_for, address, queries, scale.seconds, 8))
        floor.end()
        self.figures["response_bytes"] = response.stat().st_size
        self.figures["postil_recall"] = load.recall(runs["postil_c1"][-1].found, self._exact)
        for name, found in runs.items():
            self.figures[f"{name}_per_s"] = statistics.median(run.per_second for run in found)
            for percent in (50, 99):
                self.figures[f"{name}_p{percent}_ms"] = statistics.median(run.percentile_ms(percent) for run in found)

    def searching_while_loading(self, server: Postil) -> None:
        """One client searches while two load as fast as they can."""
        scale = self.scale
        halt = clients.SPAWN.Event()
        searching = clients.Apart(clients.search_until, server.address, self._load.queries, halt)
        last = scale.vectors + scale.extra
        loaded = clients.apart(clients.post_inputs, server.address, self._vectors, scale.vectors, last, 2)
        halt.set()
        began = float(loaded.starts.min())
        during = searching.result().within(began, began + loaded.seconds)
        self.figures |= {
            "loading_search_p50_ms": during.percentile_ms(50),
            "loading_search_p99_ms": during.percentile_ms(99),
            "loading_search_per_s": during.per_second,
            "loading_load_per_s": scale.extra / loaded.seconds,
            "loading_settle_s": server.settle(),
        }

    def reading_writes(self, server: Postil) -> None:
        """What one client has written, another searches for as soon as it is acknowledged."""
        scale = self.scale
        first = scale.vectors + scale.extra
        vectors = self._load.vectors[: scale.own_writes][::-1] * -1.0  # opposite to what is there: found first
        missed = clients.apart(clients.search_for_own_writes, server.address, np.ascontiguousarray(vectors), first)
        halt = clients.SPAWN.Event()
        searching = clients.Apart(clients.search_until, server.address, self._load.queries, halt)
        count = scale.own_writes * 20
        written = clients.apart(
            clients.post_annotations, server.address, 20_000_000, count // load.BATCH + 1, load.BATCH, scale.vectors, 1
        )
        halt.set()
        began = float(written.starts.min())
        during = searching.result().within(began, began + written.seconds)
        self.figures |= {
            "own_writes": float(scale.own_writes),
            "own_writes_missed": float(missed),
            "one_writer_p99_ms": during.percentile_ms(99),
            "one_writer_per_s": written.per_second * load.BATCH,
        }

    def filtering(self) -> None:
        """Filters, several ranks and growth, in a process without a server."""
        scale = self.scale
        folder = self._folder / "filters"
        folder.mkdir()
        self.cells = clients.apart(
            filters.run, str(folder), list(scale.growth), scale.cells_at, scale.dim, scale.cell_queries
        )

    def http(self) -> None:
        """The JSON door beside a bare handler and beside gRPC, on a small server of its own."""
        folder = self._folder / "http"
        folder.mkdir()
        found = json_door.measure(folder, 2000, self.scale.seconds)
        for load_name, rows in found.items():
            for name, row in rows.items():
                key = f"json_{load_name}_{name.replace(' ', '_').lower()}"
                self.figures |= {f"{key}_{figure}": value for figure, value in row._asdict().items()}

    def annotating(self, server: Postil) -> None:
        """Annotations in bulk, then one at a time from sixteen clients."""
        scale = self.scale
        bulk = clients.apart(
            clients.post_annotations, server.address, 0, scale.bulk_calls, load.BATCH, scale.vectors, 2
        )
        single = clients.apart(
            clients.post_annotations, server.address, 10_000_000, scale.single_calls, 1, scale.vectors, 16
        )
        self.figures |= {
            "annotations_bulk_per_s": bulk.per_second * load.BATCH,
            "annotations_single_per_s": single.per_second,
            "annotations_single_p50_ms": single.percentile_ms(50),
            "annotations_single_p99_ms": single.percentile_ms(99),
        }

    def picturing(self, server: Postil) -> None:
        """Pictures as JPEG bytes, against onnxruntime on pictures that are decoded already."""
        cores = os.cpu_count() or 1
        pictures = inprocess.photos(self.scale.pictures)
        clients.apart(clients.post_pictures, server.address, pictures[:2], 1, 1, "warm-")
        run = clients.apart(clients.post_pictures, server.address, pictures, 16, 2, "picture-")
        alone = clients.apart(inprocess.onnxruntime_alone, pictures, cores)
        self.figures |= {"pictures_per_s": len(pictures) / run.seconds, "onnxruntime_per_s": alone}

    def restarting(self, server: Postil) -> None:
        """Killed and started again: how soon it is ready, and whether everything is found."""
        server.end(signal.SIGKILL)
        again = self.serve()
        self.figures["restart_s"] = again.ready_seconds
        first = clients.apart(clients.search_once_each, again.address, self._load.queries[:50])
        self.figures["restart_first_p50_ms"] = first.percentile_ms(50)
        again.settle()
        self.figures["restart_rss_mib"] = again.resident_mib()
        began = time.perf_counter()
        again.end()
        self.figures["stop_s"] = time.perf_counter() - began

    def run(self) -> Figures:
        """Everything, in order."""
        steps = (
            ("loading", self.loading),
            ("searching", self.searching),
            ("searching while loading", self.searching_while_loading),
            ("reading what others wrote", self.reading_writes),
            ("annotating", self.annotating),
            ("posting pictures", self.picturing),
            ("killing and starting again", self.restarting),
        )
        print("hnswlib in process …", flush=True)
        self.library()
        with self._servers:
            server = self.serve()
            for name, step in steps:
                print(f"{name} …", flush=True)
                step(server)
        print("JSON over HTTP …", flush=True)
        self.http()
        print("filters, ranks and growth …", flush=True)
        self.filtering()
        return self.figures
