"""Hours of what a server does every day: `make soak`, an hour of it; memory, file handles and the log must not grow.

make soak ARGS="--minutes 3"      the short form; nothing is written to docs/

What the clients add they delete again, so that whatever grows was not asked for. Growth is judged over the second half:
caches and pools fill in the first. An hour must stay within the bounds below; shorter runs say how far they were.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import numpy as np

from overload.requests import DIM, INPUTS, pictures, stock
from overload.run import mapped_mib, processes_of, resident_mib
from postil.v1.annotation_pb2 import Annotation
from postil.v1.annotation_service_pb2 import DeleteAnnotationsRequest, PostAnnotationsRequest
from postil.v1.input_pb2 import Input
from postil.v1.input_service_pb2 import DeleteInputsRequest, PostInputsRequest
from postil.v1.search_pb2 import Query, Rank, Search
from postil.v1.search_service_pb2 import PostInputsSearchesRequest
from support import trust
from support.server import OWN, Server

MINUTES = 60
CLIENTS = 3
WAL_MIB = 64
# Over the second half, by a straight line through it. What forgets to free a kilobyte a call grows by a hundred MiB in
# half an hour of this load; the allocator's own ups and downs are a few.
GROWTH_MIB = 16
GROWTH_HANDLES = 8
_PAUSE_S = 0.01  # of each client between calls: a soak is a long day, not an overload


class Sample(NamedTuple):
    """The server at one moment."""

    minutes: float
    resident_mib: float  # with decoders
    mapped_mib: float  # of that, pages of files
    handles: int
    wal_mib: float


class Soak:
    """Clients of a server until `stop`."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._over = threading.Event()
        self._photos = pictures()
        self.counts: Counter[str] = Counter()
        self.wrong: Counter[str] = Counter()

    def run(self, minutes: float, every_s: float) -> list[Sample]:
        """Samples at regular times."""
        for request in stock():
            self._call("PostInputs", request)
        threads = [threading.Thread(target=self._client, args=(number,)) for number in range(CLIENTS)]
        for thread in threads:
            thread.start()
        began, samples = time.monotonic(), []
        while time.monotonic() < began + minutes * 60:
            time.sleep(every_s)
            samples.append(self.sample((time.monotonic() - began) / 60))
        self._over.set()
        for thread in threads:
            thread.join()
        return samples

    def sample(self, minutes: float) -> Sample:
        """Now."""
        handles = 0
        for process in processes_of(self._server):
            with contextlib.suppress(OSError):
                handles += len(list(Path(f"/proc/{process}/fd").iterdir()))
        log = sum(path.stat().st_size for path in self._server.data_dir.glob("*-wal"))
        return Sample(minutes, resident_mib(self._server), mapped_mib(self._server), handles, log / 2**20)

    def _client(self, number: int) -> None:
        chance, rng = random.Random(number), np.random.default_rng(number)
        steps = [self._vectors, self._picture, self._labels, self._search, self._search, self._look, self._page]
        while not self._over.is_set():
            chance.choice(steps)(rng)
            time.sleep(_PAUSE_S)

    def _call(self, rpc: str, request: Any) -> Any:
        self.counts[rpc] += 1
        try:
            response = self._server.call(OWN, rpc, request, timeout=120)
        except grpc.RpcError as error:
            self.wrong[f"{rpc} {error}"] += 1
            return None
        if response.status.code != 10000:
            self.wrong[f"{rpc} {response.status.code} {response.status.details}"] += 1
        return response

    def _vectors(self, rng: np.random.Generator) -> None:
        posted = PostInputsRequest()
        for _number in range(20):
            posted.inputs.add().data.embeddings.add(vector=rng.standard_normal(DIM).tolist())
        self._undo(self._call("PostInputs", posted))

    def _picture(self, rng: np.random.Generator) -> None:
        item = Input()
        item.data.image.base64 = self._photos[int(rng.integers(len(self._photos)))] + rng.bytes(8)
        posted = self._call("PostInputs", PostInputsRequest(inputs=[item]))
        if posted is not None and posted.inputs:
            hosted = posted.inputs[0].data.image.hosted
            self._get(f"/blobs/small/{hosted.suffix.rpartition('/')[2]}", "GET thumbnail")
        self._undo(posted)

    def _undo(self, posted: Any) -> None:
        if posted is not None and posted.inputs:
            self._call("DeleteInputs", DeleteInputsRequest(ids=[one.id for one in posted.inputs]))

    def _labels(self, rng: np.random.Generator) -> None:
        note = Annotation(input_id=f"stock-{rng.integers(INPUTS)}")
        note.data.concepts.add(id=f"label-{rng.integers(30)}", value=1)
        made = self._call("PostAnnotations", PostAnnotationsRequest(annotations=[note] * 5))
        if made is not None and made.annotations:
            ids = [one.id for one in made.annotations]
            names = [one.input_id for one in made.annotations]
            self._call("DeleteAnnotations", DeleteAnnotationsRequest(ids=ids, input_ids=names))

    def _search(self, rng: np.random.Generator) -> None:
        rank = Rank()
        rank.annotation.data.embeddings.add(vector=rng.standard_normal(DIM).tolist())
        search = Search(query=Query(ranks=[rank]))
        if rng.random() < 0.5:
            search.query.filters.add().annotation.data.concepts.add(id=f"kind-{rng.integers(20)}", value=1)
        self._call("PostInputsSearches", PostInputsSearchesRequest(searches=[search]))

    def _look(self, rng: np.random.Generator) -> None:
        rank = Rank()
        rank.annotation.data.image.base64 = self._photos[int(rng.integers(len(self._photos)))]
        search = Search(query=Query(ranks=[rank]))
        self._call("PostInputsSearches", PostInputsSearchesRequest(searches=[search]))

    def _page(self, rng: np.random.Generator) -> None:
        self._get(f"/v2/inputs?page={rng.integers(1, 20)}&per_page=50", "GET /v2/inputs")

    def _get(self, path: str, name: str) -> None:
        self.counts[name] += 1
        try:
            with urllib.request.urlopen(self._server.http + path, timeout=120) as answer:
                answer.read()
        except OSError as error:  # URLError is one, as is a connection that breaks off while it is read
            self.wrong[f"{name} {error}"] += 1


def growth(samples: list[Sample], of: Callable[[Sample], float]) -> float:
    """By how much something grows over the second half, by a straight line through it."""
    half = samples[len(samples) // 2 :]
    minutes = np.array([sample.minutes for sample in half])
    slope = np.polyfit(minutes, np.array([of(sample) for sample in half]), 1)[0]
    return float(slope * (minutes[-1] - minutes[0]))


def misses(soak: Soak, samples: list[Sample]) -> list[str]:
    """The targets that do not hold."""
    checks = {
        "no call goes wrong": not soak.wrong,
        f"memory grows by at most {GROWTH_MIB} MiB in the second half": growth(samples, memory) <= GROWTH_MIB,
        f"file handles grow by at most {GROWTH_HANDLES} in the second half": growth(samples, handles) <= GROWTH_HANDLES,
        f"the write-ahead log stays below {WAL_MIB} MiB": max(sample.wal_mib for sample in samples) <= WAL_MIB,
    }
    return [name for name, holds in checks.items() if not holds]


def memory(sample: Sample) -> float:
    return sample.resident_mib


def mapped(sample: Sample) -> float:
    return sample.mapped_mib


def tenths(samples: list[Sample], of: Callable[[Sample], float]) -> str:
    """The mean of each tenth, so that one can see whether something still grows, or has grown once."""
    parts = np.array_split(np.array([of(sample) for sample in samples]), min(10, len(samples)))
    return ", ".join(f"{part.mean():,.0f}" for part in parts)


def handles(sample: Sample) -> float:
    return sample.handles


def lines(minutes: float, soak: Soak, samples: list[Sample]) -> list[str]:
    """For people."""
    half = samples[len(samples) // 2 :]
    resident = [sample.resident_mib for sample in half]
    open_files = [sample.handles for sample in half]
    calls = ", ".join(f"{name} {count:,}" for name, count in sorted(soak.counts.items()))
    spread = f"{min(resident):,.0f} to {max(resident):,.0f} MiB, {growth(samples, memory):+,.1f} MiB along a line"
    return [
        f"Soak: {minutes:,.0f} minutes, {CLIENTS} clients, {sum(soak.counts.values()):,} calls ({calls}).",
        f"Calls that went wrong: {sum(soak.wrong.values())}.",
        f"Resident memory in the second half, decoders included: {spread}.",
        f"Resident memory in tenths of the run: {tenths(samples, memory)} MiB; of it files: {tenths(samples, mapped)}.",
        f"File handles in the second half: {min(open_files)} to {max(open_files)}.",
        f"Largest write-ahead log: {max(sample.wal_mib for sample in samples):,.1f} MiB.",
        "Targets that do not hold: " + ("; ".join(misses(soak, samples)) or "none") + ".",
    ]


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="make soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=MINUTES)
    parser.add_argument("--record", action="store_true", help="write docs/trust.md although it is not the whole run")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="postil-soak-") as folder:
        server = Server(Path(folder))
        soak = Soak(server)
        try:
            samples = soak.run(args.minutes, every_s=max(1.0, args.minutes / 2))
        finally:
            server.stop()
            failures = [line for line in server.log.read_text().splitlines() if '"exception"' in line]
    for line in failures:  # nobody was told of these, yet they went wrong
        soak.wrong[f"in the log: {json.loads(line)['event']}"] += 1
    told = lines(args.minutes, soak, samples)
    print("\n".join([*told, *map(str, soak.wrong.most_common(5)), *failures[:5]]))
    if args.record or args.minutes >= MINUTES:
        trust.record("soak", f'make soak ARGS="--minutes {args.minutes:g}"', told)
    if args.minutes >= MINUTES:
        return 1 if misses(soak, samples) else 0
    return 1 if soak.wrong or max(sample.wal_mib for sample in samples) > WAL_MIB else 0


if __name__ == "__main__":
    sys.exit(main())
