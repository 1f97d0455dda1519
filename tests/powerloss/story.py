"""One recording: a server in this process, writers and searchers over gRPC, stopped and started again in between."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from crash import armed
from crash.clients import Searcher, Writer
from crash.model import Ledger, Log, Op
from postil.app import App
from postil.config import Address, Config
from powerloss.disk import Disk, Event, Kind
from powerloss.recorder import Recorder

WRITERS = 3
CHECKPOINT_PAGES = 40
LOCAL = Address("127.0.0.1", 0)


class Story(Log):
    """The events of a run, and the writes among them by number."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "acknowledged.jsonl")
        self.disk = Disk()
        self.writes: list[tuple[str, Op]] = []  # writer, write
        self.root = folder / "disk"
        self._sending: dict[str, int] = {}
        self._order = threading.Lock()

    def intent(self, ledger: Ledger, op: Op) -> None:
        with self._order:
            self._sending[ledger.name] = len(self.writes)
            self.writes.append((ledger.name, op))
            self.disk.add(Event(Kind.SENT, offset=self._sending[ledger.name]))
        super().intent(ledger, op)

    def acknowledged(self, ledger: Ledger, op: Op) -> None:
        self.disk.add(Event(Kind.ACKNOWLEDGED, offset=self._sending[ledger.name]))
        super().acknowledged(ledger, op)

    def expected(self, upto: int) -> tuple[dict[str, Any], dict[str, Any], list[Op]]:
        """Values and vectors after the writes acknowledged by then, and the writes whose fate is open."""
        done, open_ = self.disk.writes(upto)
        values: dict[str, Any] = {}
        vectors: dict[str, Any] = {}
        for number in done:
            _, op = self.writes[number]
            apply(op, values, vectors)
        return values, vectors, [self.writes[number][1] for number in open_]


def apply(op: Op, values: dict[str, Any], vectors: dict[str, Any]) -> None:
    """What a write changes."""
    vectors.update(op.vectors)
    for key, value in op.after.items():
        if value is None:
            values.pop(key, None)
            vectors.pop(key, None)
        else:
            values[key] = value


def record(folder: Path, seed: int, writes: int, *, full: bool) -> Story:
    """Runs a server from nothing, through two lives.

    Args:
        folder: Where it lives.
        seed: Draws the writes.
        writes: About how many, all writers together.
        full: As the product syncs, or with synchronous=NORMAL, which is known to lose acknowledged writes.
    """
    story = Story(folder)
    story.root.mkdir()
    rng = random.Random(seed)
    ledgers = [Ledger(f"w{number}") for number in range(WRITERS)]
    recorder = Recorder(story.root, story.disk)
    with _hurried(full=full), recorder.recording():
        for life in (1, 2):
            _live(story, ledgers, rng, writes * life // 2)
    story.close()
    return story


def _live(story: Story, ledgers: list[Ledger], rng: random.Random, until: int) -> None:
    app = App(Config(data_dir=story.root / "data", grpc=LOCAL, http=LOCAL, drain_s=1, public_url="http://public.test"))
    try:
        address = str(app.start().grpc)
        clients: list[Writer | Searcher] = [
            Writer(address, one, story, random.Random(rng.getrandbits(32)), batch=6, everything=False)
            for one in ledgers
        ]
        clients.append(Searcher(address, ledgers, random.Random(rng.getrandbits(32))))
        for client in clients:
            client.start()
        while story.calls < until and not any(client.problem for client in clients):
            time.sleep(0.01)
        for client in clients:
            client.stop()
        for client in clients:
            client.join(60)
        time.sleep(0.4)  # merging begins once writes have paused
    finally:
        app.stop()
    problems = [client.problem for client in clients if client.problem]
    if problems:
        raise AssertionError(problems)


@contextmanager
def _hurried(*, full: bool) -> Iterator[None]:
    """Small segments and frequent checkpoints, so that a short recording has some of each."""
    from postil.store import migrations, writer

    armed.hurry()
    real = vars(writer)["connect"]

    def connect(path: Path, *, writer: bool) -> Any:
        connection = real(path, writer=writer)
        connection.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
        if not full:
            connection.execute("PRAGMA synchronous=NORMAL")
        return connection

    vars(writer)["connect"] = vars(migrations)["connect"] = connect
    try:
        yield
    finally:
        vars(writer)["connect"] = vars(migrations)["connect"] = real
