"""URLs that point inward are refused before a single packet leaves: two hundred ways to write them, redirects,
and names whose address changes between the check and the call."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from media.servers import redirect, reply, serving
from media.vectors import CLOSED_PORTS, INNER, MALFORMED, OUTER, REDIRECTS, SPELLINGS
from postil import errors
from postil.media.addresses import AddressRule
from postil.media.fetch import Fetcher
from postil.v1.status_code_pb2 import StatusCode

OUTSIDER = Fetcher(timeout_s=2)  # nothing is allowed but what is public


@pytest.fixture
def dialled(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Records every connection that is tried, and lets none out that does not go to loopback."""
    seen: list[tuple[str, int]] = []
    connect = socket.socket.connect_ex

    def recording(sock: socket.socket, address: tuple[str, int]) -> int:
        seen.append(address[:2])
        if not ipaddress.ip_address(address[0]).is_loopback:
            raise ConnectionRefusedError("tests stay on this machine")
        return connect(sock, address)

    monkeypatch.setattr(socket.socket, "connect_ex", recording)
    return seen


def names(monkeypatch: pytest.MonkeyPatch, answers: Callable[[str], list[str]]) -> list[str]:
    """Replaces the name server. Returns the list of names asked for."""
    asked: list[str] = []
    real = socket.getaddrinfo

    def answering(host: str, port: int, *args: Any, **options: Any) -> list[Any]:
        with contextlib.suppress(ValueError):
            ipaddress.ip_address(host)
            return list(real(host, port, *args, **options))
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in answers(host)]

    monkeypatch.setattr(socket, "getaddrinfo", answering)
    return asked


def refused(url: str, fetcher: Fetcher | None = None) -> errors.Failure:
    with pytest.raises(errors.Failure) as caught:
        (fetcher or OUTSIDER).fetch(url)
    return caught.value


@pytest.mark.parametrize("address", INNER)
def test_inner_addresses_are_closed(address: str, dialled: list[tuple[str, int]]) -> None:
    assert not AddressRule().open(address)
    host = f"[{address}]" if ":" in address else address
    failure = refused(f"http://{host}/latest/meta-data/")
    assert failure.code == StatusCode.INPUT_INVALID_URL
    assert not dialled


@pytest.mark.parametrize("address", OUTER)
def test_public_addresses_are_open(address: str, dialled: list[tuple[str, int]]) -> None:
    assert AddressRule().open(address)
    host = f"[{address}]" if ":" in address else address
    refused(f"http://{host}/")
    assert [(ipaddress.ip_address(found), port) for found, port in dialled] == [(ipaddress.ip_address(address), 80)]


@pytest.mark.parametrize("url", SPELLINGS)
def test_spellings_of_inner_addresses(url: str, dialled: list[tuple[str, int]]) -> None:
    failure = refused(url)
    assert failure.code in {StatusCode.INPUT_INVALID_URL, StatusCode.INPUT_CONNECTION_FAILED}
    assert not dialled


@pytest.mark.parametrize("url", MALFORMED)
def test_malformed_urls(url: str, dialled: list[tuple[str, int]]) -> None:
    failure = refused(url)
    assert failure.code == StatusCode.INPUT_INVALID_URL
    assert not dialled
    assert "password" not in failure.details.replace("user name or password", "")


@pytest.mark.parametrize("port", CLOSED_PORTS)
def test_ports_of_other_services_are_closed(port: int, dialled: list[tuple[str, int]]) -> None:
    failure = refused(f"http://8.8.8.8:{port}/")
    assert failure.code == StatusCode.INPUT_INVALID_URL
    assert str(port) in failure.details
    assert not dialled


@pytest.mark.parametrize("port", [80, 443, 8080, 8443])
def test_ports_of_the_web_are_open(port: int, dialled: list[tuple[str, int]]) -> None:
    refused(f"http://8.8.8.8:{port}/")
    assert dialled == [("8.8.8.8", port)]


def test_what_the_operator_allows_is_open_on_every_port() -> None:
    with serving(reply(b"picture")) as server:
        url = f"http://127.0.0.1:{server.port}/"
        assert Fetcher(allow_cidrs=["127.0.0.0/8"]).fetch(url) == b"picture"
        refused(url, Fetcher(allow_cidrs=["127.0.0.2/32", "10.0.0.0/8"]))
        assert server.accepted == 1


def test_allowed_networks_hold_for_mapped_addresses() -> None:
    rule = AddressRule(["127.0.0.0/8", "fd00::/8"])
    assert rule.open("::ffff:127.0.0.1")
    assert rule.open("fd00::1")
    assert not rule.open("fe80::1%eth0")
    with pytest.raises(ValueError, match="not-a-network"):
        AddressRule(["not-a-network"])


@pytest.fixture
def entrance() -> Iterator[Callable[[str], errors.Failure]]:
    """Fetches from an allowed server that redirects to a URL, and gives the refusal."""

    def through(location: str) -> errors.Failure:
        with serving(redirect(location)) as server:
            failure = refused(f"http://127.0.0.77:{server.port}/", Fetcher(["127.0.0.77/32"], timeout_s=2))
            assert len(server.requests) == 1
            return failure

    # The server listens on 127.0.0.1; 127.0.0.77 is another way to it only if it listens on all of loopback.
    with pytest.MonkeyPatch.context() as patch:
        create = socket.create_server
        patch.setattr(socket, "create_server", lambda _, **options: create(("", 0), **options))
        yield through


@pytest.mark.parametrize("location", REDIRECTS)
def test_redirects_inward_are_refused(
    location: str, entrance: Callable[[str], errors.Failure], dialled: list[tuple[str, int]]
) -> None:
    assert entrance(location).code == StatusCode.INPUT_INVALID_URL
    assert [host for host, _ in dialled] == ["127.0.0.77"]


def test_a_name_is_looked_up_once_and_that_address_dialled(
    monkeypatch: pytest.MonkeyPatch, dialled: list[tuple[str, int]]
) -> None:
    """DNS rebinding: the second answer would be loopback."""
    answers = iter([["93.184.215.14"], ["127.0.0.1"], ["127.0.0.1"]])
    asked = names(monkeypatch, lambda _: next(answers))
    refused("http://rebinding.example/")
    assert asked == ["rebinding.example"]
    assert dialled == [("93.184.215.14", 80)]


def test_one_inner_address_among_public_ones_closes_the_name(
    monkeypatch: pytest.MonkeyPatch, dialled: list[tuple[str, int]]
) -> None:
    names(monkeypatch, lambda _: ["93.184.215.14", "10.0.0.1"])
    failure = refused("http://mixed.example/")
    assert failure.code == StatusCode.INPUT_INVALID_URL
    assert "10.0.0.1" not in failure.details + failure.notes
    assert not dialled


@pytest.mark.parametrize("name", ["127.0.0.1.sslip.example", "localtest.example", "metadata.example", "bücher.example"])
def test_public_names_of_inner_addresses(name: str, monkeypatch: pytest.MonkeyPatch, dialled: list[Any]) -> None:
    asked = names(monkeypatch, lambda _: ["127.0.0.1"])
    assert refused(f"http://{name}/").code == StatusCode.INPUT_INVALID_URL
    assert all(host.isascii() for host in asked)
    assert not dialled


def test_each_redirect_is_looked_up_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name was fine at first and points inward by the time of the redirect."""
    answers = iter([["127.0.0.77"], ["127.0.0.1"]])
    names(monkeypatch, lambda _: next(answers))
    create = socket.create_server
    monkeypatch.setattr(socket, "create_server", lambda _, **options: create(("", 0), **options))
    with serving(redirect("/again")) as server:
        failure = refused(f"http://turncoat.example:{server.port}/", Fetcher(["127.0.0.77/32"], timeout_s=2))
        assert len(server.requests) == 1
    assert failure.code == StatusCode.INPUT_INVALID_URL


def test_all_addresses_of_a_name_are_tried() -> None:
    with serving(reply(b"there")) as server, pytest.MonkeyPatch.context() as patch:
        names(patch, lambda _: ["127.0.0.88", "127.0.0.1"])
        url = f"http://several.example:{server.port}/"
        assert Fetcher(["127.0.0.0/8"], timeout_s=5).fetch(url) == b"there"
        assert f"Host: several.example:{server.port}".encode() in server.requests[0]


def test_no_credentials_and_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(reply(b"proxied")) as proxy, serving(reply(b"direct")) as server:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        assert Fetcher(["127.0.0.0/8"]).fetch(f"http://127.0.0.1:{server.port}/") == b"direct"
        assert proxy.accepted == 0
        assert b"authorization" not in server.requests[0].lower()
        assert b"cookie" not in server.requests[0].lower()


def test_the_rule_is_no_laxer_than_the_standard_library() -> None:
    rule = AddressRule()
    for text in INNER + OUTER:
        address = ipaddress.ip_address(text)
        if rule.open(text) and not text.startswith(("::ffff", "64:ff9b")):
            assert address.is_global
            assert not address.is_multicast
