"""A world in which every address there is leads to this machine, and a listener notes who was dialled.

Run inside a network namespace of its own (test_ssrf_world.py): all of IPv4 and IPv6 is routed to the loopback, servers
listen on the ports of the web and some others, a name server answers as badly as it can, and a real server is asked to
fetch every URL. Prints what came of it as JSON. Nothing is replaced inside the server.
"""

from __future__ import annotations

import contextlib
import ipaddress
import itertools
import json
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from media.vectors import CLOSED_PORTS, INNER, MALFORMED, OUTER, REDIRECTS, SPELLINGS
from postil.v1.input_service_pb2 import ListInputsRequest, PostInputsRequest
from postil.v1.status_code_pb2 import StatusCode
from support.server import OWN, Server

PORTS = (80, 443, 8080, 8443, 22, 2375, 6379, 8000, 9200, 11211)
PUBLIC = "8.8.4.4"  # where names lead at first
ENTRANCE = "8.8.8.8"  # where redirects come from
_BATCH = 64
_ENOUGH_S = 240
_A, _CNAME, _AAAA = 1, 5, 28


class Listeners:
    """Accepts on every address; `/r/N` redirects to the Nth URL, `/again` to the same host."""

    def __init__(self, urls: list[str]) -> None:
        self._urls = urls
        self.dialled: Counter[str] = Counter()
        for family, anywhere in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):  # noqa: S104 a world of its own
            for port in PORTS:
                listening = socket.socket(family, socket.SOCK_STREAM)
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                listening.bind((anywhere, port))
                listening.listen(64)
                threading.Thread(target=self._serve, args=(listening,), daemon=True).start()

    def _serve(self, listening: socket.socket) -> None:
        while True:
            connection, _ = listening.accept()
            host, port = connection.getsockname()[:2]
            self.dialled[f"{ipaddress.ip_address(host)} {port}"] += 1
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError), connection:
            connection.settimeout(10)
            path = connection.recv(65536).split(b" ")[1].decode()
            answer = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            if path.startswith("/r/") or path == "/again":
                location = self._urls[int(path[3:])] if path.startswith("/r/") else "/"
                answer = f"HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"
            connection.sendall(answer.encode())


class Names:
    """A name server. The first label of a name says what it answers:

    at-ADDRESS (colons and dots as dashes, "x" before IPv6): that address; twice-…: a public one first, that one ever
    after; among-…: public ones and that; alias-…: an alias of at-….
    """

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        for server in _name_servers():
            bound = socket.socket(socket.AF_INET6 if ":" in server else socket.AF_INET, socket.SOCK_DGRAM)
            bound.bind((server, 53))
            threading.Thread(target=self._serve, args=(bound,), daemon=True).start()

    def _serve(self, bound: socket.socket) -> None:
        while True:
            question, peer = bound.recvfrom(4096)
            bound.sendto(self._answer(question), peer)

    def _answer(self, question: bytes) -> bytes:
        labels, at = [], 12
        while question[at]:
            labels.append(question[at + 1 : at + 1 + question[at]].decode("latin-1"))
            at += 1 + question[at]
        kind, asked = struct.unpack(">H", question[at + 1 : at + 3])[0], question[12 : at + 5]
        how, _, rest = labels[0].lower().partition("-")
        found = self._found(how, rest, kind) if labels[-1] == "test" else None
        records = b"".join(
            b"\xc0\x0c" + struct.pack(">HHIH", type_, 1, 0, len(data)) + data for type_, data in found or []
        )
        flags = 0x8180 if found is not None else 0x8183  # no such name
        return question[:2] + struct.pack(">HHHHH", flags, 1, len(found or []), 0, 0) + asked + records

    def _found(self, how: str, rest: str, kind: int) -> list[tuple[int, bytes]] | None:
        address = ipaddress.ip_address(rest[1:].replace("-", ":") if rest.startswith("x") else rest.replace("-", "."))
        is_kind = kind == (_AAAA if address.version == 6 else _A)
        inner = [(kind, address.packed)] if is_kind else []
        public = [(kind, socket.inet_aton(PUBLIC))] if kind == _A else []
        match how:
            case "at":
                return inner
            case "twice":
                self.asked[rest] += kind == _A
                return public if self.asked[rest] <= 1 else inner
            case "among":
                return public + inner
            case "alias":
                target = f"at-{rest}"
                return [(_CNAME, bytes([len(target)]) + target.encode() + b"\x04test\x00")]
        return None


def _name_servers() -> list[str]:
    lines = Path("/etc/resolv.conf").read_text().splitlines()
    return [line.split()[1] for line in lines if line.startswith("nameserver")] or ["127.0.0.1"]


def _label(address: str) -> str:
    whole = ipaddress.ip_address(address)
    return f"x{whole.exploded.replace(':', '-')}" if whole.version == 6 else address.replace(".", "-")


def _at(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def vectors() -> list[str]:
    """Every URL that must lead nowhere: written out, by four kinds of names, and by a redirect from a public server."""
    direct = [f"http://{_at(address)}/latest/meta-data/" for address in INNER]
    direct += [url for url in (*SPELLINGS, *MALFORMED) if url.strip()]
    direct += [f"http://{ENTRANCE}:{port}/" for port in CLOSED_PORTS]
    named = [f"http://{how}-{_label(address)}.test/" for how in ("at", "among", "alias") for address in INNER]
    return direct + named + [url for url in REDIRECTS if url not in direct]


def posted(server: Server, urls: list[str]) -> dict[str, int]:
    """The status that an input of each URL ends with."""
    codes: dict[str, int] = {}
    for start in range(0, len(urls), _BATCH):
        request = PostInputsRequest()
        for place, url in enumerate(urls[start : start + _BATCH], start):
            image = request.inputs.add(id=f"{place}").data.image
            image.url, image.allow_duplicate_url = url, True
        answered = server.call(OWN, "PostInputs", request).inputs
        codes |= {urls[int(one.id)]: one.status.code for one in answered}
    until = time.monotonic() + _ENOUGH_S
    while time.monotonic() < until:
        for page in itertools.count(1):
            found = server.call(OWN, "ListInputs", ListInputsRequest(page=page, per_page=1000)).inputs
            codes |= {urls[int(one.id)]: one.status.code for one in found}
            if len(found) < 1000:
                break
        if StatusCode.INPUT_PENDING not in codes.values():
            return codes
        time.sleep(0.1)
    raise TimeoutError("inputs stay pending")


def main(folder: str) -> None:
    for line in ("link set lo up", "route add local 0.0.0.0/0 dev lo", "-6 route add local ::/0 dev lo"):
        subprocess.run(["ip", *line.split()], check=True)
    urls = vectors()
    listeners, _names = Listeners(urls), Names()
    through = [f"http://{ENTRANCE}/r/{place}" for place in range(len(urls))]
    turning = [f"http://twice-{_label(address)}.test/again" for address in INNER]
    open_ = [f"http://{_at(address)}/" for address in OUTER]
    report: dict[str, Any] = {}
    Path(folder).mkdir(exist_ok=True)
    server = Server(Path(folder))
    try:
        report["codes"] = posted(server, [*open_, *urls, *through, *turning])
        report["refused"] = [*urls, *through, *turning]
        report["dialled"] = dict(listeners.dialled)
    finally:
        server.stop()
    sys.stdout.write(json.dumps(report))


if __name__ == "__main__":
    main(sys.argv[1])
