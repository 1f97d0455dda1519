"""The same load on other systems, those that are installed: load rate, searches a second, recall.

    python -m benchmarks.peers [--vectors N] [--pg postgresql://…]

Chroma runs as its own server, LanceDB embedded, PostgreSQL with pgvector wherever `--pg` points. Each stores the vector
with a payload of about 300 bytes and returns it with every hit. Nothing is installed for you: pip install chromadb,
lancedb, or "psycopg[binary]" pgvector.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from benchmarks import load, report
from benchmarks.clients import Calls, Run, in_threads
from benchmarks.inprocess import RECALL

_SECONDS = 4.0


class Session(Protocol):
    """One client's connection to a peer."""

    def search(self, query: load.Matrix) -> list[int]:
        """The numbers of the ten nearest; their payloads are read too."""
        ...


class Peer(Protocol):
    """A system under the load."""

    name: str

    def add(self, first: int, vectors: load.Matrix) -> None:
        """One batch, acknowledged on return."""
        ...

    def finish(self) -> None:
        """What has to happen after the last batch before searches are fast."""
        ...

    def tune(self, width: int) -> None:
        """Sets how widely later sessions search."""
        ...

    def session(self) -> Session: ...


def payload(number: int) -> str:
    """The input of this number without its vector, as JSON of about 300 bytes."""
    message = load.item(number, np.empty(0, np.float32))
    concepts = {concept.id: concept.value for concept in message.data.concepts}
    return json.dumps({"id": message.id, "concepts": concepts, "metadata": dict(message.data.metadata.items())})


class Chroma:
    """A Chroma server of its own, over HTTP."""

    name = "chroma"

    def __init__(self, folder: Path, closing: contextlib.ExitStack) -> None:
        chromadb: Any = import_module("chromadb")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        program = str(Path(sys.executable).with_name("chroma"))
        command = [program, "run", "--path", str(folder), "--host", "127.0.0.1", "--port", str(self._port)]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        closing.callback(server.wait)
        closing.callback(server.terminate)
        self.name = f"chroma {chromadb.__version__}"
        self._client: Any = _patiently(lambda: chromadb.HttpClient("127.0.0.1", self._port))
        settings = {"hnsw:space": "l2", "hnsw:M": 16, "hnsw:construction_ef": 200, "hnsw:search_ef": 64}
        self._collection = self._client.create_collection("load", metadata=settings)

    def add(self, first: int, vectors: load.Matrix) -> None:
        numbers = range(first, first + len(vectors))
        self._collection.add([str(n) for n in numbers], embeddings=vectors, documents=[payload(n) for n in numbers])

    def finish(self) -> None:
        """Nothing: it indexes as it goes."""

    def tune(self, width: int) -> None:
        """A live collection keeps the width it was made with."""

    def session(self) -> Session:
        chromadb: Any = import_module("chromadb")
        return _ChromaSession(chromadb.HttpClient("127.0.0.1", self._port).get_collection("load"))


class _ChromaSession:
    def __init__(self, collection: Any) -> None:
        self._collection = collection

    def search(self, query: load.Matrix) -> list[int]:
        found = self._collection.query(
            query_embeddings=[query], n_results=load.HITS, include=["documents", "distances"]
        )
        return [int(id_) for id_ in found["ids"][0]]


class Lance:
    """LanceDB, embedded; its HNSW index is built after the load."""

    name = "lancedb"

    def __init__(self, folder: Path, _: contextlib.ExitStack) -> None:
        lancedb: Any = import_module("lancedb")
        self.name = f"lancedb {lancedb.__version__}"
        self._database = lancedb.connect(folder)
        self._table: Any = None
        self._width = 64

    def add(self, first: int, vectors: load.Matrix) -> None:
        rows = [{"id": first + i, "vector": vector, "payload": payload(first + i)} for i, vector in enumerate(vectors)]
        if self._table is None:
            self._table = self._database.create_table("load", rows)
        else:
            self._table.add(rows)

    def finish(self) -> None:
        self._table.optimize()
        self._table.create_index(metric="l2", index_type="IVF_HNSW_SQ", num_partitions=1, m=16, ef_construction=200)

    def tune(self, width: int) -> None:
        self._width = width

    def session(self) -> Session:
        return _LanceSession(self._table, self._width)


class _LanceSession:
    def __init__(self, table: Any, width: int) -> None:
        self._table, self._width = table, width

    def search(self, query: load.Matrix) -> list[int]:
        asked = self._table.search(query).limit(load.HITS).ef(self._width).refine_factor(3)
        return [int(row["id"]) for row in asked.select(["id", "payload", "_distance"]).to_list()]


class Pgvector:
    """PostgreSQL with pgvector; the HNSW index is there from the start, so that a row is searchable once it is in."""

    name = "pgvector"

    def __init__(self, dsn: str, dim: int) -> None:
        self._dsn = dsn
        self._width = 64
        self._connection = self._connect()
        self._connection.execute("DROP TABLE IF EXISTS postil_bench")
        self._connection.execute(f"CREATE TABLE postil_bench (id int PRIMARY KEY, payload jsonb, v vector({dim}))")
        self._connection.execute(
            "CREATE INDEX ON postil_bench USING hnsw (v vector_l2_ops) WITH (m = 16, ef_construction = 200)"
        )
        found = self._connection.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'").fetchone()
        self.name = f"pgvector {found[0]}"

    def _connect(self) -> Any:
        connection: Any = import_module("psycopg").connect(self._dsn, autocommit=True)
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        import_module("pgvector.psycopg").register_vector(connection)
        connection.execute(f"SET hnsw.ef_search = {self._width}")
        return connection

    def add(self, first: int, vectors: load.Matrix) -> None:
        rows = [(first + i, payload(first + i), vector) for i, vector in enumerate(vectors)]
        with self._connection.transaction(), self._connection.cursor() as cursor:
            cursor.executemany("INSERT INTO postil_bench VALUES (%s, %s, %s)", rows)

    def finish(self) -> None:
        self._connection.execute("ANALYZE postil_bench")

    def tune(self, width: int) -> None:
        self._width = width

    def session(self) -> Session:
        return _PgSession(self._connect())


class _PgSession:
    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def search(self, query: load.Matrix) -> list[int]:
        asked = "SELECT id, payload FROM postil_bench ORDER BY v <-> %s LIMIT %s"
        return [row[0] for row in self._connection.execute(asked, (query, load.HITS)).fetchall()]


def _patiently(connect: Callable[[], Any], seconds: float = 60.0) -> Any:
    """What `connect` gives once it stops failing."""
    deadline = time.perf_counter() + seconds
    while True:
        try:
            return connect()
        except Exception:
            if time.perf_counter() > deadline:
                raise
            time.sleep(0.3)


def measure(peer: Peer, data: load.Load, exact: np.ndarray[Any, Any]) -> dict[str, Any]:
    """One peer's line: the widest search that is needed for the recall, if any is enough."""
    began = time.perf_counter()
    for start in range(0, len(data.vectors), load.BATCH):
        peer.add(start, data.vectors[start : start + load.BATCH])
    loaded = time.perf_counter() - began
    peer.finish()
    finished = time.perf_counter() - began
    recall = 0.0
    for width in (64, 96, 128, 256):
        peer.tune(width)
        session = peer.session()
        found = [session.search(query) for query in data.queries]
        recall = load.recall(np.array(found, dtype=np.int64), exact)
        if recall >= RECALL:
            break
    one, eight = _searches(peer, data.queries, 1), _searches(peer, data.queries, 8)
    return {
        "name": peer.name,
        "recall": recall,
        "load_per_s": len(data.vectors) / loaded,
        "load_finished_per_s": len(data.vectors) / finished,
        "c1_per_s": one.per_second,
        "c1_p50_ms": one.percentile_ms(50),
        "c8_per_s": eight.per_second,
    }


def _searches(peer: Peer, queries: load.Matrix, threads: int) -> Run:
    calls = Calls()
    deadline = time.perf_counter() + _SECONDS

    def work(number: int) -> None:
        session = peer.session()
        at = number * 37
        while time.perf_counter() < deadline:
            calls.timed(session.search, queries[at % len(queries)])
            at += 1

    in_threads(work, threads)
    return calls.run()


def installed(folder: Path, dsn: str, dim: int, closing: contextlib.ExitStack) -> Iterator[Peer]:
    """Those that can be measured here; says which cannot, and why."""
    makers: dict[str, Callable[[], Peer]] = {
        "chromadb": lambda: Chroma(folder / "chroma", closing),
        "lancedb": lambda: Lance(folder / "lance", closing),
    }
    if dsn:
        makers["psycopg and pgvector"] = lambda: Pgvector(dsn, dim)
    for name, make in makers.items():
        try:
            yield make()
        except ModuleNotFoundError as error:
            print(f"{name}: not measured, {error.name} is not installed")


def table(lines: list[dict[str, Any]], about: dict[str, Any], vectors: int) -> str:
    """Markdown."""
    rows = [
        f"| {x['name']} | {x['recall']:.3f} | {x['load_per_s']:,.0f}/s | {x['load_finished_per_s']:,.0f}/s "
        f"| {x['c1_per_s']:,.0f}/s | {x['c1_p50_ms']:.2f} ms | {x['c8_per_s']:,.0f}/s |"
        for x in lines
    ]
    head = [
        f"Measured {about['date']} on {about['machine']}; {vectors:,} vectors, batches of {load.BATCH} by one client.",
        "",
        "| system | recall@10 | loaded | with what follows the load | 1 client | p50 | 8 clients |",
        "|---|---|---|---|---|---|---|",
    ]
    return "\n".join([*head, *rows]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench-peers", description=__doc__)
    parser.add_argument("--vectors", type=int, default=100_000, help="fewer than 100,000 are not written to docs/")
    parser.add_argument("--pg", default="", help="connection string of a PostgreSQL with pgvector")
    args = parser.parse_args()
    data = load.make(args.vectors, 512, 500)
    exact = load.truth(data.vectors, data.queries)
    lines = []
    with tempfile.TemporaryDirectory(prefix="postil-peers-") as folder, contextlib.ExitStack() as closing:
        for peer in installed(Path(folder), args.pg, 512, closing):
            print(f"{peer.name} …", flush=True)
            lines.append(measure(peer, data, exact))
    if not lines:
        print("no peer is installed: pip install chromadb lancedb")
        return
    about = report.facts()
    report.keep("peers", {**about, "vectors": args.vectors, "peers": lines})
    text = table(lines, about, args.vectors)
    print(text)
    if args.vectors >= 100_000:
        report.write_peers(text)


if __name__ == "__main__":
    main()
