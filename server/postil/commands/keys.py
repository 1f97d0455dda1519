"""`postil keys`: makes, lists and revokes keys in a data directory, beside a running server or without one.

The person who may read and write the data directory needs no key. What is done is what the calls of the Keys service
do, in the database itself (docs/adr/0012-keys.md says why that is safe).
"""

from __future__ import annotations

import contextlib
import datetime as dt
import getpass
import re
from collections.abc import Iterator
from typing import NamedTuple

import click

from postil import audit
from postil.access import DEFAULT_USER
from postil.config import Config
from postil.core import ids
from postil.core.apps import Apps
from postil.core.call import Call
from postil.core.key_fields import APP_KEY
from postil.core.keys import Keys
from postil.errors import Failure
from postil.store.beside import KeysBeside
from postil.store.faults import Corrupt, WriteFailed
from postil.store.lock import DirectoryInUse
from postil.store.migrations import NewerSchema
from postil.store.sqlite import SqliteStore
from postil.store.stamp import FileStamp
from postil.v1.app_pb2 import App
from postil.v1.common_pb2 import UserAppIDSet
from postil.v1.key_pb2 import Key
from postil.v1.key_service_pb2 import DeleteKeyRequest, ListKeysRequest, PostKeysRequest

_SPAN = re.compile(r"(\d+)([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_PAGE = 1000


class Unreadable(Exception):
    """An option that cannot be understood. The text says what it should be."""


refusals = (Corrupt, Failure, NewerSchema, OSError, Unreadable, WriteFailed)


class Desk(NamedTuple):
    """The keys of a data directory."""

    config: Config
    keys: Keys
    running: bool  # a server has the directory open

    def note(self, rpc: str, user_id: str, key_id: str) -> None:
        """A line of the audit log."""
        if self.config.audit_mb:
            audit.note_once(
                self.config.data_dir,
                {
                    "time": dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds"),
                    "rpc": rpc,
                    "code": 10000,
                    "user": user_id,
                    "from": f"command:{getpass.getuser()}",
                    "ids": [key_id],
                },
            )


@contextlib.contextmanager
def opened(config: Config) -> Iterator[Desk]:
    """The keys of a data directory, which is made, or brought up to date, when no server has it open.

    Raises:
        One of `refusals`.
    """
    running = False
    try:
        SqliteStore(config.data_dir).close()
    except DirectoryInUse:
        running = True
    with contextlib.closing(FileStamp(config.data_dir)) as stamp:
        yield Desk(config, Keys(KeysBeside(config.data_dir), stamp), running)


def create(desk: Desk, user: str, app: str, scopes: str, expires: str, description: str) -> None:
    """Makes a key and prints its token."""
    user = user or DEFAULT_USER
    ids.check("user", user)
    if app and not desk.running:  # a running server gives out the numbers of apps, so there it must exist
        with SqliteStore(desk.config.data_dir) as store:
            Apps(store).resolve(user, app, create=True)
    key = Key(description=description, scopes=[one.strip() for one in scopes.split(",") if one.strip()])
    if app:
        key.apps.append(App(id=app))
    if expires:
        key.expires_at.FromDatetime(_time(expires))
    request = PostKeysRequest(user_app_id=UserAppIDSet(user_id=user), keys=[key])
    (made,) = desk.keys.post(_call(user), request).keys
    desk.note("PostKeys", user, made.id)
    click.echo(f"id     {made.id}\nopens  {_opens(made)}\nends   {_ends(made)}", err=True)
    click.echo("The key itself is shown this once, on the next line:", err=True)
    click.echo(made.token)


def show(desk: Desk, user: str) -> None:
    """Prints a line for each key."""
    user, page = user or DEFAULT_USER, 1
    while keys := desk.keys.list(_call(user), ListKeysRequest(page=page, per_page=_PAGE)).keys:
        for key in keys:
            what = ",".join([*key.scopes, *key.endpoints])
            click.echo("\t".join([key.id, _opens(key), what, _ends(key), key.description]))
        page += 1


def revoke(desk: Desk, user: str, key_id: str) -> None:
    """Revokes a key."""
    user = user or DEFAULT_USER
    desk.keys.delete(_call(user), DeleteKeyRequest(key_id=key_id))
    desk.note("DeleteKey", user, key_id)
    click.echo(f"{key_id} is revoked")


def _call(user: str) -> Call:
    return Call(request_id="", user_id=user, app_record=None)


def _opens(key: Key) -> str:
    return f"app {key.apps[0].id}" if key.type == APP_KEY else "all apps"


def _ends(key: Key) -> str:
    return key.expires_at.ToJsonString() if key.HasField("expires_at") else "never"


def _time(text: str) -> dt.datetime:
    """A span from now (`30d`) or an ISO date or time, UTC unless it says otherwise."""
    span = _SPAN.fullmatch(text)
    try:
        if span:
            return dt.datetime.now(dt.UTC) + dt.timedelta(**{_UNITS[span[2]]: int(span[1])})
        time = dt.datetime.fromisoformat(text)
    except (OverflowError, ValueError):
        raise Unreadable(f"--expires {text!r} is neither a span such as 30d nor a time such as 2027-01-31") from None
    return time if time.tzinfo else time.replace(tzinfo=dt.UTC)
