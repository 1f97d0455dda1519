"""The long form: `make crash`, 1,000 kills and 200,000 acknowledged writes; writes its part of docs/trust.md.

make crash ARGS="--kills 50"                 a smaller one; nothing is written to docs/
make crash ARGS="--seed 7 --moment commit.after"   one moment again and again
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from crash.armed import MOMENTS
from crash.supervisor import SOUND, Broken, Supervisor
from crash.victim import Plan
from postil import logs
from support import trust

KILLS, WRITES = 1000, 200_000


def main() -> int:
    parser = argparse.ArgumentParser(prog="make crash", description=__doc__)
    parser.add_argument("--kills", type=int, default=KILLS)
    parser.add_argument("--writes", type=int, default=None, help="acknowledged items; goes on until both are reached")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop after so long, whatever is reached")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--moment", choices=sorted(MOMENTS), help="kill at this moment only")
    parser.add_argument("--record", action="store_true", help="write docs/trust.md although it is not the whole run")
    args = parser.parse_args()
    writes = args.writes if args.writes is not None else WRITES * args.kills // KILLS
    logs.configure("warning", "console")
    folder = Path(tempfile.mkdtemp(prefix="postil-crash-"))
    supervisor = Supervisor(folder, args.seed)
    tally, until = supervisor.tally, time.monotonic() + args.minutes * 60
    print(f"seed {args.seed}, in {folder}", flush=True)
    try:
        while (tally.all_kills < args.kills or tally.items < writes) and time.monotonic() < until:
            supervisor.run(Plan(args.moment, 1 + tally.all_kills % MOMENTS[args.moment]) if args.moment else None)
            if tally.all_kills % 10 == 0:
                print(f"{tally.all_kills} kills, {tally.calls} calls, {tally.items} items acknowledged", flush=True)
        supervisor.close()
    except Broken as broken:
        print("\n".join(tally.lines()), broken, sep="\n", file=sys.stderr)
        return 1
    lines = [*tally.lines(), SOUND]
    print("\n".join(lines))
    if args.record or (tally.all_kills >= KILLS and tally.items >= WRITES):
        trust.record("crash", f'make crash ARGS="--seed {args.seed} --kills {tally.all_kills}"', lines)
    return 0


if __name__ == "__main__":
    sys.exit(main())
