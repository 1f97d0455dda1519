"""The `postil` command and all it can do. Options of the server come from the table in `config.py`."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, TypeVar

try:
    import click
except ModuleNotFoundError:
    sys.exit("postil: only the client is installed. For the server: pip install 'postil[server]'")

import postil
from postil import config, descriptors, logs, memory
from postil.commands import models_group, search_options

F = TypeVar("F", bound=Callable[..., Any])

_CANNOT_START = 2
_INSTALL = {
    "hnswlib": "it is built on your machine: install a C++ compiler and the Python headers "
    "(Debian, Ubuntu: sudo apt-get install g++ python3-dev), then run: pip install hnswlib==0.8.0",
}
_GENERAL = "run: pip install 'postil[server]'"


def _settings(*names: str) -> Callable[[F], F]:
    """Adds the options of these settings, or of all."""

    def add(command: F) -> F:
        for row in reversed(config.settings()):
            if not names or row.name in names:
                command = _option(row)(command)
        return command

    return add


def _option(row: Any) -> Callable[[F], F]:
    name, text = "--" + row.name.replace("_", "-"), row.metadata["help"]
    if isinstance(row.default, bool):
        return click.option(name, row.name, is_flag=True, flag_value="yes", default=None, help=text)
    shown = f"{text} [default: {row.default}]" if row.default not in ("", (), None) else text
    return click.option(name, row.name, metavar=row.metadata["metavar"], multiple=row.metadata["many"], help=shown)


def _server(command: F) -> F:
    """Adds the options that say which server and app a command works on from outside."""
    for option in reversed(
        (
            click.option(
                "--target", default="127.0.0.1:18080", show_default=True, metavar="HOST:PORT", help="The server."
            ),
            click.option("--app", default="", metavar="ID", help="The app; default: the server's default app."),
            click.option(
                "--user", default="", metavar="ID", help="Owner of the app; default: whoever the key belongs to."
            ),
            click.option("--key", default=None, metavar="KEY", help="An API key, for a server that asks for one."),
            click.option("--tls", is_flag=True, help="Speak TLS."),
        )
    ):
        command = option(command)
    return command


@click.group()
def main() -> None:
    """Postil keeps annotations on pictures, texts and video frames, and finds things by looks and by label."""


@main.command()
def version() -> None:
    """Print the version."""
    click.echo(postil.__version__)


@main.command()
@_settings()
def serve(**given: Any) -> None:
    """Serve gRPC and HTTP until SIGTERM or SIGINT; print one line when calls are welcome."""
    settings = _load(given)
    logs.configure(settings.log_level, settings.log_format)
    until = _Signals()
    memory.steady()
    descriptors.raise_limit()
    app = _app(settings)
    try:
        where = app.start()
        until.started = True
        print(f"postil ready grpc={where.grpc} http={where.http}", flush=True)
        gc.freeze()  # what start-up made lives as long as the process: no need to look at it again and again
        until.wait()
    except app.refusals as error:
        _refuse(str(error))
    except ModuleNotFoundError as error:
        _refuse(_missing(error))
    except OSError as error:
        _refuse(f"{error.strerror or error}: {error.filename or settings.data_dir}")
    finally:
        until.started = True
        app.stop()
    _exit()


class _Signals:
    """SIGTERM and SIGINT: they end a start at once, and later end `wait`.

    Python runs its handlers on the main thread between two of its own steps, which a thread that sleeps does not take
    when the system gave the signal to another thread. So `wait` reads from a pipe that the C handler writes to.
    """

    def __init__(self) -> None:
        self.started = False
        self._read, write = os.pipe()
        os.set_blocking(write, False)
        signal.set_wakeup_fd(write)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def wait(self) -> None:
        """Returns after the first signal."""
        os.read(self._read, 1)
        logs.get("postil").info("stopping")

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        if not self.started:
            raise SystemExit(0)


def _app(settings: config.Config) -> Any:
    """Imports the rooms, which bring native libraries."""
    try:
        from postil.app import App
    except ModuleNotFoundError as error:
        _refuse(_missing(error))
    return App(settings)


_FOLDER = click.Path(file_okay=False, path_type=Path)


@main.command()
@_settings("data_dir")
@click.argument("path", type=_FOLDER, required=False)
def verify(path: Path | None, **given: Any) -> None:
    """Check a backup, or the rows, media and index of a data directory; exit 1 when something is wrong.

    PATH is either of them; without it, the data directory of the settings. Beside a running server the index is left
    out.
    """
    settings = _load(given)
    logs.configure("warning", "auto")
    from postil.commands.backup import verify as look

    sys.exit(_upkeep(lambda: look(path or settings.data_dir)))


@main.command()
@_settings("data_dir")
@click.argument("destination", type=_FOLDER)
@click.option("--reuse", type=_FOLDER, metavar="BACKUP", help="An earlier backup whose media may be shared (links).")
def backup(destination: Path, reuse: Path | None, **given: Any) -> None:
    """Copy everything that is kept to DESTINATION, as it is at one moment, also while the server runs."""
    settings = _load(given)
    from postil.commands.backup import backup as take

    sys.exit(_upkeep(lambda: take(settings.data_dir, destination, reuse)))


@main.command()
@click.argument("source", type=_FOLDER, metavar="BACKUP")
@click.argument("data_dir", type=_FOLDER)
def restore(source: Path, data_dir: Path) -> None:
    """Put BACKUP into DATA_DIR, which must be empty or new, after every checksum in it held."""
    from postil.commands.backup import restore as put_back

    sys.exit(_upkeep(lambda: put_back(source, data_dir)))


@main.command()
@_settings("data_dir")
@click.option("--drop-damaged", is_flag=True, help="Take vectors out that are damaged and that no index has.")
def rebuild_index(drop_damaged: bool, **given: Any) -> None:
    """Mend damaged vectors from the index, then build the index of a stopped server anew from rows."""
    settings = _load(given)
    logs.configure("warning", "auto")
    from postil.commands.backup import rebuild_index as rebuild

    sys.exit(_upkeep(lambda: rebuild(settings.data_dir, drop=drop_damaged)))


def _upkeep(run: Callable[[], int]) -> int:
    """Runs a command on files; what the disk refuses is said in one line."""
    from postil.upkeep import refusals

    try:
        return run()
    except refusals as error:
        _refuse(str(error))
    except OSError as error:
        _refuse(f"{error.strerror or error}: {error.filename or ''}")


@main.command()
@click.pass_context
def demo(context: click.Context) -> None:
    """Start a server on a fresh directory, post real pictures, label, search, print what was found, stop."""
    from postil.demo.command import demo as show

    context.invoke(show)


@main.group()
def concepts() -> None:
    """Work on many concepts of a running server at once."""


@concepts.command()
@_server
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def import_languages(file: Path, **server: Any) -> None:
    """Name concepts in other languages, from a CSV or TSV table of concept, language, name, definition (optional)."""
    from postil.commands.concepts import import_languages as send

    with _client(server) as client:
        sys.exit(send(file, client))


@main.group()
def feedback() -> None:
    """See what feedback has done for a running server's searches."""


@feedback.command()
@_server
@click.option("--by-end-user", is_flag=True, help="Also for each end user.")
@click.option("--by-query-family", is_flag=True, help="Also for each family of queries that are about the same.")
def stats(by_end_user: bool, by_query_family: bool, **server: Any) -> None:
    """Print how good the searches of an app were, by what people chose, and whether learning made them better."""
    from postil.commands.feedback import stats as show

    with _client(server) as client:
        sys.exit(show(client, by_end_user=by_end_user, by_query_family=by_query_family))


@main.command()
@_server
@search_options.options
@click.option(
    "--unit",
    type=click.Choice(["inputs", "annotations"]),
    default="inputs",
    show_default=True,
    help="One hit for each.",
)
@click.option("--top", type=click.IntRange(1, 1000), default=10, show_default=True, help="Hits.")
@click.option(
    "--min-value", type=click.FloatRange(0, 1), default=0.0, show_default=True, help="Leave out lower scores."
)
def search(unit: str, top: int, min_value: float, **given: Any) -> None:
    """Search a running server; several things to rank by are combined."""
    from postil.commands.search import Question
    from postil.commands.search import search as ask

    names = Question.__dataclass_fields__
    question = Question(**{name: value for name, value in given.items() if name in names})
    with _client(given) as client:
        sys.exit(ask(client, question, unit=unit, top=top, min_value=min_value))


@main.group()
def keys() -> None:
    """Make, list and revoke keys in a data directory, whether or not a server has it open; it notices at once."""


@keys.command("create")
@_settings("data_dir", "audit_mb")
@click.option("--app", default="", metavar="ID", help="The one app that it opens; default: all apps of the user.")
@click.option("--user", default="", metavar="ID", help="Whose key it is; default: the server's own user.")
@click.option("--scopes", default="All", show_default=True, metavar="SCOPE,...", help="What may be done with it.")
@click.option("--expires", default="", metavar="TIME", help="When it ends: 30d, 12h, or a date such as 2027-01-31.")
@click.option("--description", default="", metavar="TEXT", help="What it is for.")
def create_key(app: str, user: str, scopes: str, expires: str, description: str, **given: Any) -> None:
    """Make a key and print it, this one time; the server keeps a digest of it."""
    from postil.commands import keys as desk

    _at_desk(given, lambda held: desk.create(held, user, app, scopes, expires, description))


@keys.command("list")
@_settings("data_dir")
@click.option("--user", default="", metavar="ID", help="Whose keys; default: the server's own user's.")
def list_keys(user: str, **given: Any) -> None:
    """List keys: id, type, app, scopes, when they end, what they are for."""
    from postil.commands import keys as desk

    _at_desk(given, lambda held: desk.show(held, user))


@keys.command("revoke")
@_settings("data_dir", "audit_mb")
@click.option("--user", default="", metavar="ID", help="Whose key; default: the server's own user's.")
@click.argument("key_id")
def revoke_key(user: str, key_id: str, **given: Any) -> None:
    """Revoke the key with this id (see `postil keys list`), at once and for good."""
    from postil.commands import keys as desk

    _at_desk(given, lambda held: desk.revoke(held, user, key_id))


def _at_desk(given: dict[str, Any], work: Callable[[Any], object]) -> None:
    from postil.commands import keys as desk

    settings = _load(given)
    try:
        with desk.opened(settings) as held:
            work(held)
    except desk.refusals as error:
        _refuse(str(error))


def _client(server: dict[str, Any]) -> Any:
    """A client of the server that the options of `_server` name."""
    from postil_client import Client

    return Client(server["target"], key=server["key"], user_id=server["user"], app_id=server["app"], tls=server["tls"])


def _load(given: dict[str, Any]) -> config.Config:
    try:
        return config.load(given)
    except config.ConfigError as error:
        _refuse(str(error))


def _missing(error: ModuleNotFoundError) -> str:
    name = (error.name or str(error)).partition(".")[0]
    return f"the package {name} is not installed; {_INSTALL.get(name, _GENERAL)}"


def _refuse(text: str) -> NoReturn:
    print(f"postil: {' '.join(text.split())}", file=sys.stderr, flush=True)
    sys.exit(_CANNOT_START)


def _exit() -> None:
    """Leaves without waiting for threads whose calls outlived the drain: the store is closed, nothing can be lost."""
    logging.shutdown()
    sys.stdout.flush()
    if threading.active_count() > 1:  # pools of threads would be joined, daemons or not
        os._exit(0)


main.add_command(models_group.build(_server, _client))


if __name__ == "__main__":
    main()
