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

_WARM_UP = 50
_LIMIT = [("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]


class Run(NamedTuple):
    """What came of one closed loop."""

    times: NDArray[np.float64]  # [calls] seconds each
    seconds: float  # from the first call to the last answer
    found: NDArray[np.int64]  # [queries, hits] vectors found; empty where that is not asked

    @property
    def per_second(self) -> float:
        return len(self.times) / self.seconds

    def percentile_ms(self, percent: float) -> float:
        return float(np.percentile(self.times, percent) * 1e3)


def apart(work: Callable[..., Any], *args: Any) -> Any:
    """Runs `work(*args)` in a new process and gives what it returns."""
    handle = Apart(work, *args)
    return handle.result()


class Apart:
    """Work going on in a new process."""

    def __init__(self, work: Callable[..., Any], *args: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._end, other = context.Pipe(duplex=False)
        self._process = context.Process(target=_report, args=(other, work, args))
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
    times = np.empty(len(queries))
    with channel(address) as one:
        call = SearchesStub(one).PostAnnotationsSearches
        for request in requests[:_WARM_UP]:
            expect(call(request))
        started = time.perf_counter()
        for i, request in enumerate(requests):
            begun = time.perf_counter()
            response = call(request)
            times[i] = time.perf_counter() - begun
            numbers = [load.number_of(hit.input.id) for hit in expect(response).hits]
            found[i, : len(numbers)] = numbers
        return Run(times, time.perf_counter() - started, found)


def search_for(address: str, queries: load.Matrix, seconds: float, threads: int) -> Run:
    """So many threads ask, each over its own channel, until the time is over."""
    requests = [load.search(query) for query in queries]

    def loop(number: int, until: Callable[[], bool]) -> list[float]:
        times = []
        with channel(address) as one:
            call = SearchesStub(one).PostAnnotationsSearches
            expect(call(requests[0]))
            at = number * 37
            while not until():
                begun = time.perf_counter()
                response = call(requests[at % len(requests)])
                times.append(time.perf_counter() - begun)
                expect(response)
                at += 1
        return times

    return _timed(loop, seconds, threads)


def _timed(loop: Callable[[int, Callable[[], bool]], list[float]], seconds: float, threads: int) -> Run:
    """Runs the loop in threads for a time."""
    results: list[list[float]] = [[] for _ in range(threads)]
    deadline = time.perf_counter() + seconds
    started = time.perf_counter()

    def work(number: int) -> None:
        results[number] = loop(number, lambda: time.perf_counter() >= deadline)

    _in_threads(work, threads)
    return _run([t for times in results for t in times], time.perf_counter() - started)


def _in_threads(work: Callable[[int], None], threads: int) -> None:
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


def _run(times: list[float], seconds: float) -> Run:
    return Run(np.array(times), seconds, np.empty((0, load.HITS), dtype=np.int64))


def post_inputs(address: str, path: str, prefix: str, first: int, last: int, threads: int) -> Run:
    """Loads vectors `first` to `last` of a .npy file in batches; the messages are made before the clock starts."""
    vectors = np.load(path, mmap_mode="r")[first:last]
    requests = list(load.batches(vectors, prefix))
    return _share(requests, lambda one: InputsStub(one).PostInputs, address, threads)


def _share(
    requests: list[Any], stub: Callable[[grpc.Channel], Callable[[Any], Any]], address: str, threads: int
) -> Run:
    """Threads take the next request until none is left."""
    times: list[float] = []
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
                begun = time.perf_counter()
                expect(call(request))
                times.append(time.perf_counter() - begun)

    started = time.perf_counter()
    _in_threads(work, threads)
    return _run(times, time.perf_counter() - started)


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
