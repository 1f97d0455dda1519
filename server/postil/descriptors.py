"""Open files: as many as the system allows, and how many of them may be connections of strangers.

A connection is a file, and so is what the store opens. Most systems allow a thousand unless more is asked for: with a
thousand idle connections, for which nobody needs a key, a server could neither be connected to nor open its own files.
"""

from __future__ import annotations

import contextlib
import resource
from typing import NamedTuple

_WANTED, _MACOS = 65_536, 10_240
_OWN = 256  # files of the store, the index and the decoders; an everyday load has some 85 open
_FEW, _MOST_GRPC, _MOST_HTTP = 32, 8192, 1024


class Shares(NamedTuple):
    """Connections that each door may have."""

    grpc: int
    http: int


def limit() -> int:
    """How many files this process may have open, 65,536 where there is no end to it."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return _WANTED if soft == resource.RLIM_INFINITY else soft


def raise_limit() -> None:
    """Asks the system for up to 65,536 open files; it may allow fewer."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    for most in (_WANTED, _MACOS):  # macOS says that there is no end to it, and has one
        wanted = most if hard == resource.RLIM_INFINITY else min(most, hard)
        if limit() < wanted:
            with contextlib.suppress(OSError, ValueError):
                resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def shares(files: int) -> Shares:
    """Of so many open files: a half for gRPC, a quarter for HTTP, the rest and what the server needs for files."""
    spare = files - _OWN
    return Shares(max(_FEW, min(_MOST_GRPC, spare // 2)), max(_FEW, min(_MOST_HTTP, spare // 4)))
