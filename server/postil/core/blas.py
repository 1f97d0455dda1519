"""Keeps small matrix products on one thread.

The linear algebra library spreads even small products over all cores and lets them wait for each other in a busy loop.
On a machine with other work that costs many times what it saves (docs/adr/0010).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from threadpoolctl import ThreadpoolController

LARGE = 1 << 28  # multiplications in one product, from which on more threads are worth it

_libraries = cache(ThreadpoolController)  # looking for them takes milliseconds
_gate = threading.Lock()
_users = 0
_limit: object = None


@contextmanager
def threads_for(multiplications: int) -> Iterator[None]:
    """While it lasts, products use one thread if they are small. The limit is the process's, so users are counted."""
    global _users, _limit  # noqa: PLW0603 - the library's limit is global, too
    if multiplications >= LARGE:
        yield
        return
    with _gate:
        _users += 1
        if _users == 1:
            _limit = _libraries().limit(limits=1, user_api="blas")
    try:
        yield
    finally:
        with _gate:
            _users -= 1
            if _users == 0:
                _limit.restore_original_limits()  # type: ignore[attr-defined]
                _limit = None
