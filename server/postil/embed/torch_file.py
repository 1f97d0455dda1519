"""Reads the tensors of a pre-2020 torch file with numpy: no torch, and nothing in the file is ever executed.

Such a file is five pickles in a row (magic number, protocol version, system facts, the state dictionary, the keys of
its storages), then for each key its length and raw little-endian numbers. The state dictionary is read by a small
interpreter that knows the two dozen opcodes it is made of and the three names that occur in it; any other opcode or
name is refused, so that a file made with ill intent can at worst be called unreadable.
"""

from __future__ import annotations

import io
import math
import pickletools
from collections.abc import Callable, Iterable
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001

Array = NDArray[Any]

_STORAGE_TYPES: dict[str, np.dtype[Any]] = {"torch FloatStorage": np.dtype("<f4"), "torch LongStorage": np.dtype("<i8")}
_VALUES = frozenset({"BINUNICODE", "BININT", "BININT1", "BININT2", "LONG1"})
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_MARK = object()


class BadFile(ValueError):
    """The file is not what it claims to be. `args[0]` says what is wrong with it."""


class _Storage(NamedTuple):
    """A run of numbers that follows the pickles; tensors are views into it."""

    key: str
    dtype: np.dtype[Any]
    length: int  # elements


class _Tensor(NamedTuple):
    """A strided view of a storage. Offset and strides count elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_state(file: BinaryIO) -> dict[str, Array]:
    """Returns name -> array for every tensor of the state dictionary.

    Raises:
        BadFile: The file is damaged, or holds anything but plain tensors of float32 or int64.
    """
    if _load(file) != MAGIC:
        raise BadFile("not a torch file of the old format: wrong magic number")
    if _load(file) != PROTOCOL:
        raise BadFile("a torch file of an unknown protocol version")
    facts = _load(file)
    if not isinstance(facts, dict) or facts.get("little_endian") is not True:
        raise BadFile("the numbers in the file are not little-endian")
    state = _load(file)
    keys = _load(file)
    if not isinstance(state, dict) or not isinstance(keys, list):
        raise BadFile("the file holds no state dictionary")
    tensors = {str(name): value for name, value in state.items() if isinstance(value, _Tensor)}
    storages = _read_storages(file, keys, {tensor.storage for tensor in tensors.values()})
    return {name: _view(tensor, storages) for name, tensor in tensors.items()}


def _read_storages(file: BinaryIO, keys: Iterable[Any], wanted: set[_Storage]) -> dict[str, Array]:
    """Reads the raw numbers in the order of `keys`."""
    by_key = {storage.key: storage for storage in wanted}
    found: dict[str, Array] = {}
    start = file.tell()
    left = file.seek(0, io.SEEK_END) - start
    file.seek(start)
    for key in keys:
        storage = by_key.get(key) if isinstance(key, str) else None
        if storage is None:
            raise BadFile(f"storage {key!r} belongs to no tensor")
        size = storage.length * storage.dtype.itemsize
        left -= 8 + size
        # Before reading: a claimed length must not make room for what is not there.
        if left < 0 or int.from_bytes(file.read(8), "little") != storage.length:
            raise BadFile(f"storage {key!r} is cut short")
        found[key] = np.frombuffer(file.read(size), storage.dtype)
    return found


def _view(tensor: _Tensor, storages: dict[str, Array]) -> Array:
    """The tensor as a C-contiguous array of its own, whatever its strides were."""
    flat = storages.get(tensor.storage.key)
    if flat is None:
        raise BadFile(f"storage {tensor.storage.key!r} is missing")
    last = tensor.offset + sum((n - 1) * step for n, step in zip(tensor.shape, tensor.strides, strict=True))
    if min(tensor.shape, default=1) < 1 or math.prod(tensor.shape) > flat.size or last >= flat.size:
        raise BadFile(f"a tensor reaches outside its storage {tensor.storage.key!r}")
    strides = tuple(step * flat.itemsize for step in tensor.strides)
    return np.lib.stride_tricks.as_strided(flat[tensor.offset :], tensor.shape, strides, writeable=False).copy()


def _load(file: BinaryIO) -> Any:
    """Reads one pickle of the few shapes that such files hold."""
    machine = _Machine()
    try:
        for opcode, argument, _ in pickletools.genops(file):
            if opcode.name == "STOP":
                return machine.stack.pop()
            machine.step(opcode.name, argument)
    except BadFile:
        raise
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise BadFile(f"damaged: {error}") from error
    raise BadFile("ends too early")


class _Machine:
    """The stack and memo of the interpreter."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def step(self, name: str, argument: Any) -> None:
        if name in _VALUES:
            self.stack.append(argument)
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif name in {"BINPUT", "LONG_BINPUT"}:
            self.memo[argument] = self.stack[-1]
        elif name in {"BINGET", "LONG_BINGET"}:
            self.stack.append(self.memo[argument])
        elif name == "GLOBAL":
            self.stack.append(_name(argument))
        elif name != "PROTO":
            self._structure(name)

    def _structure(self, name: str) -> None:
        handler: Callable[[], None] | None = {
            "MARK": lambda: self.stack.append(_MARK),
            "EMPTY_DICT": lambda: self.stack.append({}),
            "EMPTY_LIST": lambda: self.stack.append([]),
            "EMPTY_TUPLE": lambda: self.stack.append(()),
            "TUPLE": lambda: self.stack.append(tuple(self._since_mark())),
            "TUPLE1": lambda: self.stack.append((self.stack.pop(),)),
            "TUPLE2": lambda: self.stack.append((self.stack.pop(), self.stack.pop())[::-1]),
            "TUPLE3": lambda: self.stack.append((self.stack.pop(), self.stack.pop(), self.stack.pop())[::-1]),
            "APPEND": lambda: self._append(self.stack.pop()),
            "APPENDS": self._appends,
            "SETITEM": lambda: self._set(self.stack.pop(), self.stack.pop()),
            "SETITEMS": self._setitems,
            "BINPERSID": lambda: self.stack.append(_storage(self.stack.pop())),
            "REDUCE": lambda: self.stack.append(_rebuild(self.stack.pop(), self.stack.pop())),
            # torch hangs its own bookkeeping onto the state dictionary; nothing of it is needed.
            "BUILD": lambda: self.stack.pop() and None,
        }.get(name)
        if handler is None:
            raise BadFile(f"opcode {name} has no place in a file of weights")
        handler()

    def _since_mark(self) -> list[Any]:
        items: list[Any] = []
        while (top := self.stack.pop()) is not _MARK:
            items.append(top)
        return items[::-1]

    def _append(self, item: Any) -> None:
        self.stack[-1].append(item)

    def _appends(self) -> None:
        items = self._since_mark()
        self.stack[-1].extend(items)

    def _setitems(self) -> None:
        items = self._since_mark()
        self.stack[-1].update(zip(items[::2], items[1::2], strict=True))

    def _set(self, value: Any, key: Any) -> None:
        self.stack[-1][key] = value


class _Name(NamedTuple):
    """A name that the file refers to; never looked up anywhere."""

    text: str


def _name(text: str) -> _Name:
    if text not in {"collections OrderedDict", "torch._utils _rebuild_tensor_v2", *_STORAGE_TYPES}:
        raise BadFile(f"refers to {text!r}, which has no place in a file of weights")
    return _Name(text)


def _storage(fields: Any) -> _Storage:
    """From the persistent id ("storage", type, key, location, length, view)."""
    kind, storage_type, key, _, length, view = fields
    if kind != "storage" or view is not None or type(length) is not int or length < 0:
        raise BadFile("holds a storage of an unknown kind")
    return _Storage(str(key), _STORAGE_TYPES[storage_type.text], length)


def _rebuild(arguments: Any, function: Any) -> Any:
    """The two calls that occur: an empty ordered dictionary, and a tensor from its storage."""
    if function == _Name("collections OrderedDict") and arguments == ():
        return {}
    if function == _Name("torch._utils _rebuild_tensor_v2"):
        storage, offset, shape, strides = arguments[:4]
        counts = [offset, *shape, *strides]
        if isinstance(storage, _Storage) and len(shape) == len(strides) and all(map(_is_count, counts)):
            return _Tensor(storage, offset, tuple(shape), tuple(strides))
    raise BadFile("calls something that has no place in a file of weights")


def _is_count(number: Any) -> bool:
    return type(number) is int and number >= 0
