"""Throws random messages at every call of a real server, on both doors, and looks for crashes, hangs and INTERNAL.

Requests are bred from honest ones (breeding.py), so that they reach beyond the first check; some are drawn from
nothing. What is bred depends on what was answered, so a seed draws calls alike, but not the same ones each time.

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
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import grpc
from google.api import annotations_pb2
from google.protobuf import json_format
from google.protobuf.message import DecodeError, Message

from fuzz.breeding import Herd
from fuzz.ids import NAMES
from fuzz.messages import Maker
from postil.upkeep import verify_directory
from postil.v1.app_pb2 import App
from postil.v1.app_service_pb2 import DeleteAppRequest, PostAppsRequest
from postil.v1.common_pb2 import UserAppIDSet
from postil.v1.key_service_pb2 import ListKeysRequest
from postil.v1.status_code_pb2 import StatusCode
from support.doors import METHODS
from support.keys import created, shows
from support.server import OWN, VENDOR, Server

CORPUS = Path(__file__).parent / "corpus"
SLOW_S = 30.0  # a call of this campaign that takes longer hangs
USER, APP = "me", "fuzz"
OPTIONS = ("--max-message-mb", "8")
CLIENTS = 8
_TELL_S = 30
_LONG_PATH = 8000  # what reads HTTP refuses lines that are too long, in its own words
INTERNAL = 98_000  # codes from here on say that the server is at fault

# The server may refuse a call whole, for these reasons alone.
_REFUSALS = {grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.INVALID_ARGUMENT}
_FIXED = {"ListStatusCodes", "GetStatusCode", "ListScopes", "MyScopesUser", "GetUser"}  # say much the same each time
_HURRY = {grpc.StatusCode.DEADLINE_EXCEEDED}  # allowed where a call was given no time


@dataclass
class Tally:
    """What a campaign saw."""

    calls: Counter[str] = field(default_factory=Counter)
    codes: Counter[int] = field(default_factory=Counter)
    good: Counter[str] = field(default_factory=Counter)  # calls that went well, by name
    doors: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    slowest: float = 0.0

    def add(self, other: Tally) -> None:
        self.calls += other.calls
        self.codes += other.codes
        self.good += other.good
        self.doors += other.doors
        self.faults += other.faults
        self.slowest = max(self.slowest, other.slowest)


class Victim(Server):
    """A server that asks for keys, with one that opens everything and that no call takes away.

    Attributes:
        token: What to show.
        key_id: Its id.
    """

    def __init__(self, folder: Path, *options: str) -> None:
        (folder / "data").mkdir()
        self.token = created(folder / "data", "--user", USER)
        super().__init__(folder, *options)
        keys = self.good("ListKeys", ListKeysRequest(user_app_id=UserAppIDSet(user_id=USER)))
        self.key_id = str(keys.keys[0].id)

    def _environment(self) -> dict[str, str]:
        return super()._environment() | {"PYTHONFAULTHANDLER": "1"}  # says where native code died

    def good(self, rpc: str, request: Message) -> Any:
        """The answer to a call that must succeed."""
        answer = self.call(OWN, rpc, request, timeout=120, metadata=shows(self.token))
        assert answer.status.code == StatusCode.SUCCESS, answer
        return answer


def _weight(name: str) -> float:
    """How often a call is drawn: more is made than taken away, so that there is something to meet."""
    if name in _FIXED:
        return 0.2
    return {"Post": 3.0, "Patc": 2.0, "Dele": 0.3}.get(name[:4], 1.0)


class Attacker:
    """One client that calls one thing after another.

    Args:
        server: A running server.
        seed: What its draws begin with.
        app: The app that most calls are about.
        herd: What requests are bred from.
    """

    def __init__(self, server: Victim, seed: int, app: str = APP, herd: Herd | None = None) -> None:
        self.random = random.Random(seed)
        self.maker = Maker(self.random, self._pin)
        self.tally = Tally()
        self._server = server
        self._app = app
        self._herd = herd or Herd()
        self._herd.ids.spared.add(server.key_id)
        self._channel = grpc.insecure_channel(
            server.grpc, options=[("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
        )
        address = urlsplit(server.http)
        self._http = http.client.HTTPConnection(str(address.hostname), address.port, timeout=SLOW_S)
        self._names = sorted(METHODS)
        self._weights = list(accumulate(_weight(name) for name in self._names))

    def _pin(self, message: Message) -> None:
        """Keeps the call inside the campaign's app, mostly, or in one that others delete meanwhile."""
        if "user_app_id" not in message.DESCRIPTOR.fields_by_name or self.random.random() > 0.98:
            return
        doomed = self.random.random() < 0.05 or message.DESCRIPTOR.name == "DeleteAppRequest"
        app = self.random.choice(NAMES[:6]) if doomed else self._app
        message.user_app_id.user_id, message.user_app_id.app_id = USER, app  # type: ignore[attr-defined]

    def close(self) -> None:
        self._channel.close()
        self._http.close()

    def attack(self) -> None:
        """One call; what is wrong with its answer goes to the tally and to the corpus."""
        name = self.random.choices(self._names, cum_weights=self._weights)[0]
        request = self._herd.request(name, self.maker)
        content = request.SerializeToString()
        if self.random.random() < 0.05:
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
            if self._server.process.poll() is None:  # one that is gone answers nothing
                keep(door, name, body, wrong)

    def send(self, door: str, name: str, body: bytes, request: Message | None = None) -> str:
        """What is wrong with the answer to these bytes, or ""."""
        return self._post(name, body, request) if door == "json" else self._call(door, name, body)

    def _call(self, door: str, name: str, body: bytes) -> str:
        method = METHODS[name]
        path = method.path if door == "own" else f"/{VENDOR}/{name}"
        hurry = self.random.random() < 0.005
        try:
            invoke: grpc.UnaryUnaryMultiCallable[bytes, bytes] = self._channel.unary_unary(path)
            patience = self.random.choice((0.001, 0.01)) if hurry else SLOW_S
            content = invoke(body, timeout=patience, metadata=shows(self._token()))
        except grpc.RpcError as error:
            code = error.code()
            return "" if code in _REFUSALS or (hurry and code in _HURRY) else f"gRPC {code}: {error.details()}"
        answer: Any = method.response.FromString(content)
        with suppress(DecodeError):  # mangled ones are not bred from
            self._herd.learn(name, body, answer, self.random)
        return self._judge(name, answer.status)

    def _token(self) -> str:
        """The one that opens everything, mostly; else one that a call made, or a wrong one."""
        return self._server.token if self.random.random() < 0.97 else self._herd.token(self.random)

    def _judge(self, name: str, status: Any) -> str:
        self.tally.codes[status.code] += 1
        self.tally.good[name] += status.code == StatusCode.SUCCESS
        if status.code >= INTERNAL or status.code == StatusCode.ZERO:
            return f"status {status.code} {status.description}: {status.details}"
        return ""

    def _json(self, request: Message) -> bytes:
        try:
            body = json_format.MessageToJson(request, preserving_proto_field_name=True).encode()
        except (ValueError, json_format.Error):  # numbers and structs that JSON cannot say
            body = b'{"inputs": [{"data": {"image": {"url": "x"}}}], "page": NaN}'
        return self.maker.mangled(body) if self.random.random() < 0.07 else body

    def _post(self, name: str, body: bytes, request: Message | None) -> str:
        verb, path = self._binding(name, request)
        if verb == "GET":
            body = b""
        try:
            answer, content = self._send(verb, path, body)
        except (http.client.HTTPException, OSError) as error:
            self._http.close()
            if len(path) > _LONG_PATH:
                return ""
            return f"{verb} {path[:500]}: {type(error).__name__}: {error}"
        if answer.getheader("connection") == "close":
            self._http.close()
        return self._judge_json(name, f"{verb} {path}", answer.status, content)

    def _send(self, verb: str, path: str, body: bytes) -> tuple[http.client.HTTPResponse, bytes]:
        """The answer; once more over a new connection where the server has closed an idle one meanwhile."""
        headers = {"Content-Type": "application/json", "Authorization": f"Key {self._token()}"}
        for last in (False, True):
            try:
                self._http.request(verb, path, body, headers)
                with self._http.getresponse() as answer:
                    return answer, answer.read()
            except (BrokenPipeError, ConnectionResetError, http.client.RemoteDisconnected):
                self._http.close()
                if last:
                    raise
        raise AssertionError

    def _judge_json(self, name: str, what: str, number: int, content: bytes) -> str:
        try:
            said = json.loads(content)
            code = int(said["status"]["code"])
        except (ValueError, KeyError, TypeError) as error:
            if number in {404, 405, 413, 429, 501} or len(what) > _LONG_PATH:  # no call at all
                return ""
            return f"{what[:500]}: HTTP {number} with a body that is not an answer: {error!r} {content[:200]!r}"
        self.tally.codes[code] += 1
        self.tally.good[name] += code == StatusCode.SUCCESS
        if number >= 500 or code >= INTERNAL:
            return f"{what[:500]}: HTTP {number}, status {said['status']}"
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
        if verb == "get" and request is not None and self.random.random() < 0.5:
            path += _query(request)
        elif verb == "get" and self.random.random() < 0.3:
            path += f"?page={self.random.choice((1, 2, 0, -1, 'x'))}&per_page={self.random.choice((1, 1001, '%ff'))}"
        return verb.upper(), path

    def _segment(self, field_path: str, request: Message | None) -> str:
        value: Any = request
        for name in field_path.split("."):
            value = getattr(value, name, "") if value is not None else ""
        text = str(value) if isinstance(value, str | int) else ""
        return quote(text or self.random.choice(("n1", "x", "%C3%28")), safe="") or "n1"


def _query(request: Message) -> str:
    """What a message says in its plain fields, as the query of a path."""
    try:
        fields = json_format.MessageToDict(request, preserving_proto_field_name=True, use_integers_for_enums=True)
    except (ValueError, json_format.Error):  # what JSON cannot say
        return "?page=NaN"
    plain = [(name, value) for name, value in fields.items() if not isinstance(value, dict)]
    text = urlencode([(name, json.dumps(value) if isinstance(value, bool) else value) for name, value in plain], True)
    return f"?{text}" if text else ""


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


def run(
    server: Victim,
    calls: int,
    seed: int,
    *,
    clients: int = CLIENTS,
    herd: Herd | None = None,
    tell: Callable[[str], None] | None = None,
) -> Tally:
    """So many calls by so many clients at once, in an app that is gone afterwards.

    Args:
        server: A running server.
        calls: How many.
        seed: What the draws begin with.
        clients: Threads.
        herd: What earlier runs bred.
        tell: Hears every half minute how far it is.
    """
    herd, app = herd or Herd(), f"{APP}-{seed}"
    herd.ids.clear()
    about = UserAppIDSet(user_id=USER)
    server.good("PostApps", PostAppsRequest(user_app_id=about, apps=[App(id=app)]))
    attackers = [Attacker(server, seed * 1000 + number, app, herd) for number in range(clients)]
    left = threading.Semaphore(calls)
    threads = [threading.Thread(target=_work, args=(server, attacker, left)) for attacker in attackers]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    heard = began
    while any(thread.is_alive() for thread in threads):
        time.sleep(0.2)
        if tell is not None and time.monotonic() > heard + _TELL_S:
            heard = time.monotonic()
            tell(_progress(server, attackers, heard - began))
    for thread in threads:
        thread.join()
    found = Tally()
    for attacker in attackers:
        attacker.close()
        found.add(attacker.tally)
    found.faults += _aftermath(server, app)
    return found


def _work(server: Victim, attacker: Attacker, left: threading.Semaphore) -> None:
    while left.acquire(blocking=False):
        try:
            attacker.attack()
        except DecodeError as error:
            attacker.tally.faults.append(f"an answer that cannot be read: {error}")
        if len(attacker.tally.faults) > 20 or server.process.poll() is not None:
            return


def _progress(server: Victim, attackers: list[Attacker], seconds: float) -> str:
    done = sum(attacker.tally.calls.total() for attacker in attackers)
    good = sum(attacker.tally.good.total() for attacker in attackers)
    faults = sum(len(attacker.tally.faults) for attacker in attackers)
    share = good / max(1, done)
    return f"{done:,} calls, {done / seconds:.0f}/s, {share:.0%} well, {faults} faults, {memory(server)} MiB"


def _aftermath(server: Victim, app: str) -> list[str]:
    """What is wrong with the server after a run, whose app goes."""
    if server.process.poll() is not None:
        last = server.log.read_text(errors="replace").partition("Fatal Python error")[2] or server.tail()
        return [f"the server ended with {server.process.poll()}: {_current(last)}"]
    wrong = [f"postil verify: {one}" for one in verify_directory(server.data_dir)]
    server.good("DeleteApp", DeleteAppRequest(user_app_id=UserAppIDSet(user_id=USER, app_id=app)))
    return wrong


def _current(trace: str) -> str:
    """The part of a dump of threads that is about the one that died."""
    return trace[max(0, trace.find("Current thread")) :].partition("\n\n")[0][:5000]


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
