"""The options of `postil models`; `models.py` does the work."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import click

from postil_client import Client

Command = Callable[..., Any]
Options = Callable[[Command], Command]
Connect = Callable[[dict[str, Any]], Client]


def build(server_options: Options, connect: Connect) -> click.Group:
    """The group of commands.

    Args:
        server_options: Adds the options that say which server and app a command works on.
        connect: Makes a client of what they were given.
    """

    @click.group()
    def models() -> None:
        """Judge trained models, and see what to label for them."""

    for add in (_evaluate, _suggest, _label_errors):
        add(models, server_options, connect)
    return models


def _evaluate(models: click.Group, server_options: Options, connect: Connect) -> None:
    @models.command()
    @server_options
    @click.argument("model")
    @click.option("--version", default="", metavar="ID", help="Its version; default: the newest that is trained.")
    @click.option("--folds", default=0, metavar="N", help="In how many parts to hold out, 2 to 10; default: 5.")
    @click.option(
        "--png", type=click.Path(dir_okay=False, path_type=Path), help="Draw confusion matrix and ROC curves there."
    )
    def evaluate(model: str, version: str, folds: int, png: Path | None, **server: Any) -> None:
        """Evaluate a MODEL by cross-validation over what it was trained on, and print how good it is."""
        with connect(server) as client:
            sys.exit(work().evaluate(client, model, version, folds, png))


def _suggest(models: click.Group, server_options: Options, connect: Connect) -> None:
    @models.command()
    @server_options
    @click.argument("concepts", nargs=-1, required=True)
    @click.option("--exclusive", is_flag=True, help="Exactly one of the concepts is true of each input.")
    @click.option("--count", default=10, show_default=True, metavar="N", help="How many.")
    def suggest(concepts: tuple[str, ...], exclusive: bool, count: int, **server: Any) -> None:
        """Print the inputs whose labels would teach these CONCEPTS most."""
        with connect(server) as client:
            sys.exit(work().suggest(client, concepts, count, exclusive=exclusive))


def _label_errors(models: click.Group, server_options: Options, connect: Connect) -> None:
    @models.command("label-errors")
    @server_options
    @click.argument("concepts", nargs=-1, required=True)
    @click.option("--exclusive", is_flag=True, help="Exactly one of the concepts is true of each input.")
    @click.option("--count", default=20, show_default=True, metavar="N", help="How many.")
    def label_errors(concepts: tuple[str, ...], exclusive: bool, count: int, **server: Any) -> None:
        """Print the labels of these CONCEPTS that are likely wrong."""
        with connect(server) as client:
            sys.exit(work().label_errors(client, concepts, count, exclusive=exclusive))


def work() -> ModuleType:
    """What the commands do; imported when one runs, as drawing and tables take a while to load."""
    from postil.commands import models

    return models
