"""Opens pictures in processes of their own, which are started beforehand and replaced when one dies or hangs.

What strangers send is decoded by native code with a history; here it can crash, fill memory or run for ever without
harm to anything but itself. docs/adr/0016-decoder-processes.md says how and why.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from postil import errors
from postil.media import decoder
from postil.media.pictures import FORMATS, Picture, PictureLimits, PixelRoom, Seen, check_file
from postil.media.squares import Square
from postil.v1.status_code_pb2 import StatusCode

# The path is given along because the interpreter starts isolated: without variables, and so without their secrets.
_BOOT = (
    "import json, sys; settings = json.loads(sys.argv[1]); "
    "sys.path.extend(set(settings.pop('path')) - set(sys.path)); "
    "from postil.media.decoder import main; main(settings)"
)
_ENVIRONMENT = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    # The next picture takes the memory of the last one: given back and asked for again, it costs as much as scaling.
    "MALLOC_MMAP_THRESHOLD_": str(4 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(8 << 20),
}
_START_S = 120.0  # machines may be very busy
_SHOWN = 2000  # characters of what a decoder says


@dataclass(frozen=True)
class Budget:
    """What one picture may cost.

    Args:
        memory: Bytes beyond what the process has when idle. 64 million pixels take up to 1.4 GiB while they are made
            RGB (measured: sixteen-bit PNG, WebP with transparency).
        cpu_s: Seconds of processor time; the worst honest picture within the limits takes about three.
        wall_s: Seconds by the clock, room for other pictures not counted: for what hangs without working.
    """

    memory: int = 2 << 30
    cpu_s: int = 10
    wall_s: float = 60.0


class _Lost(Exception):
    """A decoder ended, or was ended, in the middle of a picture."""


class _Slow(_Lost):
    """It was out of time."""


class _Wanted(NamedTuple):
    """What is to be made of a picture: a frame's kind and numbers."""

    kind: bytes
    numbers: tuple[int, ...]


class _Made(NamedTuple):
    """What a decoder made of it."""

    width: int
    height: int
    format: str
    across: int  # pixels of a row
    rows: bytes  # RGB


class _Decoder:
    """One process; used by one thread at a time.

    Args:
        limits: Of pictures.
        budget: Of one picture.
    """

    def __init__(self, limits: PictureLimits, budget: Budget) -> None:
        settings: dict[str, Any] = {
            "limits": asdict(limits),
            "memory": budget.memory,
            "cpu_s": budget.cpu_s,
            "path": [entry for entry in sys.path if entry],
        }
        self._budget = budget
        self._largest = limits.max_pixels
        end, other = socket.socketpair()
        shared = _memory(decoder.SHARED)
        settings["shared"] = shared
        with other:
            self.process = subprocess.Popen(  # noqa: S603 this interpreter, with a program that is written above
                [sys.executable, "-I", "-c", _BOOT, json.dumps(settings)],
                stdin=other.fileno(),
                stdout=subprocess.DEVNULL,
                env=_ENVIRONMENT,
                pass_fds=[shared],
                # Ctrl-C is not for it. A session of its own would do, too, but systems that share processors out by
                # session let it starve beside a busy server (docs/adr/0016-decoder-processes.md).
                process_group=0,
            )
        self._line = decoder.Line(end, shared)
        self._ready = False

    def open(self, data: bytes, wanted: _Wanted, room: PixelRoom) -> _Made:
        """What is wanted of the picture.

        Raises:
            Failure: It is not accepted.
            _Lost: The process is no more.
        """
        try:
            self._wait_until_ready()
            self._line.settimeout(self._budget.wall_s)
            self._line.send(wanted.kind, *wanted.numbers, body=data)
            with contextlib.ExitStack() as held:
                return self._answer(held, wanted, room)
        except TimeoutError:
            self.end()
            raise _Slow from None
        except (EOFError, OSError) as error:
            raise self._lost() from error

    def end(self) -> None:
        """Ends the process."""
        self.process.kill()
        self.process.wait()
        self._line.close()

    def _wait_until_ready(self) -> None:
        if not self._ready:
            self._line.settimeout(_START_S)
            self._line.receive(0)
            self._ready = True

    def _lost(self) -> _Lost:
        self.process.kill()
        code = self.process.wait()
        self._line.close()
        return _Slow() if code == -signal.SIGXCPU else _Lost(f"the decoder ended with {code}")

    def _answer(self, held: contextlib.ExitStack, wanted: _Wanted, room: PixelRoom) -> _Made:
        """What the process makes of it. Nothing it says is trusted: it has read a stranger's file."""
        while True:
            self._line.settimeout(self._budget.wall_s)
            kind, numbers, body = self._line.receive(self._largest * 3)
            if kind == decoder.ROOM and numbers[0] <= self._largest:
                held.enter_context(room.take(numbers[0]))
                self._line.send(decoder.GO)
            elif kind == decoder.PICTURE:
                return self._made(wanted, numbers, body)
            elif kind == decoder.FAILURE:
                raise self._failure(numbers[0], body)
            else:
                raise EOFError

    @staticmethod
    def _made(wanted: _Wanted, numbers: list[int], body: bytes) -> _Made:
        width, height, kind, across = numbers
        if not across or not body or len(body) % (3 * across) or kind >= len(FORMATS):
            raise EOFError
        if wanted.kind == decoder.SQUARE and not across == wanted.numbers[0] == len(body) // (3 * across):
            raise EOFError
        return _Made(width, height, FORMATS[kind], across, body)

    @staticmethod
    def _failure(code: int, body: bytes) -> Exception:
        try:
            details, notes = json.loads(body)
        except ValueError:
            return EOFError()
        if code not in StatusCode.values() or code == StatusCode.SUCCESS:
            return EOFError()
        return errors.Failure(StatusCode.ValueType(code), str(details)[:_SHOWN], str(notes)[:_SHOWN])


def _memory(size: int) -> int:
    """A descriptor of memory that processes can share."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("postil-decoder")
    else:  # macOS
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, size)
    return descriptor


class Decoders:
    """A fixed number of decoders, shared. Thread-safe; a `pictures.Opener`.

    Args:
        count: How many; as many pictures are decoded at once.
        limits: What is accepted.
        budget: What one picture may cost.
        report: Told, in a sentence, when a decoder had to be replaced.
    """

    def __init__(
        self,
        count: int,
        limits: PictureLimits | None = None,
        budget: Budget | None = None,
        report: Callable[[str], object] = lambda _what: None,
    ) -> None:
        self._limits = limits or PictureLimits()
        self._budget = budget or Budget()
        self._report = report
        self._room = PixelRoom(self._limits.max_pixels)
        self._lock = threading.Lock()
        self._running: set[_Decoder] = set()
        self._closed = False
        self._idle: queue.LifoQueue[_Decoder | None] = queue.LifoQueue()
        for _ in range(count):
            self._idle.put(None)  # a place without a process yet
        self.lost = 0  # decoders that died or were ended over a picture

    def start(self) -> None:
        """Starts the processes that are not there yet, without waiting for them."""
        places = []
        with contextlib.suppress(queue.Empty):
            while True:
                places.append(self._idle.get_nowait())
        for place in places:
            self._idle.put(place or self._new())

    def open(self, data: bytes, *, side: int | None = None) -> Picture:
        """See `PictureReader.open`. A picture over which two decoders die is damaged, one that takes too long or too
        much memory is too large."""
        made = self._open(data, _Wanted(decoder.OPEN, (side or 0,)))
        size = (made.across, len(made.rows) // (3 * made.across))
        return Picture(Image.frombytes("RGB", size, made.rows), *made[:3])

    def square(self, data: bytes, square: Square) -> Seen:
        """See `PictureReader.square`, and `open`. Nothing but the square leaves the decoder."""
        made = self._open(data, _Wanted(decoder.SQUARE, square))
        return Seen(np.frombuffer(made.rows, np.uint8).reshape(square.side, square.side, 3), *made[:3])

    def _open(self, data: bytes, wanted: _Wanted) -> _Made:
        check_file(data, self._limits)
        try:
            return self._try(data, wanted)
        except _Slow:
            raise self._too_slow() from None
        except _Lost:  # perhaps not over the picture: somebody may have ended the process, or the machine was full
            pass
        try:
            return self._try(data, wanted)
        except _Slow:
            raise self._too_slow() from None
        except _Lost as lost:
            raise errors.Failure(
                StatusCode.ALL_INPUT_INVALID_BYTES,
                "The picture file is damaged: decoding it fails. Save the picture again and send that.",
                str(lost),
            ) from None

    def close(self) -> None:
        """Ends the processes."""
        with self._lock:
            self._closed = True
            running = list(self._running)
        for one in running:
            one.end()

    def processes(self) -> list[int]:
        """Their ids."""
        with self._lock:
            return [one.process.pid for one in self._running]

    def _try(self, data: bytes, wanted: _Wanted) -> _Made:
        place = self._idle.get()
        try:
            place = place or self._new()
            return place.open(data, wanted, self._room)
        except _Lost as lost:
            place = self._replace(place, lost)
            raise
        finally:
            self._idle.put(place)

    def _replace(self, old: _Decoder | None, lost: _Lost) -> _Decoder | None:
        """A new process for a place; it gets ready while nobody waits for it."""
        with self._lock:
            if old is not None:
                self._running.discard(old)
            self.lost += 1
            closed = self._closed
        self._report("out of time" if isinstance(lost, _Slow) else str(lost))
        return None if closed else self._new()

    def _new(self) -> _Decoder:
        made = _Decoder(self._limits, self._budget)
        with self._lock:
            if not self._closed:
                self._running.add(made)
                return made
        made.end()
        raise RuntimeError("the decoders are closed")

    def _too_slow(self) -> errors.Failure:
        return errors.Failure(
            StatusCode.INPUT_OVER_LIMIT,
            f"The picture takes more than {self._budget.cpu_s} seconds to decode. Scale it down, or save it in a "
            "simpler way.",
        )
