"""Calls whose callers leave: what is left of the work is dropped, and nothing is half kept."""

from __future__ import annotations

import io
import re
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any, cast

import grpc
import numpy as np
import pytest
from PIL import Image

from postil.core.call import Call, Gone
from postil.core.crops import Crops, Wanted
from postil.core.opening import Opening
from postil.core.predict_inputs import THREADS, PredictInputs
from postil.media.pictures import PictureReader
from postil.store.base import InputRecord
from postil.v1.common_pb2 import UserAppIDSet
from postil.v1.data_pb2 import RegionInfo
from postil.v1.input_pb2 import Input
from postil.v1.input_service_pb2 import GetInputCountRequest, PostInputsRequest
from postil.v1.model_service_pb2 import PostModelOutputsRequest
from postil.v1.search_service_pb2 import PostInputsSearchesRequest
from postil.v1.status_code_pb2 import StatusCode
from support.doors import METHODS
from support.server import Server
from support.waiting import until
from support.web import WebServer

PATIENCE_S = 100
MANY = 64
MODEL = "general-image-recognition"


def picture(seed: int, side: int = 500) -> bytes:
    out = io.BytesIO()
    noise = np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)
    Image.fromarray(noise).save(out, "PNG", compress_level=1)
    return out.getvalue()


@pytest.fixture
def web() -> Iterator[WebServer]:
    made = WebServer()
    yield made
    made.close()


@pytest.fixture
def own(start_server: Callable[..., Server]) -> Server:
    """With one decoder, so that pictures take their time."""
    return start_server("--decoders", "1")


def begin(server: Server, rpc: str, request: Any, timeout: float = PATIENCE_S) -> Any:
    method = METHODS[rpc]
    invoke: Any = server.channel.unary_unary(
        method.path,
        request_serializer=method.request.SerializeToString,
        response_deserializer=method.response.FromString,
    )
    return invoke.future(request, timeout=timeout, metadata=(("authorization", "Key any"),))


def running(server: Server) -> float:
    with urllib.request.urlopen(f"{server.http}/metrics", timeout=PATIENCE_S) as answer:
        found = re.search(r"^postil_calls_running (\S+)$", answer.read().decode(), re.MULTILINE)
    assert found
    return float(found[1])


def count(server: Server, app: UserAppIDSet) -> int:
    counts = server.call("postil.v1", "GetInputCount", GetInputCountRequest(user_app_id=app)).counts
    return int(counts.processed + counts.to_process + counts.processing)


def blobs(server: Server) -> int:
    return sum(path.is_file() for path in (server.data_dir / "blobs").rglob("*"))


def test_a_prediction_about_urls_that_hang_ends_with_its_caller(server: Server, web: WebServer) -> None:
    request = PostModelOutputsRequest(user_app_id=UserAppIDSet(app_id="leaving"), model_id=MODEL)
    for number in range(MANY):
        request.inputs.add().data.image.url = web.hang(f"hanging-{number}")
    asked = begin(server, "PostModelOutputs", request)
    until(lambda: len(web.requests) >= THREADS, PATIENCE_S)
    asked.cancel()
    until(lambda: running(server) == 0, PATIENCE_S)
    assert len(web.requests) <= 2 * THREADS


def test_a_search_for_a_url_that_hangs_ends_with_its_deadline(server: Server, web: WebServer) -> None:
    request = PostInputsSearchesRequest(user_app_id=UserAppIDSet(app_id="leaving"))
    request.searches.add().query.ranks.add().annotation.data.image.url = web.hang("hanging")
    began = time.monotonic()
    with pytest.raises(grpc.RpcError) as caught:
        begin(server, "PostInputsSearches", request, timeout=1.5).result()
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    until(lambda: running(server) == 0, PATIENCE_S)
    assert time.monotonic() - began < 15  # seconds; by itself a fetch would have twenty


def test_pictures_of_a_caller_who_left_are_not_taken_in(own: Server) -> None:
    app = UserAppIDSet(app_id="leaving")
    request = PostInputsRequest(user_app_id=app)
    for number in range(MANY):
        request.inputs.add().data.image.base64 = picture(number)
    posted = begin(own, "PostInputs", request)
    until(lambda: blobs(own) > 0, PATIENCE_S)
    posted.cancel()
    until(lambda: running(own) == 0, PATIENCE_S)
    assert blobs(own) < MANY
    assert count(own, app) == 0
    few = PostInputsRequest(user_app_id=app, inputs=request.inputs[:2])
    assert begin(own, "PostInputs", few).result().status.code == StatusCode.SUCCESS
    assert count(own, app) == 2


@pytest.mark.parametrize("seconds", [0.2, 0.6, 1.0])
def test_a_post_whose_deadline_passes_is_kept_whole_or_not_at_all(server: Server, seconds: float) -> None:
    app = UserAppIDSet(app_id=f"late-{seconds * 10:.0f}")
    request = PostInputsRequest(user_app_id=app)
    for number in range(12):
        request.inputs.add().data.image.base64 = picture(number)
    code = begin(server, "PostInputs", request, timeout=seconds).code()
    kept = {12} if code is grpc.StatusCode.OK else {0, 12}
    until(lambda: running(server) == 0, PATIENCE_S)
    assert count(server, app) in kept


class Slow:
    """A model whose answers never come."""

    takes, concepts, weights = "picture", True, "none"

    def __init__(self) -> None:
        self.asked: list[Future[Any]] = []

    def run(self, _content: Any) -> Future[Any]:
        self.asked.append(Future())
        return self.asked[-1]


class Nowhere:
    """Embedders and an index of queues with nothing in them."""

    def by_version(self, _version: str) -> None:
        return None


class Leaving:
    """A caller who leaves after so many looks."""

    def __init__(self, looks: int) -> None:
        self.left = looks

    def __call__(self) -> bool:
        self.left -= 1
        return self.left > 0


def test_a_prediction_about_pictures_ends_with_its_caller() -> None:
    """Between pictures, and what the models were asked already is taken back."""
    model, data = Slow(), picture(1, side=40)
    inputs = PredictInputs(cast(Any, None), cast(Any, Nowhere()), cast(Any, None), Opening(PictureReader()))
    items = [Input() for _ in range(MANY)]
    for item in items:
        item.data.image.base64 = data
    try:
        with pytest.raises(Gone):
            inputs.ask(Call("r", "me", None, active=Leaving(21)), items, [cast(Any, model)])
    finally:
        inputs.close()
    assert 0 < len(model.asked) <= 10 + THREADS
    assert sum(future.cancelled() for future in model.asked) >= len(model.asked) - THREADS


def test_regions_of_a_caller_who_left_are_not_looked_at() -> None:
    class Texts:
        def __init__(self) -> None:
            self.spec = cast(Any, type("Spec", (), {"kind": "text", "version_id": "v", "model_id": "m"}))
            self.asked: list[Future[Any]] = []

        def default(self, _kind: str) -> Any:
            return self

        def submit(self, _contents: Any) -> Future[Any]:
            self.asked.append(Future())
            return self.asked[-1]

    texts, wanted = Texts(), []
    for number in range(MANY):
        message = Input(id=str(number))
        message.data.text.raw = "the quick brown fox"
        span = RegionInfo()
        span.span.char_end = 9
        wanted.append(Wanted(InputRecord(number, "i", 0, number, message.SerializeToString(), 0, 0), span))
    crops = Crops(cast(Any, None), cast(Any, texts), cast(Any, None))
    with pytest.raises(Gone):
        crops.embed(Call("r", "me", None, active=Leaving(11)), wanted)
    assert len(texts.asked) == 10
    assert all(future.cancelled() for future in texts.asked)


def test_waiting_for_a_future_gives_its_own_errors() -> None:
    call, late = Call("r", "me", None), Future[int]()
    late.set_exception(TimeoutError("mine"))
    with pytest.raises(TimeoutError, match="mine"):
        call.wait(late)
    with pytest.raises(TimeoutError):
        call.wait(Future[int](), seconds=0.01)
    done = Future[int]()
    done.set_result(4)
    assert call.wait(done) == 4
