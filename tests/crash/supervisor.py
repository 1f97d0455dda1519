"""Kills servers under load, again and again, and after each kill compares what is left with what was acknowledged."""

from __future__ import annotations

import random
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from crash import older
from crash.armed import MOMENTS
from crash.check import INDEX, Check, at_rest
from crash.clients import Connection, Searcher, Writer
from crash.model import Ledger, Log
from crash.victim import Died, Plan, Victim, drawn
from crash.world import WRITERS

SEARCHERS = 2
LIVES = 40  # kills that one directory goes through before a fresh one takes its place
_FIXED = ("--log-level", "warning", "--drain-s", "2", "--access", "open")
_CLIENTS_S = 90
SOUND = "Lost: nothing. Half there: nothing. Returned after it was deleted: nothing."  # of runs that end without Broken
# Kinds of keys, and the step that made the tables they are in.
_SINCE = {"click:": "m0009", "model:": "m0010", "key:": "m0011", "dataset:": "m0012"}


class Broken(AssertionError):
    """A promise that did not hold. The text says which, and how to run the case again."""


class Tally:
    """What happened so far."""

    def __init__(self) -> None:
        self.kills: Counter[str] = Counter()
        self.moments: Counter[str] = Counter()
        self.calls = 0
        self.items = 0
        self.searches = 0
        self.verified = 0
        self.directories = 0
        self.upgrades = 0
        self.started_s: list[float] = []

    @property
    def all_kills(self) -> int:
        return self.kills.total()

    def lines(self) -> list[str]:
        """For people."""
        started = sorted(self.started_s) or [0.0]
        moments = ", ".join(f"`{name}` {count}" for name, count in sorted(self.moments.items()))
        kills = ", ".join(f"{count:,} {how}" for how, count in self.kills.most_common())
        rests = "`postil verify`, and the index against the rows, vector by vector"
        start = f"{started[len(started) // 2]:.1f} s in the median, {started[-1]:.1f} s at most"
        return [
            f"{self.all_kills:,} servers killed ({kills}).",
            f"{self.directories} directories; {self.upgrades} of the starts were upgrades from an older schema.",
            f"{self.calls:,} acknowledged calls, {self.items:,} items written by them, by {WRITERS} writers at once.",
            f"{self.searches:,} searches beside them, each for something acknowledged that it had to find first.",
            f"{self.verified} dead directories checked at rest: {rests}.",
            f"From the start of the process to serving: {start}, on a machine that did other work as well.",
            f"Moments inside at which a server killed itself: {moments or 'none'}.",
        ]


class Supervisor:
    """Runs lives, one after the other.

    Args:
        folder: Where data directories and logs go.
        seed: Draws everything that is not up to the scheduler.
        verify_every: After so many kills the dead directory is checked at rest.
        died: Called after each death, before anybody looks.
    """

    def __init__(
        self, folder: Path, seed: int, verify_every: int = 5, died: Callable[[], object] = lambda: None
    ) -> None:
        self._folder = folder
        self._seed = seed
        self._rng = random.Random(seed)
        self._verify_every = verify_every
        self._died = died
        self._life = 0
        self._public = 0
        self._fresh = True
        self._inside = False
        self._log: Log | None = None
        self._ledgers: list[Ledger] = []
        self.tally = Tally()

    def run(self, plan: Plan | None = None) -> None:
        """One life: start, check what the last one left, load, kill. Raises Broken."""
        if self._log is None or self._life >= LIVES:
            self._new_directory()
        self._life += 1
        upgrade = plan is None and self._life > 3 and self._rng.random() < 0.12 and self._put_back()
        plan = plan or drawn(self._rng, MOMENTS, self.tally.moments, fresh=self._fresh or upgrade)
        self._log.note(life=self._life, plan=str(plan))  # type: ignore[union-attr]
        self._public += plan.rehost
        self._live(plan)
        self._died()
        if self.tally.all_kills % self._verify_every == 0:
            self._require("at rest", at_rest(self._place / "data"))
            self.tally.verified += 1

    def close(self) -> None:
        """Looks at everything once more, with the product as it is, and ends."""
        if self._log is not None:
            self._start_and_check(Plan(load_s=0), everything=True).stop()
            self._require("at rest", at_rest(self._place / "data"))
            self.tally.verified += 1
            self.release()

    def release(self) -> None:
        """Lets go of the directory as it is, whatever was found in it."""
        if self._log is not None:
            self._log.close()
            self._log = None

    @property
    def _place(self) -> Path:
        return self._folder / f"{self._seed}-{self.tally.directories}"

    @property
    def _models(self) -> Path:
        return self._folder / "models"

    def _new_directory(self) -> None:
        if self._log is not None:
            self.close()
            shutil.rmtree(self._models, ignore_errors=True)
            (self._place / "data/models").rename(self._models)
            shutil.rmtree(self._place, ignore_errors=True)  # on FUSE, a file that is still open leaves a name behind
        self.tally.directories += 1
        self._place.mkdir(parents=True)
        if self._models.is_dir():  # converting them takes longer than most lives
            shutil.copytree(self._models, self._place / "data/models")
        self._log = Log(self._place / "acknowledged.jsonl")
        self._ledgers = [Ledger(f"w{number}") for number in range(WRITERS)]
        self._life, self._fresh = 0, True

    def _live(self, plan: Plan) -> None:
        try:
            server = self._start_and_check(plan, everything=self._life % 10 == 0)
        except Died as died:
            if died.args[0] != -9 or (plan.start_s is None and not plan.moment):
                raise self._broken("start", [f"it did not start but ended with {died}"]) from died
            self._note_kill(plan, inside=bool(plan.moment))
            return
        self._inside = server.dead  # its moment came while it was looked at
        if not server.dead:
            self._load(server, plan)
        code = server.finish()
        if code != -9 and plan.term_first_s is None:
            raise self._broken("end", [f"it ended by itself with {code}: {server.tail()}"])
        self._note_kill(plan, inside=bool(plan.moment) and self._inside)

    def _start_and_check(self, plan: Plan, *, everything: bool) -> Victim:
        url = f"http://public-{self._public}.test"
        server = Victim(self._place, plan, self._rng.getrandbits(32), *_FIXED, "--public-url", url)
        self._fresh = False
        self.tally.started_s.append(server.started_s)
        connection = Connection(server.grpc)
        try:
            check = Check(connection, server.http, self._rng)
            findings = [*check.settle(self._ledgers), *check.values(self._ledgers, everything=everything)]
        except Exception as error:
            server.wait(1)
            if not server.dead:
                server.finish()
                raise self._broken("check", [f"{type(error).__name__}: {error}"]) from error
            return server  # its moment came, or its time was up, while it was looked at: the next one is asked again
        finally:
            connection.close()
        if findings:
            server.finish()
        self._require("after the restart", findings)
        return server

    def _load(self, server: Victim, plan: Plan) -> None:
        assert self._log is not None
        draw = self._rng.getrandbits
        writers = [Writer(server.grpc, one, self._log, random.Random(draw(32))) for one in self._ledgers]
        searchers = [Searcher(server.grpc, self._ledgers, random.Random(draw(32))) for _ in range(SEARCHERS)]
        calls, items = self._log.calls, self._log.items
        clients: list[Writer | Searcher] = [*writers, *searchers]
        for client in clients:
            client.start()
        self._inside = server.wait(plan.load_s)
        if plan.term_first_s is not None or not self._inside:
            self._inside = server.finish() == -9 and plan.term_first_s is not None
        deadline = time.monotonic() + _CLIENTS_S
        for client in clients:
            client.stop()
            client.join(max(0.0, deadline - time.monotonic()))
        self.tally.calls += self._log.calls - calls
        self.tally.items += self._log.items - items
        self.tally.searches += sum(one.searches for one in searchers)
        self._require("under load", [one.problem for one in clients if one.problem])

    def _put_back(self) -> bool:
        """Gives the directory an older schema, and so a migration to die in. What was in newer tables goes with it."""
        data = self._place / "data"
        possible = [step for step in older.reachable(data) if step > "m0006"]
        if not possible:
            return False
        step = self._rng.choice(possible)
        gone = tuple(kind for kind, since in _SINCE.items() if since >= step[: len(since)])
        pending = [ledger.pending for ledger in self._ledgers if ledger.pending]
        # A rename that was cut off is half there, and the table that would end it goes.
        if any(op.rpc == "PatchConcepts" or any(key.startswith(gone) for key in op.after) for op in pending):
            return False
        older.put_back(data, step)
        shutil.rmtree(data / INDEX, ignore_errors=True)
        for ledger in self._ledgers:
            for key in [key for key in ledger.values if key.startswith(gone)]:
                del ledger.values[key]
                ledger.gone.add(key)
        self.tally.upgrades += 1
        return True

    def _note_kill(self, plan: Plan, *, inside: bool) -> None:
        if inside:
            self.tally.moments[plan.moment] += 1
            self.tally.kills["at a moment inside"] += 1
        else:
            self.tally.kills["at random" if plan.moment else str(plan)] += 1

    def _require(self, when: str, findings: Iterator[str] | list[str]) -> None:
        try:
            found = list(findings)
        except Exception as error:  # noqa: BLE001 - whatever keeps us from looking is a finding
            found = [f"{type(error).__name__}: {error}"]
        if found:
            raise self._broken(when, found)

    def _broken(self, when: str, findings: list[str]) -> Broken:
        shown = "\n  ".join(findings[:20])
        return Broken(
            f"{len(findings)} findings {when}, directory {self._place}, life {self._life}:\n  {shown}\n"
            f'Again: make crash ARGS="--seed {self._seed} --kills {self.tally.all_kills + 1}"; the data, the server\'s '
            "log and acknowledged.jsonl (intents, acknowledgements, plans) are kept in that directory."
        )
