"""Reads a table of concept names in other languages: CSV or TSV, UTF-8, with or without a line of headings.

Columns are concept (an id), language (a code), name, and optionally definition; headings may put them in any order.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from postil.core.languages import problem as language_problem

COLUMNS = ("concept", "language", "name", "definition")
_NEEDED = COLUMNS[:3]


class Row(NamedTuple):
    """One name."""

    line: int  # of the file, from 1
    concept: str
    language: str
    name: str
    definition: str


class Problem(NamedTuple):
    """What is wrong with one line."""

    line: int
    text: str


class Table(NamedTuple):
    """What a file holds."""

    rows: list[Row]
    problems: list[Problem]


def read(path: Path) -> Table:
    """Reads the whole file. Raises OSError."""
    table = Table([], [])
    content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        table.problems.append(Problem(line, f"is not UTF-8 ({error.reason}); save the file as UTF-8"))
        return table
    first: dict[tuple[str, str], int] = {}
    for line, cells in _lines(text, table.problems):
        row = Row(line, *cells)
        wrong = _problem(row, first)
        if wrong:
            table.problems.append(Problem(line, wrong))
        else:
            first[row.concept, row.language] = line
            table.rows.append(row)
    return table


def _lines(text: str, problems: list[Problem]) -> Iterator[tuple[int, list[str]]]:
    """Line number and the cells in the order of COLUMNS, of every line that is not blank."""
    reader = csv.reader(text.splitlines(keepends=True), delimiter=_delimiter(text), strict=True)
    order: Sequence[int] | None = None
    try:
        for cells in reader:
            stripped = [cell.strip() for cell in cells]
            if not any(stripped):
                continue
            if order is None:
                headings = [cell.casefold() for cell in stripped]
                order = _order(headings)
                if order is not None:
                    continue
                order = range(len(COLUMNS))
            if not len(_NEEDED) <= len(stripped) <= max(len(COLUMNS), max(order) + 1):
                count = f"{len(stripped)} columns" if len(stripped) > 1 else "one column"
                problems.append(Problem(reader.line_num, f"has {count}; needed are {', '.join(COLUMNS)} (optional)"))
                continue
            yield reader.line_num, [stripped[i] if 0 <= i < len(stripped) else "" for i in order]
    except csv.Error as error:
        problems.append(Problem(reader.line_num, f"cannot be read: {error}"))


def _delimiter(text: str) -> str:
    """What separates the first line: a tab, else a comma, else a semicolon."""
    first = text.lstrip().partition("\n")[0]
    return next((mark for mark in ("\t", ",", ";") if mark in first), ",")


def _order(headings: list[str]) -> list[int] | None:
    """Where each of COLUMNS stands, -1 for nowhere; None when the line is no headings."""
    if not set(_NEEDED) <= set(headings):
        return None
    return [headings.index(name) if name in headings else -1 for name in COLUMNS]


def _problem(row: Row, first: dict[tuple[str, str], int]) -> str:
    empty = [name for name in _NEEDED if not getattr(row, name)]
    if empty:
        return f"the {empty[0]} is empty"
    wrong = language_problem(row.language)
    if wrong:
        return f"the language {row.language[:60]!r} {wrong}"
    before = first.get((row.concept, row.language))
    if before is not None:
        return f"names concept {row.concept[:60]!r} in {row.language!r} again, after line {before}"
    return ""
