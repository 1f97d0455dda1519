"""`postil concepts`: what people do to many concepts of a running server at once."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path
from typing import Any

import click
import grpc
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from postil.commands import languages_file
from postil.commands.languages_file import Problem, Row
from postil.v1.concept_pb2 import ConceptLanguage
from postil.v1.concept_service_pb2 import PatchConceptLanguagesRequest
from postil.v1.concept_service_pb2_grpc import ConceptsStub
from postil_client import Client, PostilError

SHOWN = 50  # problems printed; the rest are counted
_AT_ONCE = 8  # calls; the server commits those that come together in one go
_PER_CALL = 128
_ITEM = re.compile(r"concept_languages\[(\d+)\]: ")


def import_languages(file: Path, client: Client) -> int:
    """Sends every name of the file; prints what went wrong, line by line. Gives the exit code.

    Nothing is sent while the file has a line that cannot be read. A name that is there already is replaced.
    """
    try:
        table = languages_file.read(file)
    except OSError as error:
        return _refuse(f"{file}: {error.strerror or error}")
    if table.problems:
        _print(file, table.problems)
        return _refuse(f"{file}: {_counted(len(table.problems), 'line')} cannot be used; nothing was sent")
    try:
        problems = _send(table.rows, client)
    except grpc.RpcError as error:
        return _refuse(f"the server cannot be reached or broke off: {_reason(error)}; run the command again to go on")
    _print(file, problems)
    done = len(table.rows) - len(problems)
    languages, concepts = len({row.language for row in table.rows}), len({row.concept for row in table.rows})
    click.echo(
        f"{_counted(done, 'name')} of {len(table.rows)} kept "
        f"({_counted(languages, 'language')}, {_counted(concepts, 'concept')} in the file)"
    )
    return 1 if problems else 0


def _send(rows: Sequence[Row], client: Client) -> list[Problem]:
    """Raises grpc.RpcError when the server is not there."""
    rpc = ConceptsStub(client.channel).PatchConceptLanguages
    problems: list[Problem] = []

    def send(part: Sequence[Row]) -> list[Problem]:
        request = PatchConceptLanguagesRequest(concept_id=part[0].concept, action="merge")
        request.concept_languages.extend(
            ConceptLanguage(id=row.language, name=row.name, definition=row.definition) for row in part
        )
        try:
            client.call(rpc, request)
        except PostilError as error:
            return _told(part, error)
        return []

    parts = list(_parts(rows))
    with _progress() as progress, ThreadPoolExecutor(_AT_ONCE) as pool:
        task = progress.add_task("naming concepts", total=len(rows))
        for part, found in zip(parts, pool.map(send, parts), strict=True):
            problems += found
            progress.advance(task, len(part))
    return sorted(problems)


def _parts(rows: Sequence[Row]) -> Iterator[list[Row]]:
    """The rows of one concept together, as many as a call takes."""
    for _, of_concept in groupby(sorted(rows, key=lambda row: row.concept), key=lambda row: row.concept):
        whole = list(of_concept)
        for start in range(0, len(whole), _PER_CALL):
            yield whole[start : start + _PER_CALL]


def _told(part: Sequence[Row], error: PostilError[Any]) -> list[Problem]:
    """The server's refusal, at the line that it is about; the call's other lines were not kept either."""
    text = f"{error.code} {error.details or error.description}"
    item = _ITEM.search(error.details)
    if item is None:
        return [Problem(row.line, text) for row in part]
    at_fault = part[int(item[1])]
    others = [row for row in part if row is not at_fault]
    return [
        Problem(at_fault.line, text.replace(item[0], "")),
        *(Problem(row.line, f"not sent, because of line {at_fault.line}") for row in others),
    ]


def _reason(error: Any) -> str:
    """What gRPC says; errors of calls have details, others only text."""
    return str(error.details()) if hasattr(error, "details") else str(error)


def _print(file: Path, problems: Sequence[Problem]) -> None:
    for problem in problems[:SHOWN]:
        click.echo(f"{file}:{problem.line}: {problem.text}", err=True)
    if len(problems) > SHOWN:
        click.echo(f"… and {len(problems) - SHOWN} lines more", err=True)


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _refuse(text: str) -> int:
    click.echo(f"postil: {text}", err=True)
    return 1


def _progress() -> Progress:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, disable=not sys.stderr.isatty())
