"""The options of `postil search`. Apart from the command, so that `postil serve` need not load the client for them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def options(command: F) -> F:
    """The options that make a Question."""
    existing = click.Path(exists=True, dir_okay=False, path_type=Path)
    for option in reversed(
        (
            click.option(
                "--image", "images", multiple=True, type=existing, metavar="FILE", help="Look like this picture."
            ),
            click.option("--url", "urls", multiple=True, metavar="URL", help="Look like the picture at this URL."),
            click.option("--text", "texts", multiple=True, metavar="TEXT", help="Mean something like this."),
            click.option("--input", "inputs", multiple=True, metavar="ID", help="Be like this stored input."),
            click.option("--concept", "concepts", multiple=True, metavar="ID", help="Show this concept."),
            click.option("--not-concept", "absent", multiple=True, metavar="ID", help="Do not show this concept."),
            click.option(
                "--filter",
                "filters",
                multiple=True,
                metavar="KEY=VALUE",
                help="Must hold: concept=ID, not-concept=ID, metadata.KEY=VALUE, user=ID, input=ID, media=image.",
            ),
        )
    ):
        command = option(command)
    return command
