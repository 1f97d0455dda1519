"""Throws random messages at every call of a real server, on both doors, and looks for crashes, hangs and INTERNAL.

A call that finds something is written to tests/fuzz/corpus, from where the tests send it again for ever.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import grpc
from google.api import annotations_pb2
from google.protobuf import json_format
from google.protobuf.message import DecodeError, Message

from fuzz.messages import Maker
from postil.v1.status_code_pb2 import StatusCode
from support.doors import METHODS
from support.server import VENDOR, Server

CORPUS = Path(__file__).parent / "corpus"
SLOW_S = 30.0  # a call of this campaign that takes longer hangs
USER, APP = "me", "fuzz"
OPTIONS = ("--max-message-mb", "8")
INTERNAL = 98_000  # codes from here on say that the server is at fault

# The server may refuse a call whole, for these reasons alone.
_REFUSALS = {grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.INVALID_ARGUMENT}
_NEVER = {"DeleteApp"}  # would only empty the app that the other calls meet each other in


@dataclass
class Tally:
    """What a campaign saw."""

    calls: Counter[str] = field(default_factory=Counter)
    codes: Counter[int] = field(default_factory=Counter)
    doors: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    slowest: float = 0.0

    def add(self, other: Tally) -> None:
        self.calls += other.calls
        self.codes += other.codes
        self.doors += other.doors
        self.faults += other.faults
        self.slowest = max(self.slowest, other.slowest)


def pinned(message: Message, draw: random.Random) -> None:
    """Keeps the call inside the campaign's app, mostly."""
    if "user_app_id" in message.DESCRIPTOR.fields_by_name and draw.random() < 0.95:
        message.user_app_id.user_id, message.user_app_id.app_id = USER, APP  # type: ignore[attr-defined]


class Attacker:
    """One client that calls one thing after another.

    Args:
        server: A running server.
        seed: The same seed draws the same calls.
    """

    def __init__(self, server: Server, seed: int) -> None:
        self.random = random.Random(seed)
        self.maker = Maker(seed, lambda message: pinned(message, self.random))
        self.tally = Tally()
        self._server = server
        self._channel = grpc.insecure_channel(
            server.grpc, options=[("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
        )
        address = urlsplit(server.http)
        self._http = http.client.HTTPConnection(str(address.hostname), address.port, timeout=SLOW_S)
        self._names = sorted(METHODS.keys() - _NEVER)

    def close(self) -> None:
        self._channel.close()
        self._http.close()

    def attack(self) -> None:
        """One call; what is wrong with its answer goes to the tally and to the corpus."""
        name = self.random.choice(self._names)
        request = self.maker.message(METHODS[name].descriptor.input_type)
        content = request.SerializeToString()
        if self.random.random() < 0.1:
            content = self.maker.mangled(content)
        door = self.random.choice(("own", "vendor", "json"))
        body = self._json(request) if door == "json" else content
        began = time.monotonic()
        wrong = self.send(door, name, body, request)
        took = time.monotonic() - began
        self.tally.calls[name] += 1
        self.tally.doors[door] += 1
        self.tally.slowest = max(self.tally.slowest, took)
        if not wrong and took > SLOW_S:
            wrong = f"took {took:.0f} s"
        if wrong:
            self.tally.faults.append(f"{door} {name}: {wrong}")
            keep(door, name, body, wrong)

    def send(self, door: str, name: str, body: bytes, request: Message | None = None) -> str:
        """What is wrong with the answer to these bytes, or ""."""
        return self._post(name, body, request) if door == "json" else self._call(door, name, body)

    def _call(self, door: str, name: str, body: bytes) -> str:
        method = METHODS[name]
        path = method.path if door == "own" else f"/{VENDOR}/{name}"
        try:
            invoke: grpc.UnaryUnaryMultiCallable[bytes, bytes] = self._channel.unary_unary(path)
            answer = invoke(body, timeout=SLOW_S)
        except grpc.RpcError as error:
            code = error.code()
            return "" if code in _REFUSALS else f"gRPC {code}: {error.details()}"
        return self._judge(method.response.FromString(answer).status)  # type: ignore[attr-defined]

    def _judge(self, status: Any) -> str:
        self.tally.codes[status.code] += 1
        if status.code >= INTERNAL or status.code == StatusCode.ZERO:
            return f"status {status.code} {status.description}: {status.details}"
        return ""

    def _json(self, request: Message) -> bytes:
        try:
            body = json_format.MessageToJson(request, preserving_proto_field_name=True).encode()
        except (ValueError, json_format.Error):  # numbers and structs that JSON cannot say
            body = b'{"inputs": [{"data": {"image": {"url": "x"}}}], "page": NaN}'
        return self.maker.mangled(body) if self.random.random() < 0.2 else body

    def _post(self, name: str, body: bytes, request: Message | None) -> str:
        verb, path = self._binding(name, request)
        if verb == "GET":
            body = b""
        try:
            answer, content = self._send(verb, path, body)
        except (http.client.HTTPException, OSError) as error:
            self._http.close()
            return f"{verb} {path}: {type(error).__name__}: {error}"
        if answer.getheader("connection") == "close":
            self._http.close()
        return self._judge_json(f"{verb} {path}", answer.status, content)

    def _send(self, verb: str, path: str, body: bytes) -> tuple[http.client.HTTPResponse, bytes]:
        """The answer; once more over a new connection where the server has closed an idle one meanwhile."""
        for last in (False, True):
            try:
                self._http.request(verb, path, body, {"Content-Type": "application/json"})
                answer = self._http.getresponse()
                return answer, answer.read()
            except (BrokenPipeError, ConnectionResetError, http.client.RemoteDisconnected):
                self._http.close()
                if last:
                    raise
        raise AssertionError

    def _judge_json(self, what: str, number: int, content: bytes) -> str:
        if number in {404, 405, 413, 429, 501}:
            return ""
        try:
            said = json.loads(content)
            code = int(said["status"]["code"])
        except (ValueError, KeyError, TypeError) as error:
            return f"{what}: HTTP {number} with a body that is not an answer: {error!r} {content[:200]!r}"
        self.tally.codes[code] += 1
        if number >= 500 or code >= INTERNAL:
            return f"{what}: HTTP {number}, status {said['status']}"
        return ""

    def _binding(self, name: str, request: Message | None) -> tuple[str, str]:
        """Verb and path of one of the call's bindings, with names from the message in the path."""
        rule = METHODS[name].descriptor.GetOptions().Extensions[annotations_pb2.http]
        one = self.random.choice([rule, *rule.additional_bindings])
        verb = str(one.WhichOneof("pattern"))
        path = str(getattr(one, verb))
        while "{" in path:
            start, end = path.index("{"), path.index("}")
            path = path[:start] + self._segment(path[start + 1 : end], request) + path[end + 1 :]
        if verb == "get" and self.random.random() < 0.3:
            path += f"?page={self.random.choice((1, 2, 0, -1, 'x'))}&per_page={self.random.choice((1, 1001, '%ff'))}"
        return verb.upper(), path

    def _segment(self, field_path: str, request: Message | None) -> str:
        value: Any = request
        for name in field_path.split("."):
            value = getattr(value, name, "") if value is not None else ""
        text = str(value) if isinstance(value, str | int) else ""
        return quote(text or self.random.choice(("n1", "x", "%C3%28")), safe="") or "n1"


def keep(door: str, name: str, body: bytes, wrong: str) -> None:
    """Writes a call to the corpus."""
    CORPUS.mkdir(exist_ok=True)
    content = {"door": door, "rpc": name, "found": wrong[:500], "body": base64.b64encode(body).decode()}
    file = CORPUS / f"{name}-{hash_of(body)}.json"
    file.write_text(json.dumps(content, indent=1) + "\n")


def hash_of(body: bytes) -> str:
    """A short name for a body."""
    return hashlib.blake2b(body, digest_size=6).hexdigest()


def corpus() -> Iterator[tuple[str, str, str, bytes]]:
    """(file name, door, RPC, body) of every call that once found something."""
    for file in sorted(CORPUS.glob("*.json")):
        content = json.loads(file.read_text())
        yield file.stem, content["door"], content["rpc"], base64.b64decode(content["body"])


def run(server: Server, calls: int, seed: int, clients: int = 4, tell: Callable[[str], None] | None = None) -> Tally:
    """So many calls by so many clients at once; `tell` hears every ten seconds how far it is."""
    attackers = [Attacker(server, seed * 1000 + number) for number in range(clients)]
    left = threading.Semaphore(calls)

    def work(attacker: Attacker) -> None:
        while left.acquire(blocking=False):
            try:
                attacker.attack()
            except DecodeError as error:
                attacker.tally.faults.append(f"an answer that cannot be read: {error}")
            if len(attacker.tally.faults) > 20 or server.process.poll() is not None:
                return

    threads = [threading.Thread(target=work, args=(attacker,)) for attacker in attackers]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    while tell is not None and any(thread.is_alive() for thread in threads):
        time.sleep(10)
        done = sum(sum(attacker.tally.calls.values()) for attacker in attackers)
        faults = sum(len(attacker.tally.faults) for attacker in attackers)
        tell(f"{done:,} calls, {done / (time.monotonic() - began):.0f}/s, {faults} faults, {memory(server)} MiB")
    for thread in threads:
        thread.join()
    found = Tally()
    for attacker in attackers:
        attacker.close()
        found.add(attacker.tally)
    if server.process.poll() is not None:
        found.faults.append(f"the server ended with {server.process.poll()}")
    return found


def explained(server: Server) -> list[str]:
    """The unexpected failures in the server's log: the last line of each traceback, and how often it came."""
    ends: Counter[str] = Counter()
    for line in server.log.read_text(errors="replace").splitlines():
        if '"unexpected"' in line:
            trace = json.loads(line).get("exception", "").strip().splitlines()
            ends[" | ".join(part.strip() for part in trace[-3:])] += 1
    return [f"{count} x {end}" for end, count in ends.most_common()]


def memory(server: Server) -> int:
    """Resident memory of the server in MiB."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) >> 10
