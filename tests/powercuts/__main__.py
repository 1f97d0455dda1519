"""The long form: `make powercuts`, 300 power cuts below whole servers; writes its part of docs/trust.md.

make powercuts ARGS="--cuts 20"        a smaller one; nothing is written to docs/
make powercuts ARGS="--cuts 20 --lie"  on a disk that says it has synced and has not, to see that the loss is found
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from crash.supervisor import SOUND, Broken
from postil import logs
from powercuts.run import run
from support import trust

CUTS = 300
_MEMORY = Path("/dev/shm")  # noqa: S108 - where Linux keeps a RAM disk


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="make powercuts", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cuts", type=int, default=CUTS)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop after so long, whatever is reached")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--lie", action="store_true", help="fsync does nothing")
    parser.add_argument("--record", action="store_true", help="write docs/trust.md although it is not the whole run")
    args = parser.parse_args()
    logs.configure("warning", "console")
    folder = Path(tempfile.mkdtemp(prefix="postil-powercuts-", dir=_MEMORY if _MEMORY.is_dir() else None))
    until = time.monotonic() + args.minutes * 60
    print(f"seed {args.seed}, in {folder}", flush=True)
    try:
        lines = run(
            folder,
            args.seed,
            args.cuts,
            lie=args.lie,
            go_on=lambda: time.monotonic() < until,
            tell=partial(print, flush=True),
        )
    except Broken as broken:
        print(broken, file=sys.stderr)
        return 1
    shutil.rmtree(folder)
    lines.append(SOUND)
    print("\n".join(lines))
    if args.record or (args.cuts >= CUTS and not args.lie):
        trust.record("powercuts", f'make powercuts ARGS="--seed {args.seed} --cuts {args.cuts}"', lines)
    return 0


if __name__ == "__main__":
    sys.exit(main())
