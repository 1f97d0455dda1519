"""The floor: the least that a Python gRPC server with a vector search behind it can do. Runs in a process of its own.

A bare grpcio server of the product's kind (threads, bytes in, bytes out) that parses the same request, reads the query
vector the same way, asks one hnswlib graph, and answers with a stored response of the same size.

    python -m benchmarks.floor --index graph.bin --dim 512 --ef 64 --response response.bin
"""

from __future__ import annotations

import argparse
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import hnswlib
import numpy as np

from postil.v1.search_service_pb2 import PostAnnotationsSearchesRequest

THREADS = 8  # as the product's readers (doors/rpc/server.py)
METHOD = "/postil.v1.Searches/PostAnnotationsSearches"
READY = "floor ready"


class _Handlers(grpc.GenericRpcHandler):
    def __init__(self, behaviour: Callable[[bytes, Any], bytes]) -> None:
        self._table: dict[str, Any] = {METHOD: grpc.unary_unary_rpc_method_handler(behaviour)}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        return self._table.get(handler_call_details.method)


def behaviour(graph: Any, hits: int, response: bytes) -> Callable[[bytes, Any], bytes]:
    """Parse, query, answer."""

    def answer(request: bytes, _: Any) -> bytes:
        message = PostAnnotationsSearchesRequest.FromString(request)
        embedding = message.searches[0].query.ranks[0].annotation.data.embeddings[0]
        wire = embedding.SerializeToString()
        start = 1
        while wire[start] & 0x80:
            start += 1
        vector = np.frombuffer(wire, dtype="<f4", count=graph.dim, offset=start + 1)
        graph.knn_query(vector, k=hits, num_threads=1)
        return response

    return answer


def load_graph(path: str, dim: int, ef: int) -> Any:
    """A saved graph, set to search with `ef`."""
    graph = hnswlib.Index(space="l2", dim=dim)
    graph.load_index(path)
    graph.set_ef(ef)
    graph.set_num_threads(1)
    return graph


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--index", required=True)
    parser.add_argument("--dim", type=int, required=True)
    parser.add_argument("--ef", type=int, required=True)
    parser.add_argument("--hits", type=int, default=10)
    parser.add_argument("--response", type=Path, required=True)
    args = parser.parse_args()
    graph = load_graph(args.index, args.dim, args.ef)
    server = grpc.server(
        ThreadPoolExecutor(THREADS), handlers=[_Handlers(behaviour(graph, args.hits, args.response.read_bytes()))]
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    signal.signal(signal.SIGTERM, lambda *_: server.stop(0))
    print(f"{READY} 127.0.0.1:{port}", flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    main()
