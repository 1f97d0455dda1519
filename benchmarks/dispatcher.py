"""What the dispatcher adds to a call: microseconds of Python around a servicer that does nothing.

`python -m benchmarks.dispatcher`; 40 µs is the most it may cost (doors/rpc/dispatcher.py).
"""

from __future__ import annotations

import time

from postil.access import Access, Open
from postil.core.call import Call
from postil.doors.rpc import methods
from postil.doors.rpc.dispatcher import Dispatcher
from postil.doors.rpc.limits import Limits
from postil.metrics import Metrics
from postil.store.base import AppRecord
from postil.v1.common_pb2 import Pagination, UserAppIDSet
from postil.v1.data_pb2 import Data, Embedding
from postil.v1.search_pb2 import Query, Rank
from postil.v1.search_service_pb2 import MultiSearchResponse, PostAnnotationsSearchesRequest

METADATA = (("user-agent", "grpc-python/1.85.1 grpc-c/51.0.0 (linux; chttp2)"), ("authorization", "Key 0123456789"))
_CALLS = 20_000
_ROUNDS = 5


class OneApp:
    """An app that always exists."""

    def resolve(self, user_id: str, app_id: str, create: bool) -> AppRecord | None:
        """Every name leads to row 1."""
        return AppRecord(1, user_id, app_id, b"") if create else None


def search_request(numbers: int) -> bytes:
    """A search by a raw vector."""
    from postil.v1.annotation_pb2 import Annotation
    from postil.v1.search_pb2 import Search

    data = Data(embeddings=[Embedding(vector=[0.5] * numbers, num_dimensions=numbers)])
    query = Query(ranks=[Rank(annotation=Annotation(data=data))])
    return PostAnnotationsSearchesRequest(
        user_app_id=UserAppIDSet(user_id="me", app_id="birds"),
        searches=[Search(query=query)],
        pagination=Pagination(page=1, per_page=10),
    ).SerializeToString()


def dispatcher(answer: object) -> Dispatcher:
    """A dispatcher whose searches give `answer` at once."""

    def search(_call: Call, _request: PostAnnotationsSearchesRequest) -> object:
        return answer() if callable(answer) else answer

    table = methods.table()
    access = Access(OneApp(), Open())
    handlers = {"PostAnnotationsSearches": search}
    return Dispatcher(table, handlers, access, Limits(64, 1 << 30), Metrics())  # type: ignore[arg-type]


def _best(call: object, *arguments: object) -> float:
    """Microseconds a call, the best of some rounds."""
    rounds = []
    for _ in range(_ROUNDS):
        began = time.perf_counter()
        for _ in range(_CALLS):
            call(*arguments)  # type: ignore[operator]
        rounds.append((time.perf_counter() - began) / _CALLS * 1e6)
    return min(rounds)


def main() -> None:
    """Prints one line per kind of answer."""
    parse = PostAnnotationsSearchesRequest.FromString
    for numbers in (0, 512):
        request = search_request(numbers)
        parsing = _best(parse, request)
        for kind, answer in (("bytes", b"x" * 4096), ("message", MultiSearchResponse)):
            door = dispatcher(answer)
            whole = _best(door.call, "PostAnnotationsSearches", request, METADATA, time.monotonic() + 3600)
            print(f"{numbers:4} numbers, {kind:7}: {whole:6.1f} µs, of which parsing {parsing:5.1f} µs")


if __name__ == "__main__":
    main()
