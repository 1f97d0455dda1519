"""A page in the browser of somebody who runs a server on his machine: it can neither write there nor read, whichever
site it is from and wherever that site's name leads."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Callable

import pytest
import requests

from postil.config import Address
from postil.doors.http.hosts import Hosts
from postil.v1.input_service_pb2 import ListInputsRequest
from support.keys import created
from support.server import OWN, Server

LOOPBACK, WIDE = Address("127.0.0.1", 18081), Address("0.0.0.0", 18081)  # noqa: S104 nothing listens
POST = {"inputs": [{"id": "planted", "data": {"text": {"raw": "by a page"}}}]}
PAGES = ["/v2/inputs", "/v2/users/me/apps/main/inputs", "/metrics", "/docs", "/openapi.json", "/blobs/" + "0" * 64, "/"]
FOREIGN = [
    "evil.example", "evil.example:18081", "EVIL.EXAMPLE.", "localhost.evil.example", "127.0.0.1.evil.example",
    "127.0.0.1.sslip.io", "notlocalhost", "", ".", "[evil.example]", "a b", "evil.example@127.0.0.1",
]  # fmt: skip


def asked(server: Server, verb: str, path: str, headers: dict[str, str], body: str | None = None) -> tuple[int, bytes]:
    """Status and body of a request with exactly these headers."""
    connection = http.client.HTTPConnection(server.http.removeprefix("http://"), timeout=60)
    connection.putrequest(verb, path, skip_host=True, skip_accept_encoding=True)
    for name, value in headers.items():
        connection.putheader(name, value)
    if body is not None:
        connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body.encode() if body is not None else None)
    response = connection.getresponse()
    answer = response.status, response.read()
    connection.close()
    return answer


def inputs(server: Server, key: str = "any") -> list[str]:
    request = ListInputsRequest()
    request.user_app_id.user_id, request.user_app_id.app_id = "postil", "main"
    answer = server.call(OWN, "ListInputs", request, metadata=(("authorization", f"Key {key}"),))
    assert answer.status.code == 10000
    return [one.id for one in answer.inputs]


@pytest.mark.parametrize("host", FOREIGN)
def test_names_that_may_lead_anywhere_are_not_ours(host: str) -> None:
    assert not Hosts(LOOPBACK).known(host)


def test_names_that_are_ours() -> None:
    hosts = Hosts(LOOPBACK, "https://Labels.Example.org/base", ["other.example.org"])
    for name in ("127.0.0.1", "localhost", "LocalHost.", "[::1]", "app.localhost", "192.168.1.2", "labels.example.org",
                 "other.example.org"):  # fmt: skip
        assert hosts.known(name)
        assert hosts.known(f"{name}:18081")
    machine = socket.gethostname()
    assert hosts.known(machine)
    assert hosts.known(f"{machine}.local:18081")  # as others on the network find it
    assert not hosts.known("labels.example.net")
    assert Hosts(WIDE).known("postil:18081")  # a container's name
    assert not Hosts(WIDE).known("evil.example")
    assert Hosts(LOOPBACK, "", ["*"]).known("anything.example")


def test_a_page_whose_name_was_led_here_gets_nothing(start_server: Callable[..., Server]) -> None:
    server = start_server()
    port = server.http.rpartition(":")[2]
    for host in (f"evil.example:{port}", "evil.example", f"127.0.0.1.sslip.io:{port}"):
        # To the browser this is the page's own site: same origin, readable, no preflight.
        for path in PAGES:
            status, body = asked(server, "GET", path, {"Host": host})
            assert (status, json.loads(body)["status"]["code"]) == (403, 11102), path
            assert b"--allowed-hosts" in body
        own = {"Host": host, "Origin": f"http://{host}", "Content-Type": "application/json"}
        for verb in ("POST", "PATCH", "DELETE", "OPTIONS"):
            assert asked(server, verb, "/v2/inputs", own, json.dumps(POST))[0] == 403
    assert inputs(server) == []
    good = {"Host": f"localhost:{port}", "Origin": f"http://localhost:{port}"}
    assert asked(server, "POST", "/v2/inputs", good, json.dumps(POST))[0] == 200
    assert inputs(server) == ["planted"]


def test_a_page_of_another_site_cannot_write_unseen(start_server: Callable[..., Server]) -> None:
    """Requests that a browser sends without asking first: forms, text/plain, beacons, pictures."""
    server = start_server()
    host = server.http.removeprefix("http://")
    for origin in ("http://evil.example", "https://evil.example", "null", f"http://localhost:{host[-4:]}", "file://",
                   f"http://{host}.evil.example", f"http://evil.example/{host}"):  # fmt: skip
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""):
            headers = {"Host": host, "Origin": origin, "Content-Type": kind}
            assert asked(server, "POST", "/v2/inputs", headers, json.dumps(POST))[0] == 403
    for site in ("cross-site", "same-site"):
        drawn = {"Host": host, "Sec-Fetch-Site": site, "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}
        assert asked(server, "GET", "/v2/inputs", drawn)[0] == 403
    assert inputs(server) == []
    typed = {"Host": host, "Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate"}
    assert asked(server, "GET", "/v2/inputs", typed)[0] == 200
    answer = requests.options(
        f"{server.http}/v2/inputs",
        headers={"Origin": "http://evil.example", "Access-Control-Request-Method": "DELETE"},
        timeout=60,
    )
    assert not any(name.startswith("access-control-") for name in map(str.lower, answer.headers))


def test_with_keys_any_name_will_do(start_server: Callable[..., Server]) -> None:
    """A page has no key to show; clients that call by some name or other have one."""
    server = start_server()
    named = {"Host": "labels.corp.example"}
    assert asked(server, "GET", "/v2/inputs", named)[0] == 403
    token = created(server.data_dir)
    assert asked(server, "GET", "/v2/inputs", named)[0] == 401
    keyed = {**named, "Authorization": f"Key {token}"}
    assert asked(server, "GET", "/v2/users/me/apps/main/inputs", keyed)[0] == 200
    assert inputs(server, token) == []


def test_names_can_be_allowed(start_server: Callable[..., Server]) -> None:
    server = start_server("--allowed-hosts", "labels.corp.example")
    assert asked(server, "GET", "/v2/inputs", {"Host": "Labels.corp.example:80"})[0] == 200
    assert asked(server, "GET", "/v2/inputs", {"Host": "other.corp.example"})[0] == 403


def test_every_get_only_reads() -> None:
    """Pages can have any address fetched, so none that is fetched may change anything."""
    from postil.doors.http.bindings import bindings_of
    from support.doors import METHODS

    for method in METHODS.values():
        assert method.reads or not any(binding.verb == "GET" for binding in bindings_of(method)), method.name
