"""The long form: `make fuzz`, ten million calls and pictures, two thousand histories; writes its part of docs/trust.md.

make fuzz ARGS="--calls 100000 --pictures 100000 --histories 0"    a smaller one; nothing is written to docs/
make fuzz ARGS="--seed 7"                                          the same calls and pictures again
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

from fuzz import campaign, pictures
from postil.media.pictures import FORMATS
from support import trust
from support.external import ROOT
from support.server import Server

CALLS, PICTURES, HISTORIES = 10_000_000, 10_000_000, 2000
_ROUND = 50_000  # calls between looks at the clock
_FLAT_MIB = 400


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
    if args.histories and not faults:
        histories(args.histories)
        lines.append(
            f"{args.histories:,} random histories of up to 40 calls, with restarts and kills: as the model says."
        )
    say(*lines, *faults)
    if not faults and (args.record or (args.calls, args.pictures, args.histories) == (CALLS, PICTURES, HISTORIES)):
        trust.record("fuzz", f'make fuzz ARGS="--seed {args.seed} --calls {args.calls}"', lines)
    return 1 if faults else 0


def calls(count: int, seed: int, until: float) -> tuple[list[str], list[str]]:
    """(what was seen, what was wrong) of random calls."""
    if not count:
        return [], []
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder), *campaign.OPTIONS)
        try:
            found = campaign.run(server, min(count, 5000), seed * 1000, tell=say)  # warms it up
            before = campaign.memory(server)
            done = sum(found.calls.values())
            while done < count and not found.faults and time.monotonic() < until:
                found.add(campaign.run(server, min(_ROUND, count - done), seed * 1000 + done, tell=say))
                done = sum(found.calls.values())
            alive = server.process.poll() is None
            after = campaign.memory(server) if alive else 0
            found.faults += campaign.explained(server)
        finally:
            if server.process.poll() is None:
                server.stop()
    if after > before + _FLAT_MIB:
        found.faults.append(f"memory grew from {before} to {after} MiB")
    doors = ", ".join(f"{number:,} {door}" for door, number in found.doors.items())
    said = (
        f"{done:,} random messages to {len(found.calls)} calls ({doors}); {len(found.codes)} status codes met, none of "
        f"them internal; slowest answer {found.slowest:.1f} s; resident memory {before} MiB at first, then {after}."
    )
    return [said], found.faults


def broken_pictures(count: int, seed: int, until: float) -> tuple[list[str], list[str]]:
    """(what was seen, what was wrong) of pictures with something wrong."""
    done, faults = 0, []
    for content in islice(pictures.broken(seed), count):
        problem = pictures.attempt(content)
        done += 1
        if problem:
            faults.append(f"picture {done} of seed {seed}: {problem}")
        if len(faults) > 20 or (done % 1000 == 0 and time.monotonic() > until):
            break
    said = f"{done:,} broken pictures in {len(FORMATS)} formats: opened, or refused with a reason."
    return [said] if done else [], faults


def histories(count: int) -> None:
    """Runs the model check in a process of its own. Raises CalledProcessError."""
    environment = {**os.environ, "POSTIL_HISTORIES": str(count)}
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "tests/fuzz/test_history.py"],
        cwd=ROOT,
        env=environment,
        check=True,
    )


def say(*lines: str) -> None:
    """Prints lines at once."""
    sys.stdout.writelines(f"{line}\n" for line in lines)
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
