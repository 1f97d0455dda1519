"""The long form: `make fuzz`, ten million calls and pictures, two thousand histories; writes its part of docs/trust.md.

make fuzz ARGS="--calls 100000 --pictures 100000 --histories 0"    a smaller one; nothing is written to docs/
make fuzz ARGS="--seed 7"                                          the same calls and pictures again
make fuzz ARGS="--calls 0 --pictures 0 --minutes 30"               histories alone, as many as there is time for
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path

from fuzz import campaign, history, pictures
from fuzz.breeding import Herd
from postil.media.pictures import FORMATS
from support import trust
from support.server import Server

CALLS, PICTURES, HISTORIES = 10_000_000, 10_000_000, 2000
_ROUND = 20_000  # calls in one app
_PART = 20_000  # pictures between looks at the clock
_FLAT_MIB = 400
_ENOUGH = 100  # faults to look into


def main() -> int:
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--calls", type=int, default=CALLS)
    parser.add_argument("--pictures", type=int, default=PICTURES)
    parser.add_argument("--histories", type=int, default=HISTORIES)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop after so long, whatever is reached")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--record", action="store_true", help="write docs/trust.md although it is not the whole run")
    args = parser.parse_args()
    until = time.monotonic() + args.minutes * 60
    lines, faults = calls(args.calls, args.seed, until)
    more, bad = broken_pictures(args.pictures, args.seed, until)
    lines, faults = lines + more, faults + bad
    if not faults:
        more, bad = histories(args.histories, until)
        lines, faults = lines + more, faults + bad
    say(*lines, *faults)
    if not faults and (args.record or (args.calls, args.pictures, args.histories) == (CALLS, PICTURES, HISTORIES)):
        trust.record("fuzz", f'make fuzz ARGS="--seed {args.seed} --calls {args.calls}"', lines)
    return 1 if faults else 0


def calls(count: int, seed: int, until: float) -> tuple[list[str], list[str]]:
    """(what was seen, what was wrong) of random calls."""
    if not count:
        return [], []
    with tempfile.TemporaryDirectory() as folder:
        server = campaign.Victim(Path(folder), *campaign.OPTIONS)
        try:
            found, sizes = _rounds(server, count, seed, until)
            found.faults += campaign.explained(server)
        finally:
            if server.process.poll() is None:
                server.stop()
    early, late = sizes[len(sizes) // 10], sizes[-1]
    if late > early + _FLAT_MIB:
        found.faults.append(f"memory grew from {early} to {late} MiB")
    done, good = found.calls.total(), found.good.total()
    doors = ", ".join(f"{number:,} {door}" for door, number in found.doors.items())
    said = (
        f"{done:,} random calls of {len(found.calls)} RPCs ({doors}); {good:,} ({good / done:.0%}) went well, "
        f"{len(+found.good)} RPCs among them; {len(found.codes)} status codes met, none of them internal; "
        f"slowest answer {found.slowest:.1f} s; resident memory {early} MiB after a tenth, {late} at the end."
    )
    return [said], found.faults


def _rounds(server: campaign.Victim, count: int, seed: int, until: float) -> tuple[campaign.Tally, list[int]]:
    """(what was seen, MiB after each round), an app a round."""
    found, herd, done = campaign.Tally(), Herd(), 0
    sizes: list[int] = []
    while done < count and len(found.faults) < _ENOUGH and server.process.poll() is None and time.monotonic() < until:
        found.add(campaign.run(server, min(_ROUND, count - done), seed * 1000 + len(sizes), herd=herd, tell=say))
        done = found.calls.total()
        if server.process.poll() is None:
            sizes.append(campaign.memory(server))
            say(f"round {len(sizes)}: {done:,} calls, {found.good.total() / done:.0%} went well, {sizes[-1]} MiB")
    say("never went well: " + ", ".join(sorted(found.calls.keys() - (+found.good).keys())))
    return found, sizes or [0]


def broken_pictures(count: int, seed: int, until: float) -> tuple[list[str], list[str]]:
    """(what was seen, what was wrong) of pictures with something wrong, opened in a process that may die of them."""
    done, slowest, size, part = 0, 0.0, 0, seed * 10_000
    faults: list[str] = []
    with ProcessPoolExecutor(1, get_context("spawn"), initializer=pictures.quiet) as opener:
        while done < count and not faults and time.monotonic() < until:
            number = min(_PART, count - done)
            try:
                wrong, slow, size = opener.submit(pictures.campaign, part, number).result()
            except BrokenProcessPool:  # it crashed, or was ended after too long
                faults.append(f"the process that opened pictures of seed {part} died")
                break
            faults += [f"a picture of seed {part}: {one}" for one in wrong]
            done, slowest, part = done + number, max(slowest, slow), part + 1
            say(f"{done:,} pictures, slowest {slowest:.2f} s, {size} MiB")
    said = (
        f"{done:,} broken pictures in {len(FORMATS)} formats: opened, or refused with a reason; the slowest took "
        f"{slowest:.2f} s; at most {size} MiB resident."
    )
    return [said] if count else [], faults


def histories(count: int, until: float) -> tuple[list[str], list[str]]:
    """(what was seen, what was wrong) of random histories beside the model."""
    if not count:
        return [], []
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder))
        try:
            seen, wrong = history.live(server, count, until, tell=say)
        finally:
            if server.process.poll() is None:
                server.stop()
    said = (
        f"{seen['histories']:,} random histories of up to {history.STEPS} calls, {seen['calls']:,} calls in all, with "
        f"{seen['restarts']:,} restarts and {seen['kills']:,} kills among them: as the model says."
    )
    return [said] if seen and not wrong else [], [wrong] if wrong else []


def say(*lines: str) -> None:
    """Prints lines at once."""
    sys.stdout.writelines(f"{line}\n" for line in lines)
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
