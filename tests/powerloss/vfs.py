"""A recording VFS under the SQLite that Python's own `sqlite3` uses: the product's connections go through it unchanged.

SQLite's default VFS is copied, with another xOpen and xDelete; each file that it opens keeps its own methods but for
xWrite, xTruncate and xSync, which tell a listener first what they are about to do. So the library under test is the
one that the product runs with, and not a second one.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import os
from collections.abc import Callable
from ctypes import CFUNCTYPE, POINTER, c_char_p, c_int, c_int64, c_void_p
from pathlib import Path
from typing import Any, Protocol

_SQLITE_OK = 0
_CREATE = 0x4
_JOURNALS = 0x800 | 0x4000 | 0x80000  # MAIN_JOURNAL, SUPER_JOURNAL, WAL: their first sync covers the folder too
_DATABASES = 0x100  # MAIN_DB


class Listener(Protocol):
    """Hears what SQLite does, with the paths of files as it opened them."""

    def opened(self, path: str) -> None: ...
    def wrote(self, path: str, offset: int, data: bytes) -> None: ...
    def truncated(self, path: str, size: int) -> None: ...
    def synced(self, path: str, *, names: bool) -> None: ...
    def removed(self, path: str, *, names: bool) -> None: ...


class _File(ctypes.Structure):
    _fields_ = (("methods", c_void_p),)


_WRITE = CFUNCTYPE(c_int, c_void_p, c_void_p, c_int, c_int64)
_TRUNCATE = CFUNCTYPE(c_int, c_void_p, c_int64)
_SYNC = CFUNCTYPE(c_int, c_void_p, c_int)
_CLOSE = CFUNCTYPE(c_int, c_void_p)
_OPEN = CFUNCTYPE(c_int, c_void_p, c_void_p, c_void_p, c_int, POINTER(c_int))
_DELETE = CFUNCTYPE(c_int, c_void_p, c_char_p, c_int)


class _Methods(ctypes.Structure):
    """sqlite3_io_methods, version 3."""

    _fields_ = (
        ("version", c_int),
        ("close", _CLOSE),
        ("read", c_void_p),
        ("write", _WRITE),
        ("truncate", _TRUNCATE),
        ("sync", _SYNC),
        ("others", c_void_p * 13),
    )


class _Vfs(ctypes.Structure):
    """sqlite3_vfs, version 3."""

    _fields_ = (
        ("version", c_int),
        ("size_of_file", c_int),
        ("longest_path", c_int),
        ("next", c_void_p),
        ("name", c_char_p),
        ("app_data", c_void_p),
        ("open", _OPEN),
        ("delete", _DELETE),
        ("others", c_void_p * 14),
    )


def library() -> ctypes.CDLL:
    """The shared library that `sqlite3` is linked with. Raises OSError when SQLite was compiled into Python."""
    import _sqlite3

    ctypes.CDLL(_sqlite3.__file__)
    with Path("/proc/self/maps").open(encoding="utf-8") as maps:
        found = {line.split()[-1] for line in maps if "libsqlite3" in line}
    if len(found) != 1:
        raise OSError(f"Python's sqlite3 is not linked with one shared libsqlite3 but {sorted(found)}")
    return ctypes.CDLL(found.pop())


_used: list[RecordingVfs] = []  # all of them, for good: a file that is closed late still calls into its VFS


class RecordingVfs:
    """The default VFS of this process from construction until `close`."""

    def __init__(self, listener: Listener) -> None:
        self._library = library()
        find = self._library.sqlite3_vfs_find
        find.restype = POINTER(_Vfs)
        self._real = find(None).contents
        self._listener = listener
        self._kept: list[Any] = []
        self._methods: dict[int, _Methods] = {}  # address of the real methods -> ours
        self._files: dict[int, tuple[str, bool]] = {}  # address of an open file -> path, its folder is to be synced
        self._vfs = _Vfs.from_buffer_copy(self._real)
        self._vfs.name = b"recording"
        self._vfs.next = None
        self._vfs.open = self._keep(_OPEN(self._open))
        self._vfs.delete = self._keep(_DELETE(self._delete))
        register = self._library.sqlite3_vfs_register
        register.argtypes = (c_void_p, c_int)
        if register(ctypes.byref(self._vfs), 1) != _SQLITE_OK:
            raise OSError("SQLite does not take the recording VFS")
        _used.append(self)

    def close(self) -> None:
        """The real one is the default again."""
        self._library.sqlite3_vfs_register(ctypes.byref(self._real), 1)

    def _keep(self, thing: Any) -> Any:
        self._kept.append(thing)
        return thing

    def _open(self, vfs: int, name: int | None, file: int, flags: int, out: Any) -> int:
        path = ctypes.string_at(name).decode() if name else ""
        fresh = bool(path) and not Path(path).exists()
        code: int = self._real.open(ctypes.addressof(self._real), name, file, flags, out)
        if code == _SQLITE_OK and flags & (_DATABASES | _JOURNALS):
            if fresh:
                self._listener.opened(path)
            self._files[file] = (path, bool(flags & _CREATE and flags & _JOURNALS))
            opened = _File.from_address(file)
            opened.methods = ctypes.addressof(self._ours(opened.methods))
        return code

    def _delete(self, vfs: int, name: bytes, sync_folder: int) -> int:
        code: int = self._real.delete(ctypes.addressof(self._real), name, sync_folder)
        if code == _SQLITE_OK:
            self._listener.removed(name.decode(), names=bool(sync_folder))
        return code

    def _ours(self, address: int) -> _Methods:
        """Our copy of a file's methods."""
        found = self._methods.get(address)
        if found is None:
            real = _Methods.from_address(address)
            found = self._methods[address] = _Methods.from_buffer_copy(real)
            found.write = self._keep(_WRITE(self._writer(real.write)))
            found.truncate = self._keep(_TRUNCATE(self._truncater(real.truncate)))
            found.sync = self._keep(_SYNC(self._syncer(real.sync)))
            found.close = self._keep(_CLOSE(self._closer(real.close)))
        return found

    def _writer(self, real: Any) -> Callable[..., int]:
        def write(file: int, data: int, size: int, offset: int) -> int:
            self._listener.wrote(self._files[file][0], offset, ctypes.string_at(data, size))
            code: int = real(file, data, size, offset)
            return code

        return write

    def _truncater(self, real: Any) -> Callable[..., int]:
        def truncate(file: int, size: int) -> int:
            self._listener.truncated(self._files[file][0], size)
            code: int = real(file, size)
            return code

        return truncate

    def _syncer(self, real: Any) -> Callable[..., int]:
        def sync(file: int, flags: int) -> int:
            code: int = real(file, flags)
            path, names = self._files[file]
            if code == _SQLITE_OK:
                self._listener.synced(path, names=names)
                self._files[file] = (path, False)
            return code

        return sync

    def _closer(self, real: Any) -> Callable[..., int]:
        def close(file: int) -> int:
            self._files.pop(file, None)
            code: int = real(file)
            return code

        return close


def full_path(path: str) -> Path:
    """As the recorder knows it."""
    return Path(os.path.realpath(path))
