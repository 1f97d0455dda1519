"""The `postil demo` command."""

from __future__ import annotations

import time

import click
from rich.console import Console

from postil.demo import tour
from postil.demo.server import temporary_server
from postil_client import Client

_WIDTH = 130  # of the table in a file or a log


@click.command()
def demo() -> None:
    """Start a server on a fresh directory, post real pictures, label, search, print what was found, stop."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH)
    begun = time.perf_counter()
    with console.status("starting a server on an empty directory"), temporary_server() as address:
        console.print(f"serving on {address}, from a directory that goes away afterwards")
        with Client(address) as client:
            found = tour.run(client, console)
    tour.show(found, console)
    console.print(f"{time.perf_counter() - begun:.0f} s from start to stop; nothing is left running.")
