"""schemathesis takes the OpenAPI document at its word: every operation, in two passes, bounded in time.

coverage    each rule of the document kept and broken, one at a time. The messages of requests are unfolded to a few
            levels beforehand: listing the cases of messages that contain themselves comes to no end.
fuzzing     random requests from the document as it is.

    make fuzz-openapi ARGS="--examples 5 --depth 2"             a shorter one; nothing is written to docs/trust.md
    make fuzz-openapi ARGS="--only 'PostInputs|ListInputs'"     these operations alone

Sequences are left to the other campaigns here: the document has no links, and those that schemathesis guesses, 266,873
or more, have it busy for longer than a run.

A finding is an answer of 5xx, one that is not as the document says, or none.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import json
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any, TypeAlias

import requests

from fuzz.campaign import explained, memory
from support import trust
from support.external import CACHE
from support.server import Server

CHECKS = (
    "not_a_server_error",
    "response_schema_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "status_code_conformance",
    "unsupported_method",
)
HANGS_S = 30  # an answer that takes longer
EXAMPLES, DEPTH = 50, 3  # of the whole run
_LOOK_S, _TELL_S = 0.5, 30

Json: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """One pass.

    Attributes:
        phase: "coverage" or "fuzzing".
        examples: Random requests for each operation.
        depth: Levels of messages to which requests are unfolded; 0 leaves the document as it is.
        operation_s: An operation that takes longer is given up.
        only: A pattern of operation ids.
        seed: What its draws begin with.
    """

    phase: str
    examples: int = 1
    depth: int = 0
    operation_s: float = 300
    only: str = ""
    seed: int = 2026


@dataclass
class Tally:
    """What a pass saw.

    Attributes:
        cases: Requests, by operation.
        seconds: Time taken, by operation; nearly all of it goes into making requests.
        codes: HTTP status codes.
        good: Operations that were answered 200 at least once.
        slowest: Seconds of the slowest answer, and whose it was.
        given_up: Operations that took too long.
        faults: What was wrong, and how often.
        shown: By what was wrong, a request that shows it.
    """

    cases: Counter[str] = field(default_factory=Counter)
    seconds: Counter[str] = field(default_factory=Counter)
    codes: Counter[int] = field(default_factory=Counter)
    good: set[str] = field(default_factory=set)
    slowest: tuple[float, str] = (0.0, "")
    given_up: list[str] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    shown: dict[str, str] = field(default_factory=dict)

    def take(self, scenario: Json) -> None:
        """Counts a finished operation."""
        record = scenario["recorder"]
        name = record["label"]
        self.seconds[name] += scenario["elapsed_time"]
        for case, talk in record.get("interactions", {}).items():
            self.cases[name] += 1
            answer = talk.get("response")
            if not answer:
                continue
            self.codes[answer["status_code"]] += 1
            self.slowest = max(self.slowest, (answer["elapsed"], name))
            if answer["status_code"] == 200:
                self.good.add(name)
            for check in record.get("checks", {}).get(case, ()):
                if check["status"] == "failure":
                    failure = check["failure_info"]["failure"]
                    self.fault(f"{name}: {failure['title']}: {failure['message'][:500]}", talk["request"])

    def fault(self, what: str, request: Json | None = None) -> None:
        """Keeps a finding, with the first request that shows it."""
        self.faults[what] += 1
        if request is not None:
            body = base64.b64decode((request.get("body") or {}).get("$base64", "")).decode(errors="replace")
            self.shown.setdefault(what, f"{request['method']} {request['uri']} {body[:2000]}")

    def told(self) -> list[str]:
        """Findings, one line each."""
        return [f"{count} x {what} | {self.shown.get(what, '')}" for what, count in self.faults.most_common()]

    def said(self) -> str:
        """One line of it all."""
        fewest = min(self.cases.values(), default=0)
        codes = ", ".join(f"{number:,} x {code}" for code, number in sorted(self.codes.items()))
        took = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in self.seconds.most_common(3))
        left = f" Given up: {', '.join(self.given_up)}." if self.given_up else ""
        return (
            f"{self.cases.total():,} requests to {len(self.cases)} operations, {fewest} at least, answered {codes}; "
            f"{len(self.good)} operations went well at least once; slowest answer {self.slowest[0]:.1f} s "
            f"({self.slowest[1]}); most time, with the making of requests, went to {took}.{left}"
        )


class Pass:
    """schemathesis at work on a server, begun again without what has to be given up."""

    def __init__(self, server: Server, plan: Plan, folder: Path, document: Json, program: Path) -> None:
        self._server = server
        self._plan = plan
        self._folder = folder
        self._program = program
        self._document = folder / f"{plan.phase}.json"
        self._document.write_text(json.dumps(unfolded(document, plan.depth) if plan.depth else document))
        self._left = operations(document, plan.only)
        self.tally = Tally()

    def run(self) -> Tally:
        """All of it. What holds everything up is found by trying what is left one by one."""
        while not self._ends() and self._left:
            stuck = next((name for name in list(self._left) if not self._ends(name)), "")
            if stuck:
                self._left.remove(stuck)
                self.tally.given_up.append(stuck)
        self.tally.given_up += self._left  # never tried
        if self._server.process.poll() is not None:
            self.tally.fault("the server died")
        return self.tally

    def _ends(self, alone: str = "") -> bool:
        """Runs schemathesis over what is left, or one operation; whether it came to an end."""
        report, said = self._folder / f"{self._plan.phase}.ndjson", self._folder / f"{self._plan.phase}.out"
        report.write_bytes(b"")
        with said.open("w") as out, report.open("rb") as events:
            process = subprocess.Popen(
                self._command(report, alone), cwd=self._folder, stdout=out, stderr=subprocess.STDOUT
            )
            try:
                ended = self._follow(process, events)
            finally:
                process.kill()
                process.wait()
        if ended and process.returncode not in (0, 1):
            self.tally.fault(f"schemathesis failed: {said.read_text()[-1000:]}")
        return ended

    def _follow(self, process: subprocess.Popen[bytes], events: IO[bytes]) -> bool:
        """Counts what is reported until the process ends, or until an operation takes too long: False."""
        heard = told = time.monotonic()
        while True:
            if time.monotonic() > told + _TELL_S:
                told = time.monotonic()
                cases, faults = self.tally.cases, self.tally.faults.total()
                say(f"{self._plan.phase}: {cases.total():,} requests to {len(cases)} operations, {faults} faults")
            over = process.poll() is not None
            for event in whole_lines(events):
                heard = time.monotonic()
                if scenario := event.get("ScenarioFinished"):
                    self.tally.take(scenario)
                    self._left = [name for name in self._left if name != scenario["recorder"]["label"]]
                elif error := event.get("NonFatalError") or event.get("FatalError"):
                    self.tally.fault(f"{error.get('label')}: {json.dumps(error.get('value', error))[:1000]}")
            if over or time.monotonic() > heard + self._plan.operation_s:
                return over
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_LOOK_S)

    def _command(self, report: Path, alone: str) -> list[str]:
        plan = self._plan
        names = [alone] if alone else self._left
        return [
            *(str(self._program), "run", str(self._document), "--url", self._server.http, "--phases", plan.phase),
            *("--checks", ",".join(CHECKS), "--max-examples", str(plan.examples), "--seed", str(plan.seed)),
            *("--request-timeout", str(HANGS_S), "--suppress-health-check", "all", "--generation-database", "none"),
            *("--workers", "1", "--warnings", "off", "--no-color", "--no-shrink", "--continue-on-failure"),
            *("--report", "ndjson", "--report-ndjson-path", str(report)),
            *(word for name in names for word in ("--include-name", name)),
        ]


def operations(document: Json, only: str = "") -> list[str]:
    """Such as "GET /v2/inputs", of which the ids fit a pattern."""
    return [
        f"{verb.upper()} {path}"
        for path, calls in document["paths"].items()
        for verb, call in calls.items()
        if re.search(only, call["operationId"])
    ]


def unfolded(document: Json, depth: int) -> Json:
    """The document with so many levels of messages written out in requests, and objects of any kind below them."""
    schemas = document["components"]["schemas"]

    def unfold(part: Any, levels: int) -> Any:
        if isinstance(part, list):
            return [unfold(one, levels) for one in part]
        if not isinstance(part, dict):
            return part
        if "$ref" not in part:
            return {name: unfold(one, levels) for name, one in part.items()}
        meant = schemas[part["$ref"].rpartition("/")[2]]
        if levels:
            return unfold(meant, levels - 1)
        return {name: one for name, one in meant.items() if name in ("type", "enum")}

    paths = {
        path: {
            verb: {**call, "requestBody": unfold(call["requestBody"], depth)} if "requestBody" in call else call
            for verb, call in calls.items()
        }
        for path, calls in document["paths"].items()
    }
    return {**document, "paths": paths}


def whole_lines(file: IO[bytes]) -> Iterator[Json]:
    """What has been written so far, without a last line that somebody is writing."""
    while True:
        at = file.tell()
        line = file.readline()
        if not line.endswith(b"\n"):
            file.seek(at)
            return
        yield json.loads(line)


def installed() -> Path:
    """The program that `make` installs."""
    return max(CACHE.glob("venvs/schemathesis-*/bin/schemathesis"))


def attack(server: Server, folder: Path, *plans: Plan) -> list[Tally]:
    """Passes over a server's document, side by side."""
    program = installed()
    document = requests.get(f"{server.http}/openapi.json", timeout=60).json()
    with ThreadPoolExecutor(len(plans)) as pool:
        return list(pool.map(lambda plan: Pass(server, plan, folder, document, program).run(), plans))


def main() -> int:
    parser = argparse.ArgumentParser(prog="make fuzz-openapi", description=__doc__)
    parser.add_argument("--examples", type=int, default=EXAMPLES, help="random requests for each operation")
    parser.add_argument("--depth", type=int, default=DEPTH, help="levels of messages whose rules are tried one by one")
    parser.add_argument("--operation", type=float, default=300, help="seconds after which an operation is given up")
    parser.add_argument("--only", default="", help="a pattern of operation ids")
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--record", action="store_true", help="write docs/trust.md although it is not the whole run")
    args = parser.parse_args()
    plan = Plan("fuzzing", args.examples, 0, args.operation, args.only, args.seed)
    rules = replace(plan, phase="coverage", depth=args.depth)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        server = Server(folder)
        try:
            found = attack(server, folder, rules, plan)
            lines = [f"{one.phase}: {tally.said()}" for one, tally in zip((rules, plan), found, strict=True)]
            faults = [line for tally in found for line in tally.told()] + explained(server)
            if server.process.poll() is None:
                lines.append(f"resident memory at the end: {memory(server)} MiB")
            say(*lines, *faults)
        finally:
            if server.process.poll() is None:
                server.stop()
    whole = args.examples >= EXAMPLES and args.depth >= DEPTH and not args.only
    if not faults and (args.record or whole):
        trust.record("openapi", f'make fuzz-openapi ARGS="--examples {args.examples} --depth {args.depth}"', lines)
    return 1 if faults else 0


def say(*lines: str) -> None:
    """Prints lines at once."""
    sys.stdout.writelines(f"{line}\n" for line in lines)
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
