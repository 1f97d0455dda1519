"""The figures of `benchmarks/filters.py` as lines of the table, each beside its target."""

from __future__ import annotations

import math
from typing import Any

from benchmarks.report import Row

RECALL = 0.99
MEMORY_MIB = 8192
_MILLION = 1_000_000
_CONCEPT, _TWO = "rank by ", "rank by picture and "


def rows(figures: dict[str, Any]) -> list[Row]:
    """Cells, then growth, then memory where it is promised."""
    lines = [_cell(name, found) for name, found in figures["cells"].items() if name != "no filter"]
    three = figures["cells"].get("three filters")
    if three:
        lines.append(
            Row("three conditions, resolved", f"{three['filter_us']:.0f} µs", "", "< 300 µs", three["filter_us"] < 300)
        )
    lines += [_heads(name, found) for name, found in figures["heads"].items()]
    lines += _growth({int(size): found for size, found in figures["growth"].items()})
    if _MILLION in map(int, figures["growth"]):
        rss = figures["rss_mib"]
        lines.append(Row("memory with 1,000,000", f"{rss:,.0f} MiB", "", "≤ 8 GiB", rss <= MEMORY_MIB))
    return lines


def _cell(name: str, found: dict[str, Any]) -> Row:
    """Recall and throughput; one of them that misses is a miss."""
    least, kind = 0.5, "filter "
    if name.startswith(_TWO):
        least, kind = 0.3, ""
    elif name.startswith(_CONCEPT):
        kind = ""
    share = found["per_s"] / found["plain_per_s"]
    return Row(
        f"{kind}{name}",
        f"{100 * share:.0f} % of a plain search, recall@10 {found['recall']:.4f}",
        f"{found['p50_ms']:.2f} ms; {', '.join(found['plans'])}",
        f"≥ {100 * least:.0f} %, ≥ {RECALL}",
        share >= least and found["recall"] >= RECALL,
    )


def _heads(name: str, found: dict[str, Any]) -> Row:
    """Ranks by what models have learned. Where nothing was prepared, and for softmaxes, no speed is promised."""
    share, promised = found["per_s"] / found["plain_per_s"], name == "apart"
    return Row(
        "rank by a fresh head" + ("" if promised else f", {name}"),
        f"{100 * share:.0f} % of a vector rank, recall@10 {found['recall']:.4f}",
        f"{found['p50_ms']:.2f} ms, slowest {found['slowest_ms']:.1f} ms; "
        f"made ready in {found['prepare_ms']:.0f} ms; {', '.join(found['plans'])}",
        f"≥ 50 %, ≥ {RECALL}" if promised else f"≥ {RECALL}",
        (share >= 0.5 or not promised) and found["recall"] >= RECALL,
    )


def _growth(found: dict[int, dict[str, Any]]) -> list[Row]:
    """Cost by size, beside the logarithm of the size: no more than half as much again as log n would have it."""
    first = min(found)
    lines = []
    for size, one in sorted(found.items()):
        ratio = one["p50_ms"] / found[first]["p50_ms"]
        expected = math.log(size) / math.log(first)
        lines.append(
            Row(
                f"plain search among {size:,}",
                f"{one['p50_ms']:.2f} ms, recall@10 {one['recall']:.4f}",
                f"{ratio:.2f} times that among {first:,}; log n {expected:.2f}",
                f"≤ 1.5 × log n, ≥ {RECALL}" if size != first else f"≥ {RECALL}",
                ratio <= 1.5 * expected and one["recall"] >= RECALL,
            )
        )
    return lines
