"""What the store raises. Part of the contract in `store/base.py`, and to be imported from there."""

from __future__ import annotations

from typing import Protocol


class Duplicate(Exception):
    """An id that is taken. `args[0]` is the id."""


class Missing(Exception):
    """A row that must exist in the app and does not. `args[0]` says which."""


class WriteFailed(Exception):
    """The disk refused a write (full, read-only, broken): nothing of the op was kept. `args[0]` says why."""


class StoreClosed(Exception):
    """The store was closed; the op was not run."""


class Corrupt(Exception):
    """A row that fails its checksum. `args[0]` says which."""


class TooMuch(Exception):
    """What was asked for holds more bytes than one answer may. `args`: how many things were read, and that bound."""


class Paged(Protocol):
    """Reads that fill pages (lists, and what a search shows) raise TooMuch rather than hold more than `room` bytes of
    messages. Those inside an op or a snapshot have room for anything: nobody answers with them."""

    room: int


class TooOld(Exception):
    """The change feed no longer reaches back that far."""
