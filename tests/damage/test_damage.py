"""The short form of `make damage`: a few hundred files and pages damaged at random, the same ones every time."""

from __future__ import annotations

from pathlib import Path

from damage.index_files import IndexFiles
from damage.pages import Pages

INDEX_CASES = 160
PAGE_CASES = 60


def test_damaged_index_files_cost_time_but_no_answer(tmp_path: Path) -> None:
    files = IndexFiles(tmp_path)
    noticed = sum(files.case(seed).noticed for seed in range(INDEX_CASES))
    assert noticed > INDEX_CASES * 0.8
    assert len(files.counts) > 50  # kinds of file by kinds of harm


def test_damaged_pages_are_found_or_met_and_nothing_is_written_after(tmp_path: Path) -> None:
    pages = Pages(tmp_path)
    outcomes = [pages.case(seed) for seed in range(PAGE_CASES)]
    assert outcomes.count("refused") > 3
    assert outcomes.count("found") > 15
    # SQLite keeps no checksums of pages: what rows do not seal can change unseen (docs/adr/0027). Nothing larger.
    unseen = {seed for seed, outcome in enumerate(outcomes) if outcome == "silent"}
    assert sum(pages.counts[f"{harm} silent"] for harm in ("flip_bit", "flip_bytes")) == len(unseen)
