"""Measures speed and memory on one load, beside what they are compared with in the same run.

python -m benchmarks            the whole load: 100,000 vectors of 512 numbers, some minutes; writes docs/benchmarks.md
python -m benchmarks --quick    a small one, to see that everything runs; its figures mean little
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from benchmarks import filter_report, report
from benchmarks.measures import QUICK, Bench, Scale
from benchmarks.processes import ROOT


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="make bench", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a small load, nothing written to docs/")
    parser.add_argument("--vectors", type=int, help="how many vectors; nothing written to docs/")
    parser.add_argument("--strict", action="store_true", help="fail when a target does not hold")
    args = parser.parse_args()
    scale = QUICK if args.quick else Scale(vectors=args.vectors) if args.vectors else Scale()
    with tempfile.TemporaryDirectory(prefix="postil-bench-", ignore_cleanup_errors=True) as folder:
        bench = Bench(scale, Path(folder))
        figures = bench.run()
    lines, cells = report.rows(figures), filter_report.rows(bench.cells)
    about = report.facts()
    measured = {**about, "scale": asdict(scale), "figures": figures, "filters": bench.cells}
    kept = report.keep("quick" if args.quick else "bench", measured)
    print(report.table([*lines, *cells]))
    print(f"\n{kept.relative_to(ROOT)}")
    if scale == Scale():
        report.PAGE.write_text(report.page(lines, cells, about, describe(scale)))
        print(report.PAGE.relative_to(ROOT))
    lines += cells
    missed = [line.what for line in lines if line.holds is False]
    print(
        f"{sum(line.holds is True for line in lines)} targets hold, {len(missed)} do not"
        + (f": {'; '.join(missed)}" if missed else "")
    )
    return 1 if missed and args.strict else 0


def describe(scale: Scale) -> str:
    """The load in words."""
    return (
        f"The load: {scale.vectors:,} vectors of {scale.dim} numbers, a clustered mixture on the sphere, each\n"
        "with about 300 bytes of concepts and metadata, sent through PostInputs as client vectors in batches of 128\n"
        f"by two clients; ten hits a search, {scale.queries:,} queries that are not among the vectors."
    )


if __name__ == "__main__":
    sys.exit(main())
