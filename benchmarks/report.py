"""Figures to a table with targets, to JSON, and to docs/benchmarks.md."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.processes import ROOT

Figures = dict[str, float]

RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "benchmarks.md"
_MARK = "<!-- peers -->"
_EXACTNESS = "<!-- exactness: written by hand after `make exactness` -->"
_PACKAGES = ("grpcio", "protobuf", "hnswlib", "numpy", "onnxruntime", "pyroaring")


class Row(NamedTuple):
    """One line of the table."""

    what: str
    value: str
    beside: str
    target: str
    holds: bool | None  # None: no target


def rows(f: Figures) -> list[Row]:
    """Every figure beside what it is compared with."""
    return [
        *_searching(f),
        *_writing(f),
        *(_beside(f) if "own_writes" in f else ()),
        *_running(f),
        *(_http(f) if "json_page_curl_median_ms" in f else ()),
    ]


def _searching(f: Figures) -> list[Row]:
    recall = f"recall@10 {f['postil_recall']:.3f}"
    return [
        Row("recall@10", f"{f['postil_recall']:.4f}", "an exact scan", "≥ 0.98", f["postil_recall"] >= 0.98),
        Row(
            f"search, 1 client, p50 ({recall})",
            f"{f['postil_c1_p50_ms']:.2f} ms",
            f"floor {f['floor_c1_p50_ms']:.2f} ms; hnswlib in process {f['hnswlib_p50_ms']:.2f} ms",
            "≤ floor + 0.3 ms",
            f["postil_c1_p50_ms"] <= f["floor_c1_p50_ms"] + 0.3,
        ),
        Row(
            f"search, 1 client, p99 ({recall})",
            f"{f['postil_c1_p99_ms']:.2f} ms",
            f"floor {f['floor_c1_p99_ms']:.2f} ms",
            "",
            None,
        ),
        Row(
            f"search, 8 clients ({recall})",
            f"{f['postil_c8_per_s']:,.0f}/s",
            f"floor {f['floor_c8_per_s']:,.0f}/s ({_share(f, 'postil_c8_per_s', 'floor_c8_per_s')}); "
            f"hnswlib in process {f['hnswlib_c8_per_s']:,.0f}/s at recall@10 {f['hnswlib_recall']:.3f}",
            "≥ 80 % of the floor",
            f["postil_c8_per_s"] >= 0.8 * f["floor_c8_per_s"],
        ),
    ]


def _writing(f: Figures) -> list[Row]:
    slower = f["loading_search_p99_ms"] / f["postil_c1_p99_ms"]
    return [
        Row(
            "vectors loaded: acknowledged, durable, searchable",
            f"{f['load_per_s']:,.0f}/s",
            f"building one graph in process {f['hnswlib_build_per_s']:,.0f}/s",
            "≥ 3,500/s",
            f["load_per_s"] >= 3500,
        ),
        Row(
            "search p99 while loading",
            f"{f['loading_search_p99_ms']:.2f} ms",
            f"idle {f['postil_c1_p99_ms']:.2f} ms ({slower:.1f} times); loading {f['loading_load_per_s']:,.0f}/s",
            "≤ 3 × idle",
            slower <= 3,
        ),
        Row(
            "annotations, batches of 128",
            f"{f['annotations_bulk_per_s']:,.0f}/s",
            "",
            "≥ 8,000/s",
            f["annotations_bulk_per_s"] >= 8000,
        ),
        Row(
            "annotations, one at a time, 16 clients",
            f"{f['annotations_single_per_s']:,.0f}/s",
            f"p50 {f['annotations_single_p50_ms']:.1f} ms, p99 {f['annotations_single_p99_ms']:.1f} ms",
            "≥ 1,500/s",
            f["annotations_single_per_s"] >= 1500,
        ),
    ]


def _beside(f: Figures) -> list[Row]:
    slower = f["one_writer_p99_ms"] / f["postil_c1_p99_ms"]
    return [
        Row(
            "searches for what another client has just written",
            f"{f['own_writes_missed']:.0f} of {f['own_writes']:.0f} did not find it",
            "",
            "none",
            f["own_writes_missed"] == 0,
        ),
        Row(
            "search p99 beside one writer",
            f"{f['one_writer_p99_ms']:.2f} ms",
            f"idle {f['postil_c1_p99_ms']:.2f} ms ({slower:.1f} times); writing {f['one_writer_per_s']:,.0f}/s",
            "≤ 3 × idle",
            slower <= 3,
        ),
    ]


def _running(f: Figures) -> list[Row]:
    return [
        Row(
            "pictures posted, embedded, searchable",
            f"{f['pictures_per_s']:,.0f}/s",
            f"onnxruntime alone {f['onnxruntime_per_s']:,.0f}/s ({_share(f, 'pictures_per_s', 'onnxruntime_per_s')})",
            "≥ 70 %",
            f["pictures_per_s"] >= 0.7 * f["onnxruntime_per_s"],
        ),
        Row(
            "ready again after kill -9",
            f"{f['restart_s']:.2f} s",
            f"first searches p50 {f['restart_first_p50_ms']:.2f} ms",
            "≤ 2 s",
            f["restart_s"] <= 2,
        ),
        Row(
            "resident memory after the load",
            f"{f['rss_mib']:,.0f} MiB",
            f"vectors alone {f['raw_mib']:,.0f} MiB; after a restart {f['restart_rss_mib']:,.0f} MiB",
            "≤ 2.5 × vectors + 200 MiB",
            max(f["rss_mib"], f["restart_rss_mib"]) <= 2.5 * f["raw_mib"] + 200,
        ),
    ]


def _http(f: Figures) -> list[Row]:
    door, bare = f["json_8_json_door_alone_rate"], f["json_8_bare_starlette_rate"]
    cpu = f["json_8_bare_starlette_cpu_us"] / f["json_8_json_door_alone_cpu_us"]
    one = f["json_1_json_door_alone_rate"] / f["json_1_bare_starlette_rate"]
    page, rpc = f["json_page_curl_median_ms"], f["json_page_grpc_door_median_ms"]
    return [
        Row(
            "JSON door with the answer at hand, 8 clients",
            f"{door:,.0f}/s",
            f"bare Starlette handler, same bytes {bare:,.0f}/s ({100 * door / bare:.0f} %; by CPU {100 * cpu:.0f} %; "
            f"1 client {100 * one:.0f} %)",
            "≥ 50 %",
            door >= 0.5 * bare,
        ),
        Row(
            "first page as curl asks for it, new connection, p50",
            f"{page:.2f} ms",
            f"gRPC {rpc:.2f} ms",
            "≤ gRPC + 2 ms",
            page <= rpc + 2,
        ),
    ]


def _share(f: Figures, part: str, whole: str) -> str:
    return f"{100 * f[part] / f[whole]:.0f} %"


def facts() -> dict[str, Any]:
    """When, what and where."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": _commit(),
        "machine": f"{os.cpu_count()} × {_processor()}",
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
    }


def _commit() -> str:
    git = ["git", "-C", str(ROOT)]
    try:
        head = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
        changed = subprocess.run(
            [*git, "status", "--porcelain", "-uno", "server"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head.stdout.strip() + (" with changes" if changed.stdout.strip() else "")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "-"


def keep(name: str, content: dict[str, Any]) -> Path:
    """Writes one result as JSON; gives the file."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(content, indent=2) + "\n")
    return path


def table(lines: list[Row]) -> str:
    """Markdown."""
    shown = {True: "yes", False: "**no**", None: ""}
    body = [f"| {r.what} | {r.value} | {r.beside} | {r.target} | {shown[r.holds]} |" for r in lines]
    return "\n".join(
        ["| what | figure | beside it, in the same run | target | holds |", "|---|---|---|---|---|", *body]
    )


def page(lines: list[Row], cells: list[Row], about: dict[str, Any], load: str) -> str:
    """docs/benchmarks.md, keeping the parts about exactness and peers that are there."""
    before = PAGE.read_text() if PAGE.exists() else ""
    peers = before.partition(_MARK)[2] if _MARK in before else "\n\nNot measured yet: `make bench-peers`.\n"
    packages = ", ".join(f"{name} {number}" for name, number in about["packages"].items())
    exactness = before.partition(_EXACTNESS)[2].partition(_MARK)[0] or "\n\nNot run yet.\n\n## Peers\n\n"
    return f"""# Benchmarks

Written by `make bench`; do not edit. Measured {about["date"]} at commit {about["commit"]} on {about["machine"]},
Python {about["python"]}, {packages}. Clients are ordinary stubs in processes of their own and share these cores.

{load}

{table(lines)}

The *floor* is a bare grpcio server of the product's kind, in a process of its own, that parses the same request, asks
one hnswlib graph at the recall named, and returns a stored response of the same size (`benchmarks/floor.py`). Floor and
product are measured by turns in one run; compare ratios, not runs. Figures of commits depend on the disk: on a disk
that takes milliseconds to flush, annotations sent one at a time are as fast as flushes are shared.

## Filters, ranks and growth

Searches in process, one client, on the same kind of load with concepts of 50, 10, 1, 0.1 and 0.01 % ("half" to "few")
and one whose pictures lie together ("cluster"); a plain search is measured beside every cell. Recall is against an
exact scan (`benchmarks/filters.py`). A million is measured by `make bench-million` alone.

{table(cells)}

## Exactness

{_EXACTNESS}{exactness}{_MARK}{peers}"""


def write_peers(text: str) -> None:
    """Replaces the part about peers in docs/benchmarks.md."""
    before = PAGE.read_text() if PAGE.exists() else f"# Benchmarks\n\n## Peers\n\n{_MARK}"
    PAGE.write_text(before.partition(_MARK)[0] + _MARK + "\n\n" + text)
