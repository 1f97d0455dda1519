"""Puts what a long run found into docs/trust.md, between the markers of that run, with the date and the commit."""

from __future__ import annotations

import datetime as dt
import os
import platform
import re
import subprocess
from pathlib import Path

from support.external import ROOT

PAGE = ROOT / "docs/trust.md"


def record(run: str, command: str, lines: list[str], page: Path = PAGE) -> None:
    """Replaces the part of a run.

    Args:
        run: The name in its markers, `<!-- begin: run NAME -->` and `<!-- end: run NAME -->`.
        command: What repeats it.
        lines: What was counted, a Markdown list item each without the dash.
        page: The document.

    Raises:
        ValueError: The page has no such markers.
    """
    text = page.read_text(encoding="utf-8")
    part = "\n".join([f"{about()} Repeat: `{command}`.", "", *(f"- {line}" for line in lines)])
    pattern = re.compile(rf"(<!-- begin: run {re.escape(run)} -->\n).*?(<!-- end: run {re.escape(run)} -->)", re.DOTALL)
    if not pattern.search(text):
        raise ValueError(f"{page} has no markers for the run {run!r}")
    page.write_text(pattern.sub(lambda found: f"{found[1]}\n{part}\n\n{found[2]}", text), encoding="utf-8")


def about() -> str:
    """When, of what, on what."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()
    today = dt.datetime.now(dt.UTC).date()
    return (
        f"{today}, commit {commit or 'unknown'}, {platform.system()} {platform.machine()}, "
        f"{os.cpu_count()} cores, Python {platform.python_version()}."
    )
