"""A process that decodes pictures for the server, one after the other, so that a picture that breaks a decoder, or
makes it hungry or slow, takes nothing with it. `media/decoders.py` starts it and talks to it.

It talks over the socket that is its standard input and a piece of shared memory: nothing but numbers, texts and
pixels, in frames of `HEAD` and a body. The system holds it to its memory and processor time; it can open no file
and no connection, and leaves no core.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import resource
import signal
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from postil import processors
from postil.errors import Failure
from postil.media.pictures import FORMATS, PictureLimits, PictureReader, too_hungry
from postil.media.squares import Square

# Frames. kind, four numbers, bytes of the body.
HEAD = struct.Struct("!cIIIIQ")
OPEN = b"O"  # to the decoder: side or 0; body: the file
SQUARE = b"S"  # to it: the two numbers of a Square; body: the file
READY = b"+"  # from it, once
ROOM = b"R"  # from it: pixels; it goes on when it gets GO
GO = b"g"  # a frame without numbers
PICTURE = b"P"  # from it: width, height, format, width of the body's picture or square; body: RGB rows
FAILURE = b"F"  # from it: status code; body: JSON of details and notes

# Pictures of fewer pixels are decoded without asking for room: the way there and back costs more.
SMALL = 4_000_000


# Bodies up to so many bytes lie in memory that both sides see, larger ones follow their frame on the socket. A small
# picture costs one switch each way then: a socket's buffer would take a dozen.
SHARED = 4 << 20

_TOO_LONG = 1 << 40


class Line:
    """One end of the way between server and decoder. Requests and answers take turns.

    Args:
        end: The socket.
        shared: Descriptor of `SHARED` bytes of memory; belongs to this object.
    """

    def __init__(self, end: socket.socket, shared: int) -> None:
        self._socket = end
        self._memory = mmap.mmap(shared, SHARED)
        self.settimeout = end.settimeout
        os.close(shared)

    def send(self, kind: bytes, *numbers: int, body: bytes = b"") -> None:
        """One frame."""
        near = len(body) <= SHARED
        if near:
            self._memory[: len(body)] = body
        self._socket.sendall(HEAD.pack(kind, *numbers, *[0] * (4 - len(numbers)), len(body)))
        if not near:
            self._socket.sendall(body)

    def receive(self, longest: int = _TOO_LONG) -> Frame:
        """One frame. Raises EOFError when the other side has gone, or when the body has more than `longest` bytes."""
        kind, *numbers, length = HEAD.unpack(self._exactly(HEAD.size))
        if length > longest:
            raise EOFError
        return Frame(kind, numbers, self._memory[:length] if length <= SHARED else bytes(self._exactly(length)))

    def close(self) -> None:
        """Hangs up."""
        self._socket.close()
        self._memory.close()

    def _exactly(self, size: int) -> bytearray:
        data = bytearray(size)
        rest = memoryview(data)
        while rest:
            count = self._socket.recv_into(rest)
            if not count:
                raise EOFError
            rest = rest[count:]
        return data


class Frame(NamedTuple):
    """One message."""

    kind: bytes
    numbers: list[int]
    body: bytes


def main(settings: dict[str, Any]) -> None:
    """Serves until the server hangs up.

    Args:
        settings: `limits` of `PictureLimits`; for one picture, `memory` in bytes and `cpu_s` in seconds; `shared`,
            the descriptor of the memory that both sides see.
    """
    line = Line(socket.socket(fileno=0), settings["shared"])
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the server stops in order, and hangs up when it is done
    processors.step_back()
    Image.init()  # else Pillow looks for further plugins when it meets a file that it does not know
    _confine(settings["memory"])
    line.send(READY)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libraries tell there what they think of a picture
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))  # what is open stays open
    reader = PictureReader(PictureLimits(**settings["limits"]), lambda pixels: _room(line, pixels))
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            _serve(line, reader, settings["cpu_s"])


def _serve(line: Line, reader: PictureReader, cpu_s: int) -> None:
    """Answers one request."""
    wanted, numbers, data = line.receive()
    _allow_time(cpu_s)
    try:
        if wanted == SQUARE:
            square = Square(numbers[0], numbers[1])
            seen = reader.square(data, square)
            size, across, body = seen[1:], square.side, np.asarray(seen.content).tobytes()
        else:
            picture = reader.open(data, side=numbers[0] or None)
            size, across, body = picture[1:], picture.image.width, picture.image.tobytes()
    except Failure as failure:
        _refuse(line, failure)
        return
    except MemoryError:
        _refuse(line, too_hungry())
        return
    width, height, kind = size
    line.send(PICTURE, width, height, FORMATS.index(kind), across, body=body)


def _refuse(line: Line, failure: Failure) -> None:
    line.send(FAILURE, failure.code, body=json.dumps([failure.details, failure.notes]).encode())


@contextmanager
def _room(line: Line, pixels: int) -> Iterator[None]:
    if pixels > SMALL:
        line.send(ROOM, pixels)
        line.receive()
    yield


def _confine(memory: int) -> None:
    """From here on: so much more memory, no growing files, no programs, first to go when memory is short."""
    used = _address_space()
    if used:
        resource.setrlimit(resource.RLIMIT_AS, (used + memory, used + memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def _address_space() -> int:
    """Bytes; 0 where the system does not tell, which does not hold processes to it either (macOS)."""
    try:
        pages = Path("/proc/self/statm").read_text().split()[0]
    except OSError:
        return 0
    return int(pages) * resource.getpagesize()


def _allow_time(seconds: int) -> None:
    """The system ends this process after so many more seconds of processor time, even when nobody is there to."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    used = int(usage.ru_utime + usage.ru_stime)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (used + seconds + 1, hard))
