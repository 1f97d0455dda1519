"""Keeps the memory of a busy server from growing: tells glibc's allocator to give back what is free.

By default each of some ninety threads gets a share of up to sixteen heaps, in which a crowd of pictures leaves holes,
and large pieces move into those heaps after their first use. Under overload the server grew without an end that way;
with two heaps, and pieces of 256 KiB and more mapped each by itself, it stays flat (docs/adr/0017-limits.md).
Each such piece costs a page fault for every 4 KiB of it, so what is made and dropped often is better smaller
(`index/search.py`).
"""

from __future__ import annotations

import ctypes
import platform

# glibc's malloc.h
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8


def steady() -> None:
    """Sets the allocator of this process; does nothing where it is not glibc's. Call it before threads are started."""
    if platform.libc_ver()[0] != "glibc":
        return
    mallopt = ctypes.CDLL(None).mallopt
    mallopt(_ARENA_MAX, 2)
    mallopt(_MMAP_THRESHOLD, 256 * 1024)
    mallopt(_TRIM_THRESHOLD, 1024 * 1024)


def give_back() -> None:
    """Returns what is free to the system now, wherever it lies; takes some milliseconds. For after a flood."""
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)
