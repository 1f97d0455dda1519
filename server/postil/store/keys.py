"""The part of the store's contract about keys: what opens which app, without the secrets themselves.

Mixed into the Protocols of `store/base.py`, whose promises hold here too. `KeyStore` is the little of a store that
keys need, so that a command can change them beside a running server (`store/beside.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, TypeVar

from postil.store.records import AppRecord

T = TypeVar("T")


class KeyRecord(NamedTuple):
    """A key. It lives no longer than its app."""

    row: int
    id: str
    digest: bytes  # SHA-256 of the token, 32 bytes
    user_id: str
    app: int  # row of the only app it opens; 0 for a personal access token
    expires_us: int  # 0: never
    message: bytes  # postil.v1.Key, without token


class KeyQueries(Protocol):
    """Reads of keys."""

    def key_by_digest(self, digest: bytes) -> KeyRecord | None: ...
    def key(self, user_id: str, key_id: str) -> KeyRecord | None: ...
    def list_keys(self, user_id: str, app: int, offset: int, limit: int) -> list[KeyRecord]:
        """In order of creation. `app`: 0 for all of the user's keys, else only those of this app."""
        ...

    def ever_had_keys(self) -> bool:
        """Whether a key was ever made, even if all are revoked."""
        ...


class KeyWrites(Protocol):
    """Writes of keys."""

    def add_key(self, record: KeyRecord) -> None:
        """`record.row` is not looked at. Raises Missing when its app does not exist."""
        ...

    def update_key(self, row: int, expires_us: int, message: bytes) -> None:
        """Raises Missing."""
        ...

    def delete_keys(self, rows: Sequence[int]) -> None: ...


class KeyReads(KeyQueries, Protocol):
    """What may be read beside keys."""

    def app(self, user_id: str, app_id: str) -> AppRecord | None: ...


class KeyTransaction(KeyReads, KeyWrites, Protocol):
    """What may be done in one op."""

    now_us: int


class KeyStore(Protocol):
    """Any store is one. `write` returns what the op returns, once it is durable."""

    def read(self) -> KeyReads: ...
    def write(self, op: Callable[[KeyTransaction], T]) -> T: ...


class Stamp(Protocol):
    """Changes whenever keys have changed, for every process that has the store open."""

    def value(self) -> bytes:
        """Opaque; equal as long as nothing changed. Costs nothing: every call asks."""
        ...

    def renew(self) -> None:
        """Keys have changed, durably."""
        ...
