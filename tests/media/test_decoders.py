"""The decoders: what they say of pictures that mean harm, and that the server outlives whatever becomes of them."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from media import corpus
from media.bombs import Bomb, bombs
from postil.errors import Failure
from postil.media import decoder
from postil.media.decoders import Budget, Decoders
from postil.media.pictures import EMBED_SIDE, FORMATS, Picture, PictureLimits, PictureReader
from postil.media.squares import Square, cut
from postil.v1.status_code_pb2 import StatusCode

HONEST = corpus.encode(corpus.noise(64, 48), "PNG")


@pytest.fixture(scope="module")
def shared() -> Iterator[Decoders]:
    """Two decoders with small budgets, for tests that leave them as they were."""
    made = Decoders(2, budget=Budget(memory=1 << 30, cpu_s=10))
    made.start()
    yield made
    made.close()


@pytest.fixture
def own() -> Iterator[Decoders]:
    """One decoder to be mistreated."""
    made = Decoders(1, budget=Budget(memory=256 << 20, cpu_s=2, wall_s=60))
    yield made
    made.close()


def resident(process: int | str = "self") -> int:
    """MiB."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20


def code_of(decoders: Decoders, data: bytes) -> int:
    """0 for a picture that opens."""
    try:
        decoders.open(data, side=512)
    except Failure as failure:
        return int(failure.code) if failure.details else -1
    return 0


def same(one: Picture, other: Picture) -> bool:
    return one[1:] == other[1:] and one.image.size == other.image.size and one.image.tobytes() == other.image.tobytes()


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("side", [None, 16])
def test_pictures_come_out_as_they_would_in_process(shared: Decoders, kind: str, side: int | None) -> None:
    data = corpus.encode(corpus.noise(90, 70), kind)
    assert same(shared.open(data, side=side), PictureReader().open(data, side=side))


@pytest.mark.parametrize("edge", [1170, 1190, 2500])
def test_large_ones_too(shared: Decoders, edge: int) -> None:
    """Around the size from which pixels no longer fit into the shared memory, and from which room is asked for."""
    assert 1170 * 1170 * 3 < decoder.SHARED < 1190 * 1190 * 3
    assert decoder.SMALL < 2500 * 2500
    data = corpus.encode(corpus.noise(edge, edge), "BMP")
    assert same(shared.open(data), PictureReader().open(data))


@pytest.mark.parametrize("square", [Square(32, 32), Square(224, 256)])
@pytest.mark.parametrize("size", [(1, 1), (90, 70), (70, 90), (2100, 1300)])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_the_square_is_that_of_the_picture_to_the_bit(
    shared: Decoders, kind: str, size: tuple[int, int], square: Square
) -> None:
    data = corpus.encode(corpus.noise(*size), kind)
    picture = PictureReader().open(data, side=EMBED_SIDE)
    seen = shared.square(data, square)
    assert seen[1:] == picture[1:]
    assert np.asarray(seen.content).tobytes() == cut(picture.image, square).tobytes()
    assert np.asarray(PictureReader().square(data, square).content).tobytes() == np.asarray(seen.content).tobytes()


@pytest.mark.parametrize("bomb", bombs(), ids=lambda bomb: bomb.name)
def test_a_bomb_gets_its_status(shared: Decoders, bomb: Bomb) -> None:
    before = shared.lost
    assert code_of(shared, bomb.data) in bomb.codes
    assert shared.lost == before


def test_the_corpus_is_as_large_as_promised_and_leaves_memory_flat(shared: Decoders) -> None:
    everything = bombs()
    assert len(everything) > 90
    assert len({bomb.name for bomb in everything}) == len(everything)
    for bomb in everything:  # once, so that every way was gone
        code_of(shared, bomb.data)
    before = resident(), sum(map(resident, shared.processes()))
    for bomb in everything:
        code_of(shared, bomb.data)
    assert resident() - before[0] < 30
    assert sum(map(resident, shared.processes())) - before[1] < 30
    assert code_of(shared, HONEST) == 0


def test_it_is_replaced_when_it_was_killed_while_idle(own: Decoders) -> None:
    assert code_of(own, HONEST) == 0
    for number in (signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT):
        (process,) = own.processes()
        os.kill(process, number)
        assert code_of(own, HONEST) == 0
        assert own.processes() != [process]
    assert own.lost == 3


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS])
def test_a_picture_over_which_decoders_die_is_damaged(own: Decoders, number: int) -> None:
    """The decoders are stopped first, so that they certainly die with the picture in their hands."""
    code_of(own, HONEST)
    done = threading.Event()

    def kill_each() -> None:
        seen: set[int] = set()
        while not done.wait(0.01):
            for process in set(own.processes()) - seen:
                os.kill(process, signal.SIGSTOP)
                os.kill(process, number)
                os.kill(process, signal.SIGCONT)
                seen.add(process)

    killer = threading.Thread(target=kill_each)
    (process,) = own.processes()
    os.kill(process, signal.SIGSTOP)
    killer.start()
    try:
        found = code_of(own, corpus.png_bomb(6_000, 6_000))
    finally:
        done.set()
        killer.join()
    assert found == StatusCode.ALL_INPUT_INVALID_BYTES
    assert own.lost == 2
    assert code_of(own, HONEST) == 0


def test_what_takes_too_long_is_too_large(own: Decoders) -> None:
    """A stand-in for an endless loop: passes over a large picture, some hundred times as many as there are seconds."""
    code_of(own, HONEST)
    slow = Decoders(1, PictureLimits(max_scans=10**9), Budget(cpu_s=1))
    try:
        assert code_of(slow, corpus.slow_jpeg()) == StatusCode.INPUT_OVER_LIMIT
        assert slow.lost == 1
        assert code_of(slow, HONEST) == 0
    finally:
        slow.close()


def test_what_hangs_is_too_large() -> None:
    hanging = Decoders(1, budget=Budget(wall_s=1.5))
    try:
        code_of(hanging, HONEST)
        (process,) = hanging.processes()
        os.kill(process, signal.SIGSTOP)
        assert code_of(hanging, HONEST) == StatusCode.INPUT_OVER_LIMIT
        assert process not in hanging.processes()
    finally:
        hanging.close()


def test_what_needs_too_much_memory_is_too_large() -> None:
    small = Decoders(1, budget=Budget(memory=64 << 20))
    try:
        assert code_of(small, corpus.png_bomb(8_000, 7_900)) == StatusCode.INPUT_OVER_LIMIT
        assert code_of(small, HONEST) == 0
        assert small.lost == 0
    finally:
        small.close()


def test_what_a_decoder_says_is_not_trusted(own: Decoders, monkeypatch: pytest.MonkeyPatch) -> None:
    code_of(own, HONEST)
    for frame in (
        decoder.Frame(b"?", [0, 0, 0, 0], b""),
        decoder.Frame(decoder.PICTURE, [1, 1, 99, 1], b"abc"),
        decoder.Frame(decoder.PICTURE, [1, 1, 0, 7], b"abc"),
        decoder.Frame(decoder.PICTURE, [1, 1, 0, 0], b""),
        decoder.Frame(decoder.FAILURE, [10000, 0, 0, 0], b'["fine", ""]'),
        decoder.Frame(decoder.FAILURE, [77777, 0, 0, 0], b'["what", ""]'),
        decoder.Frame(decoder.FAILURE, [30300, 0, 0, 0], b"not JSON"),
        decoder.Frame(decoder.ROOM, [2**32 - 1, 0, 0, 0], b""),
    ):
        monkeypatch.setattr(decoder.Line, "receive", lambda _line, _longest=0, frame=frame: frame)
        assert code_of(own, HONEST) == StatusCode.ALL_INPUT_INVALID_BYTES
        monkeypatch.undo()
    assert code_of(own, HONEST) == 0


def test_a_square_of_another_size_is_not_taken(own: Decoders, monkeypatch: pytest.MonkeyPatch) -> None:
    code_of(own, HONEST)
    for across, rows in ((2, 2), (3, 1), (1, 3)):
        frame = decoder.Frame(decoder.PICTURE, [9, 9, 0, across], b"x" * (3 * across * rows))
        monkeypatch.setattr(decoder.Line, "receive", lambda _line, _longest=0, frame=frame: frame)
        with pytest.raises(Failure) as refusal:
            own.square(HONEST, Square(3, 3))
        assert refusal.value.code == StatusCode.ALL_INPUT_INVALID_BYTES
        monkeypatch.undo()
    assert np.asarray(own.square(HONEST, Square(3, 3)).content).shape == (3, 3, 3)


def test_a_crowd_is_served_by_few(shared: Decoders) -> None:
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(code_of(shared, HONEST))) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [0] * 16
    assert len(shared.processes()) == 2


def test_they_end_with_the_server(own: Decoders) -> None:
    code_of(own, HONEST)
    (process,) = own.processes()
    assert b"AWS" not in Path(f"/proc/{process}/environ").read_bytes()
    own.close()
    until = time.monotonic() + 30
    while Path(f"/proc/{process}/exe").exists() and time.monotonic() < until:
        time.sleep(0.01)
    assert not Path(f"/proc/{process}/exe").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="reads what Linux says of processes")
def test_calls_go_first_and_ctrl_c_is_not_for_them(own: Decoders) -> None:
    """In the server's session: one of their own gets as much as all of the server's where it gets anything at all."""
    code_of(own, HONEST)
    (process,) = own.processes()
    assert os.getpgid(process) == process != os.getpgid(0)
    assert os.getsid(process) == os.getsid(0)
    assert os.getpriority(os.PRIO_PROCESS, process) >= 10


def test_noise_is_not_flat() -> None:
    """The pictures compared above are worth comparing."""
    assert np.asarray(corpus.noise(90, 70)).std() > 50
