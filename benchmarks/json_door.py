"""The JSON door beside its floor: searches of ten hits over HTTP, against a bare Starlette handler that returns the
same bytes from the same HTTP server, and against the same searches over gRPC.

    python -m benchmarks.json_door [--inputs 2000] [--seconds 4]

Raw sockets with keep-alive, so that the client costs little. Prints requests a second at one and at eight connections,
CPU of the server per request, and medians in milliseconds, all measured by turns in short slices. Vectors and labels
are the client's own, so that nothing is embedded. "Alone" is the door with a dispatcher that has the answer at hand:
what the door itself costs. A "page" is what `curl` asks for: no pagination, and a new connection for each request.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from postil.doors.http.json_in import Reader
from postil.doors.rpc.dispatcher import Hold
from postil.v1.input_service_pb2 import PostInputsRequest
from postil.v1.search_service_pb2 import PostAnnotationsSearchesRequest
from support.processor import processor_s
from support.server import OWN, Server

DIM = 64
HITS = 10
SLICES = 8
PATH = "/v2/annotations/searches"


class Figures(NamedTuple):
    """One run."""

    rate: float  # requests a second
    median_ms: float
    cpu_us: float  # of the server, per request


def post_inputs(server: Server, count: int) -> None:
    """Inputs with a vector, two labels and a little metadata each."""
    rng = np.random.default_rng(7)
    vectors = rng.standard_normal((count, DIM)).astype(np.float32)
    for start in range(0, count, 128):
        inputs = [
            {
                "id": f"input-{place}",
                "data": {
                    "embeddings": [{"vector": vectors[place].tolist(), "num_dimensions": DIM}],
                    "concepts": [{"id": f"label-{place % 17}"}, {"id": f"label-{place % 5 + 20}", "value": 0}],
                    "metadata": {"place": place, "shelf": {"row": place % 9}},
                },
            }
            for place in range(start, min(start + 128, count))
        ]
        request = PostInputsRequest()
        Reader().read({"inputs": inputs}, request)
        reply = server.call(OWN, "PostInputs", request)
        if reply.status.code != 10000:
            raise SystemExit(reply)


def bodies(count: int, *, paged: bool = True) -> list[bytes]:
    """Searches by vector, for ten hits, or for as many as a first page has."""
    rng = np.random.default_rng(8)
    vectors = rng.standard_normal((count, DIM)).astype(np.float32)
    page = {"pagination": {"per_page": HITS}} if paged else {}
    return [json.dumps(_search(vector.tolist()) | page).encode() for vector in vectors]


def _search(vector: Sequence[float]) -> dict[str, Any]:
    rank = {"annotation": {"data": {"embeddings": [{"vector": vector}]}}}
    return {"searches": [{"query": {"ranks": [rank]}}]}


def request(host: str, body: bytes) -> bytes:
    """One HTTP request."""
    head = f"POST {PATH} HTTP/1.1\r\nhost: {host}\r\nauthorization: Key any\r\ncontent-length: {len(body)}\r\n"
    return f"{head}content-type: application/json\r\n\r\n".encode() + body


def exchange(connection: socket.socket, sent: bytes) -> bytes:
    """Sends a request and gives the body of its reply."""
    connection.sendall(sent)
    held = b""
    while b"\r\n\r\n" not in held:
        held += connection.recv(65536)
    head, _, body = held.partition(b"\r\n\r\n")
    if b" 200 " not in head.split(b"\r\n", 1)[0]:
        raise SystemExit(head + body)
    length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    while len(body) < length:
        body += connection.recv(65536)
    return body


def run(make: Callable[[], Callable[[int], object]], pid: int, seconds: float, clients: int) -> Figures:
    """Calls as fast as they are answered. `make` gives each client its own call, which takes a running number."""
    took: list[list[float]] = [[] for _ in range(clients)]
    started, cpu = time.perf_counter(), processor_s(pid)

    def client(place: int) -> None:
        call, number = make(), place
        while time.perf_counter() - started < seconds:
            begin = time.perf_counter()
            call(number)
            took[place].append(time.perf_counter() - begin)
            number += clients

    threads = [threading.Thread(target=client, args=(place,)) for place in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    elapsed, every = time.perf_counter() - started, list(itertools.chain.from_iterable(took))
    return Figures(len(every) / elapsed, statistics.median(every) * 1e3, (processor_s(pid) - cpu) / len(every) * 1e6)


def http(port: int, sent: Sequence[bytes]) -> Callable[[], Callable[[int], object]]:
    """Clients of an HTTP server."""

    def make() -> Callable[[int], object]:
        connection = socket.create_connection(("127.0.0.1", port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return lambda number: exchange(connection, sent[number % len(sent)])

    return make


def rpc(server: Server, sent: Sequence[bytes]) -> Callable[[], Callable[[int], object]]:
    """Clients of the gRPC door with the same searches."""
    messages = []
    for body in sent:
        messages.append(PostAnnotationsSearchesRequest())
        Reader().read(json.loads(body), messages[-1])
    call = server.stub("Searches").PostAnnotationsSearches
    return lambda: lambda number: call(messages[number % len(messages)])


def bare(content: bytes, port: Any) -> None:
    """The floor: reads the body, returns the same bytes each time."""
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    from postil.config import Address
    from postil.doors.http.server import HttpDoor

    async def answer(asked: Request) -> Response:
        await asked.body()
        return Response(content, media_type="application/json")

    door = HttpDoor(Starlette(routes=[Route(PATH, answer, methods=["POST"])]))
    port.value = door.listen(Address("127.0.0.1", 0))
    threading.Event().wait()


def stored(answer: bytes, port: Any) -> None:
    """The door alone: the product's, with a dispatcher that has the answer at hand."""
    from postil.config import Address
    from postil.doors.http.gateway import Gateway, Limits
    from postil.doors.http.server import HttpDoor
    from postil.doors.rpc import methods

    gateway = Gateway(methods.table(), Limits(32, 1 << 28, 1 << 30))

    def call(_method: str, read: Callable[[Hold], object], _metadata: object, **_options: object) -> bytes:
        read(lambda _size: None)
        return answer

    gateway.open(call)
    port.value = HttpDoor(gateway).listen(Address("127.0.0.1", 0))
    threading.Event().wait()


def beside(target: Callable[[bytes, Any], None], content: bytes) -> tuple[multiprocessing.Process, int]:
    """Starts one of the servers above in a process of its own; the process and its port."""
    shared = multiprocessing.Value("i", 0)
    process = multiprocessing.Process(target=target, args=(content, shared), daemon=True)
    process.start()
    while not shared.value:
        time.sleep(0.05)
    return process, shared.value


def fresh(port: int, sent: Sequence[bytes]) -> Callable[[], Callable[[int], object]]:
    """Clients that connect anew for each request, as `curl` does."""

    def call(number: int) -> bytes:
        with socket.create_connection(("127.0.0.1", port)) as connection:
            return exchange(connection, sent[number % len(sent)])

    return lambda: call


class Contender(NamedTuple):
    """A server and its clients."""

    make: Callable[[], Callable[[int], object]]
    pid: int


def by_turns(contenders: dict[str, Contender], seconds: float, clients: int) -> dict[str, Figures]:
    """Each for a short slice, over and over, so that what else the machine does meets all of them; medians."""
    slices: dict[str, list[Figures]] = {name: [] for name in contenders}
    for _ in range(SLICES):
        for name, (make, pid) in contenders.items():
            slices[name].append(run(make, pid, seconds / SLICES, clients))
    return {name: Figures(*map(statistics.median, zip(*taken, strict=True))) for name, taken in slices.items()}


def measure(folder: Path, inputs: int, seconds: float) -> dict[str, dict[str, Figures]]:
    """Figures at "1" and "8" connections, and of a "page"; `seconds` for each server in each."""
    server = Server(folder)
    post_inputs(server, inputs)
    wanted, port = bodies(500), urlsplit(server.http).port or 0
    sent = [request("127.0.0.1", body) for body in wanted]
    answer = exchange(socket.create_connection(("127.0.0.1", port)), sent[0])
    message = PostAnnotationsSearchesRequest()
    Reader().read(json.loads(wanted[0]), message)
    response = server.call(OWN, "PostAnnotationsSearches", message).SerializeToString()
    (floor, floor_port), (door, door_port) = beside(bare, answer), beside(stored, response)
    whole = bodies(100, paged=False)
    contenders = {
        "bare Starlette": Contender(http(floor_port, sent), floor.pid or 0),
        "JSON door alone": Contender(http(door_port, sent), door.pid or 0),
        "JSON door": Contender(http(port, sent), server.process.pid),
        "gRPC door": Contender(rpc(server, wanted), server.process.pid),
    }
    pages = {
        "curl": Contender(fresh(port, [request("127.0.0.1", body) for body in whole]), server.process.pid),
        "gRPC door": Contender(rpc(server, whole), server.process.pid),
    }
    try:
        figures = {str(clients): by_turns(contenders, seconds, clients) for clients in (1, 8)}
        return figures | {"page": by_turns(pages, seconds, 1)}
    finally:
        floor.terminate()
        door.terminate()
        server.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=4.0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="postil-json-") as folder:
        figures = measure(Path(folder), args.inputs, args.seconds)
    for load, rows in figures.items():
        for name, row in rows.items():
            print(f"{load:4} × {name:15} {row.rate:7.0f}/s  p50 {row.median_ms:6.2f} ms  CPU {row.cpu_us:5.0f} µs")
    for load in ("1", "8"):
        floor = figures[load]["bare Starlette"]
        for name in ("JSON door alone", "JSON door"):
            row = figures[load][name]
            print(f"  {load} × {name} / bare: {row.rate / floor.rate:.2f}, by CPU {floor.cpu_us / row.cpu_us:.2f}")


if __name__ == "__main__":
    main()
