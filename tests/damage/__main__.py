"""`make damage`: the long form. Arguments: index cases, page cases, first seed."""

from __future__ import annotations

import logging
import sys
import tempfile
import time
from pathlib import Path

import structlog

from damage.index_files import IndexFiles
from damage.pages import Pages
from support.trust import record


def main(index_cases: int = 10_000, page_cases: int = 1_000, seed: int = 0) -> int:
    """Runs the cases and writes what came of them into docs/trust.md."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    logging.disable(logging.CRITICAL)
    lines = [_index(index_cases, seed), *_pages(page_cases, seed)]
    print("\n".join(lines))
    record("damage", "make damage", lines)
    return 0


def _index(cases: int, seed: int) -> str:
    began, noticed = time.monotonic(), 0
    with tempfile.TemporaryDirectory(prefix="postil-damage-") as folder:
        files = IndexFiles(Path(folder))
        for number in range(seed, seed + cases):
            noticed += files.case(number).noticed
            if not (number + 1) % 500:
                print(f"{number + 1 - seed} index cases, {time.monotonic() - began:.0f} s", flush=True)
    return (
        f"Index files: {cases:,} cases over {len(files.counts)} pairs of file kind and harm. {noticed:,} changed a"
        " file: each was noticed before native code read it, answers were exact, no process died, and after every"
        f" eighth case the files were found whole again. The other {cases - noticed:,} left the bytes as they were."
    )


def _pages(cases: int, seed: int) -> list[str]:
    with tempfile.TemporaryDirectory(prefix="postil-damage-") as folder:
        pages = Pages(Path(folder))
        for number in range(seed, seed + cases):
            pages.case(number)
        counts = pages.counts
    flips = sum(counts[f"{harm} silent"] for harm in ("flip_bit", "flip_bytes"))
    noticed = (
        f"Database pages: {cases:,} cases, {cases - counts['same']:,} of which changed what can be read."
        f" {counts['refused']:,} kept the server from starting, {counts['found']:,} were found by the check of the"
        f" pages that follows a start, {counts['verify']:,} by `postil verify`, {counts['read']:,} by a read."
        " Every error named a remedy; no crash."
    )
    unseen = (
        f"Not noticed: {counts['silent']:,} cases ({flips:,} of them flipped bits or bytes in a page). SQLite keeps no"
        " checksums of pages; rows have their own (docs/adr/0027)."
    )
    return [noticed, unseen]


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
