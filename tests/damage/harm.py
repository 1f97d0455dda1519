"""What can happen to a file: cut, zeroed, bits flipped, lost, exchanged for another one."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path

BLOCK = 4096
Harm = Callable[[Path, Sequence[Path], random.Random], None]


def truncate(victim: Path, _others: Sequence[Path], rng: random.Random) -> None:
    content = victim.read_bytes()
    victim.write_bytes(content[: rng.randrange(max(1, len(content)))])


def empty(victim: Path, _others: Sequence[Path], _rng: random.Random) -> None:
    victim.write_bytes(b"")


def extend(victim: Path, _others: Sequence[Path], rng: random.Random) -> None:
    victim.write_bytes(victim.read_bytes() + rng.randbytes(rng.randint(1, 64)))


def zero(victim: Path, _others: Sequence[Path], rng: random.Random) -> None:
    content = bytearray(victim.read_bytes())
    start = rng.randrange(max(1, len(content)))
    end = min(len(content), start + rng.choice((1, 16, 512, BLOCK)))
    content[start:end] = bytes(end - start)
    victim.write_bytes(content)


def flip_bit(victim: Path, _others: Sequence[Path], rng: random.Random) -> None:
    content = bytearray(victim.read_bytes())
    if content:
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    victim.write_bytes(content)


def flip_bytes(victim: Path, _others: Sequence[Path], rng: random.Random) -> None:
    content = bytearray(victim.read_bytes())
    for _ in range(rng.randint(1, 50)):
        content[rng.randrange(len(content))] ^= rng.randint(1, 255)
    victim.write_bytes(content)


def garbage(victim: Path, _others: Sequence[Path], rng: random.Random) -> None:
    victim.write_bytes(rng.randbytes(victim.stat().st_size))


def lose(victim: Path, _others: Sequence[Path], _rng: random.Random) -> None:
    victim.unlink()


def swap(victim: Path, others: Sequence[Path], rng: random.Random) -> None:
    """Exchanges two files of one folder: each is whole, and in the wrong place."""
    other = rng.choice([path for path in others if path != victim])
    mine, theirs = victim.read_bytes(), other.read_bytes()
    victim.write_bytes(theirs)
    other.write_bytes(mine)


def shift(victim: Path, _others: Sequence[Path], rng: random.Random) -> None:
    """A block was written to the place of another."""
    content = bytearray(victim.read_bytes())
    if len(content) > 2 * 64:
        size = rng.choice((64, min(BLOCK, len(content) // 2)))
        start, end = rng.randrange(len(content) - size + 1), rng.randrange(len(content) - size + 1)
        content[end : end + size] = content[start : start + size]
    victim.write_bytes(content)


HARMS: tuple[Harm, ...] = (
    truncate,
    empty,
    extend,
    zero,
    flip_bit,
    flip_bytes,
    garbage,
    lose,
    swap,
    shift,
)
