"""The long form: `make powerloss`, 10,000 images; writes its part of docs/trust.md.

make powerloss ARGS="--images 500"   a smaller one; nothing is written to docs/
make powerloss ARGS="--normal"       with synchronous=NORMAL, to see that the loss would be found
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from postil import logs
from powerloss.images import examine
from support import trust

IMAGES = 10_000
_PER_RECORDING = 400


def main() -> int:
    parser = argparse.ArgumentParser(prog="make powerloss", description=__doc__)
    parser.add_argument("--images", type=int, default=IMAGES)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--writes", type=int, default=60, help="acknowledged writes in a recording, about")
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("--normal", action="store_true", help="synchronous=NORMAL instead of FULL")
    parser.add_argument("--record", action="store_true", help="write docs/trust.md although it is not the whole run")
    args = parser.parse_args()
    logs.configure("error", "console")
    until = time.monotonic() + args.minutes * 60
    total, recordings, events, writes = 0, 0, 0, 0
    images: Counter[str] = Counter()
    failed: list[str] = []
    while total < args.images and time.monotonic() < until:
        with tempfile.TemporaryDirectory(prefix="postil-powerloss-") as folder:
            count = min(_PER_RECORDING, args.images - total)
            outcome = examine(Path(folder), args.seed + recordings, count, args.writes, full=not args.normal)
        total, recordings = total + outcome.images.total(), recordings + 1
        events, writes = events + outcome.events, writes + outcome.writes
        images += outcome.images
        failed += outcome.findings
        print(f"{total} images of {recordings} recordings, {len(failed)} with findings", flush=True)
        if failed and not args.normal:
            break
    lines = summary(total, recordings, events, writes, images, failed)
    print("\n".join(lines))
    print("\n".join(failed[:10]), file=sys.stderr)
    if args.record or (total >= IMAGES and not failed and not args.normal):
        trust.record("powerloss", f'make powerloss ARGS="--seed {args.seed} --images {total}"', lines)
    return 1 if failed else 0


def summary(
    total: int, recordings: int, events: int, writes: int, images: Counter[str], failed: list[str]
) -> list[str]:
    """For people."""
    kinds = ", ".join(f"{count:,} {name}" for name, count in images.most_common())
    recorded = f"{events:,} writes, syncs and changes of names, {writes:,} acknowledged calls"
    return [
        f"{total:,} images ({kinds}).",
        f"They are of {recordings} recordings: {recorded}.",
        f"{len(failed)} of them with findings.",
    ]


if __name__ == "__main__":
    sys.exit(main())
