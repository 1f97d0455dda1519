"""`postil backup`, `restore`, `verify` and `rebuild-index`: what is done to directories, in words for a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from postil import upkeep
from postil.store import backup as backups
from postil.store.backup import Description, Unusable

_MB = 1e6


def backup(data_dir: Path, destination: Path, reuse: Path | None) -> int:
    """Takes a backup; gives the exit code. Raises Unusable, OSError."""
    with _bars() as progress:
        taken = backups.take(data_dir, destination, reuse=reuse, progress=progress)
    click.echo(f"{destination}: {_told(taken)}")
    return 0


def restore(source: Path, data_dir: Path) -> int:
    """Puts a backup back; gives the exit code. Raises Unusable, DirectoryInUse, OSError."""
    with _bars() as progress:
        put = backups.restore(source, data_dir, progress)
    click.echo(f"{data_dir}: {_told(put)}")
    click.echo(f"start it with: postil serve --data-dir {data_dir}")
    return 0


def verify(path: Path) -> int:
    """Prints what is wrong with a backup or a data directory; gives the exit code. Raises what cannot be looked at."""
    if not path.is_dir():
        raise Unusable(f"{path} is not a directory")
    with _bars() as progress:
        found = backups.problems(path, progress) if _is_backup(path) else upkeep.verify_directory(path)
        findings = list(found)
    for line in findings:
        click.echo(line)
    click.echo(f"{path}: {_count(len(findings), 'problem') if findings else 'clean'}")
    return 1 if findings else 0


def rebuild_index(data_dir: Path, *, drop: bool) -> int:
    """Builds the index anew; gives the exit code: 1 while vectors are lost. Raises what `upkeep.rebuild_index` does."""
    if not data_dir.is_dir():
        raise Unusable(f"{data_dir} is not a directory")
    with _bars() as progress:
        built = upkeep.rebuild_index(data_dir, drop=drop, progress=lambda done, of: progress("building", done, of))
    for line in built.lost:
        click.echo(line)
    if built.mended:
        click.echo(f"{_count(built.mended, 'damaged vector')} mended from the old index")
    if built.lost and not drop:
        click.echo("Run again with --drop-damaged to take them out; then post their inputs or vectors again.")
    click.echo(f"{data_dir}: {_count(built.vectors, 'vector')} indexed")
    return 1 if built.lost and not drop else 0


def _is_backup(path: Path) -> bool:
    return (path / backups.MANIFEST).exists() or (path / backups.LIST).exists()


def _told(one: Description) -> str:
    return (
        f"everything up to change {one.sequence}, taken {one.taken}, "
        f"rows {one.database_bytes / _MB:.1f} MB, {_count(one.blobs, 'medium', 'media')} {one.blob_bytes / _MB:.1f} MB"
    )


def _count(number: int, noun: str, plural: str = "") -> str:
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


@contextmanager
def _bars() -> Iterator[backups.Progress]:
    """A bar for each thing that is being done, on stderr when that is a terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(file=sys.stderr)
    tasks: dict[str, TaskID] = {}
    with Progress(*columns, console=console, disable=not console.is_terminal) as shown:

        def progress(what: str, done: int, of: int) -> None:
            if what not in tasks:
                tasks[what] = shown.add_task(what, total=of)
            shown.update(tasks[what], completed=done, total=of)

        yield progress
