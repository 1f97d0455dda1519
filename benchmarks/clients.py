"""Clients in processes of their own: ordinary stubs, one channel per thread, closed loop. Times are in seconds."""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import grpc
import numpy as np
from numpy.typing import NDArray

from benchmarks import load
from postil.v1.annotation_service_pb2_grpc import AnnotationsStub
from postil.v1.input_pb2 import Input
from postil.v1.input_service_pb2 import PostInputsRequest
from postil.v1.input_service_pb2_grpc import InputsStub
from postil.v1.search_service_pb2_grpc import SearchesStub
from postil.v1.status_code_pb2 import StatusCode

SEARCH_METHOD = "/postil.v1.Searches/PostAnnotationsSearches"
_WARM_UP = 50
_LIMIT = [("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]


class Run(NamedTuple):
    """What came of one closed loop."""

    times: NDArray[np.float64]  # [calls] seconds each
    starts: NDArray[np.float64]  # [calls] when each began, by the clock that all processes share
    seconds: float  # from the first call to the last answer
    found: NDArray[np.int64]  # [queries, hits] vectors found; empty where that is not asked

    @property
    def per_second(self) -> float:
        return len(self.times) / self.seconds

    def percentile_ms(self, percent: float) -> float:
        return float(np.percentile(self.times, percent) * 1e3)

    def within(self, began: float, ended: float) -> Run:
        """Only the calls that began and ended between two moments."""
        inside = (self.starts >= began) & (self.starts + self.times <= ended)
        return Run(self.times[inside], self.starts[inside], ended - began, self.found[:0])


def apart(work: Callable[..., Any], *args: Any) -> Any:
    """Runs `work(*args)` in a new process and gives what it returns."""
    handle = Apart(work, *args)
    return handle.result()


SPAWN = multiprocessing.get_context("spawn")


class Apart:
    """Work going on in a new process."""

    def __init__(self, work: Callable[..., Any], *args: Any) -> None:
        self._end, other = SPAWN.Pipe(duplex=False)
        self._process = SPAWN.Process(target=_report, args=(other, work, args), daemon=True)
        self._process.start()
        other.close()

    def result(self) -> Any:
        """Waits for it."""
        try:
            value = self._end.recv()
        except EOFError:
            raise RuntimeError("a client process died; see its traceback above") from None
        self._process.join()
        return value


def _report(end: Any, work: Callable[..., Any], args: tuple[Any, ...]) -> None:
    end.send(work(*args))
    end.close()


def channel(address: str) -> grpc.Channel:
    return grpc.insecure_channel(address, options=_LIMIT)


def expect(response: Any) -> Any:
    """The response, which must say that all went well."""
    if response.status.code != StatusCode.SUCCESS:
        raise RuntimeError(f"{response.status.code}: {response.status.description}: {response.status.details}")
    return response


def search_once_each(address: str, queries: load.Matrix) -> Run:
    """One client asks each query once, after a few to warm up."""
    requests = [load.search(query) for query in queries]
    found = np.full((len(queries), load.HITS), -1, dtype=np.int64)
    calls = Calls()
    with channel(address) as one:
        call = SearchesStub(one).PostAnnotationsSearches
        for request in requests[:_WARM_UP]:
            expect(call(request))
        for i, request in enumerate(requests):
            response = calls.timed(call, request)
            numbers = [load.number_of(hit.input.id) for hit in expect(response).hits]
            found[i, : len(numbers)] = numbers
    return calls.run(found)


def one_response(address: str, query: load.Matrix) -> bytes:
    """The bytes of an answer, as they came."""
    with channel(address) as one:
        raw: Any = one.unary_unary(SEARCH_METHOD)
        return bytes(raw(load.search(query).SerializeToString()))


def search_for(address: str, queries: load.Matrix, seconds: float, threads: int) -> Run:
    """So many threads ask, each over its own channel, until the time is over."""
    deadline = time.perf_counter() + seconds
    return _search_while(address, queries, threads, lambda: time.perf_counter() < deadline)


def search_until(address: str, queries: load.Matrix, halt: Any) -> Run:
    """One client asks until the event `halt` is set."""
    return _search_while(address, queries, 1, lambda: not halt.is_set())


def _search_while(address: str, queries: load.Matrix, threads: int, going: Callable[[], bool]) -> Run:
    requests = [load.search(query) for query in queries]
    calls = Calls()

    def work(number: int) -> None:
        with channel(address) as one:
            call = SearchesStub(one).PostAnnotationsSearches
            expect(call(requests[0]))
            at = number * 37
            while going():
                expect(calls.timed(call, requests[at % len(requests)]))
                at += 1

    in_threads(work, threads)
    return calls.run()


def search_for_own_writes(address: str, vectors: load.Matrix, first: int) -> int:
    """One client posts a vector; when that is acknowledged, another searches for it. How many were not found."""
    missed = 0
    with channel(address) as writer, channel(address) as reader:
        post, search = InputsStub(writer).PostInputs, SearchesStub(reader).PostAnnotationsSearches
        for number, vector in enumerate(vectors, first):
            expect(post(PostInputsRequest(inputs=[load.item(number, vector)])))
            hits = expect(search(load.search(vector))).hits
            missed += load.input_id(number) not in {hit.input.id for hit in hits}
    return missed


class Calls:
    """Collects times; threads may share it."""

    def __init__(self) -> None:
        self._pairs: list[tuple[float, float]] = []

    def timed(self, call: Callable[[Any], Any], request: Any) -> Any:
        """Makes the call and notes how long it took."""
        began = time.perf_counter()
        response = call(request)
        self._pairs.append((began, time.perf_counter() - began))
        return response

    def run(self, found: NDArray[np.int64] | None = None) -> Run:
        """What was collected."""
        starts, times = np.array(self._pairs).reshape(-1, 2).T
        seconds = float((starts + times).max() - starts.min()) if len(starts) else 0.0
        return Run(times, starts, seconds, np.empty((0, load.HITS), np.int64) if found is None else found)


def in_threads(work: Callable[[int], None], threads: int) -> None:
    """Runs `work(number)` in so many threads; raises what the first that failed raised."""
    failures: list[BaseException] = []

    def guarded(number: int) -> None:
        try:
            work(number)
        except BaseException as error:  # noqa: BLE001 - told to the thread that waits
            failures.append(error)

    started = [threading.Thread(target=guarded, args=(number,)) for number in range(threads)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()
    if failures:
        raise failures[0]


def post_inputs(address: str, path: str, first: int, last: int, threads: int) -> Run:
    """Loads vectors `first` to `last` of a .npy file in batches; the messages are made before the clock starts."""
    vectors = np.load(path, mmap_mode="r")[first:last]
    requests = list(load.batches(vectors, first))
    return _share(requests, lambda one: InputsStub(one).PostInputs, address, threads)


def _share(
    requests: list[Any], stub: Callable[[grpc.Channel], Callable[[Any], Any]], address: str, threads: int
) -> Run:
    """Threads take the next request until none is left."""
    calls = Calls()
    left = iter(requests)
    lock = threading.Lock()

    def work(_: int) -> None:
        with channel(address) as one:
            call = stub(one)
            while True:
                with lock:
                    request = next(left, None)
                if request is None:
                    return
                expect(calls.timed(call, request))

    in_threads(work, threads)
    return calls.run()


def post_annotations(address: str, first: int, calls: int, size: int, inputs: int, threads: int) -> Run:
    """So many calls of `size` annotations each."""
    requests = [load.labels(first + i * size, size, inputs) for i in range(calls)]
    return _share(requests, lambda one: AnnotationsStub(one).PostAnnotations, address, threads)


def post_pictures(address: str, pictures: list[bytes], size: int, threads: int, prefix: str) -> Run:
    """Pictures as bytes, `size` a call."""
    requests = []
    for start in range(0, len(pictures), size):
        request = PostInputsRequest()
        for i, content in enumerate(pictures[start : start + size]):
            message = Input(id=f"{prefix}{start + i}")
            message.data.image.base64 = content
            request.inputs.append(message)
        requests.append(request)
    return _share(requests, lambda one: InputsStub(one).PostInputs, address, threads)
