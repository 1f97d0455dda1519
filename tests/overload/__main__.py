"""Ten times what the server can do: `make overload`, ten minutes of it; writes its part of docs/trust.md.

make overload ARGS="--seconds 40"      the short form, a minute in all; nothing is written to docs/
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from overload.refusals import bare_refusal_ms, refusal_ms
from overload.run import run
from support import trust
from support.server import Server

SECONDS = 600


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="make overload", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of overload")
    parser.add_argument("--record", action="store_true", help="write docs/trust.md although it is not the whole run")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="postil-overload-") as folder:
        server = Server(Path(folder))
        try:
            outcome = run(server, min(30.0, args.seconds / 4), args.seconds)
        finally:
            server.stop()
        seconds = min(10.0, args.seconds / 4)
        refusal, floor = refusal_ms(Path(folder) / "refusing", seconds), bare_refusal_ms(seconds)
    lines = [f"{args.seconds:,.0f} seconds of overload.", *outcome.lines()]
    lines.append(
        f"Refusing a call takes {refusal:.2f} ms of the server's processor when it does nothing else, "
        f"{floor:.2f} ms of a gRPC server's with nothing of ours in it; a good call takes {1e3 / outcome.peak:.1f} ms."
    )
    print("\n".join(lines))
    if args.record or args.seconds >= SECONDS:
        trust.record("overload", f'make overload ARGS="--seconds {args.seconds:g}"', lines)
    return 1 if outcome.misses() else 0


if __name__ == "__main__":
    sys.exit(main())
