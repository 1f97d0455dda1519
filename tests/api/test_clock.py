"""The clock is set forward and back by an hour under a running server: lists keep their order and lose nothing, keys
end by the clock as it is. (That media do not become old all at once: tests/store/test_chores.py.)"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from postil.v1.common_pb2 import UserAppIDSet
from postil.v1.data_pb2 import Data, Embedding
from postil.v1.input_pb2 import Input
from postil.v1.input_service_pb2 import ListInputsRequest, PostInputsRequest, StreamInputsRequest
from support.clocks import SetServer
from support.keys import created, posted, shows
from support.server import OWN

HOUR = 3600.0
_PLACE = UserAppIDSet(user_id="postil", app_id="main")
_PAGE = 7


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SetServer]:
    running = SetServer(tmp_path)
    yield running
    running.stop()


def post(server: SetServer, name: str) -> None:
    item = Input(id=name, data=Data(embeddings=[Embedding(vector=[1, len(name)])]))
    answer = server.call(OWN, "PostInputs", PostInputsRequest(user_app_id=_PLACE, inputs=[item]))
    assert answer.status.code == 10000, answer.status


def listed(server: SetServer) -> list[Input]:
    """All pages of ListInputs, newest first."""
    found: list[Input] = []
    for page in range(1, 1000):
        request = ListInputsRequest(user_app_id=_PLACE, page=page, per_page=_PAGE)
        inputs = server.call(OWN, "ListInputs", request).inputs
        found += inputs
        if len(inputs) < _PAGE:
            break
    return found


def streamed(server: SetServer) -> list[str]:
    """All of StreamInputs, which goes on from an id."""
    found: list[str] = []
    while True:
        request = StreamInputsRequest(user_app_id=_PLACE, per_page=_PAGE, last_id=found[-1] if found else "")
        inputs = server.call(OWN, "StreamInputs", request).inputs
        found += [one.id for one in inputs]
        if len(inputs) < _PAGE:
            return found


def test_lists_stay_in_order(server: SetServer) -> None:
    names: list[str] = []
    enough = threading.Event()

    def write() -> None:
        while not enough.is_set():
            post(server, f"i{len(names):04}")
            names.append(f"i{len(names):04}")
            enough.wait(0.02)

    writer = threading.Thread(target=write)
    writer.start()
    for hours in (0, 1, -1, 0):
        server.set(hours * HOUR)
        before = list(names)
        while len(names) < len(before) + 12:
            assert writer.is_alive()
            time.sleep(0.01)
        known = set(before)
        # What is added meanwhile moves what is older to later pages: it may be met again there, and is not lost.
        newest = list(dict.fromkeys(one.id for one in listed(server) if one.id in known))
        assert newest == before[::-1]
        # From one input to the next nothing moves.
        assert [name for name in streamed(server) if name in known] == before
    enough.set()
    writer.join()
    inputs = listed(server)[::-1]
    assert [one.id for one in inputs] == names
    stamps = [one.created_at.ToNanoseconds() for one in inputs]
    assert stamps == sorted(set(stamps))
    server.set(-HOUR)
    server.restart()
    post(server, "last")
    newest_input = listed(server)[0]
    assert newest_input.id == "last"
    assert newest_input.created_at.ToNanoseconds() > stamps[-1]


def test_keys_end_by_the_clock_as_it_is(server: SetServer) -> None:
    token = created(server.data_dir)
    key = posted(server, token, "main", expires_at={"seconds": int(time.time()) + 1800})

    def code(shown: str) -> int:
        request = ListInputsRequest(user_app_id=_PLACE)
        found: int = server.call(OWN, "ListInputs", request, metadata=shows(shown)).status.code
        return found

    assert code(key.token) == 10000
    server.set(HOUR)
    assert code(key.token) == 11008
    assert code(token) == 10000
    server.set(-HOUR)
    assert code(key.token) == 10000
    second = key.expires_at.seconds - time.time()
    server.set(second - 60)
    assert code(key.token) == 10000
    server.set(second)
    assert code(key.token) == 11008
