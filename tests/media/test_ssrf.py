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
from postil import errors
from postil.media.addresses import AddressRule
from postil.media.fetch import Fetcher
from postil.v1.status_code_pb2 import StatusCode

OUTSIDER = Fetcher(timeout_s=2)  # nothing is allowed but what is public

INNER = """
0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 100.64.0.1 100.127.255.254 127.0.0.1 127.1.2.3 127.255.255.254
169.254.0.1 169.254.169.254 169.254.170.2 172.16.0.1 172.31.255.255 192.0.0.1 192.0.0.170 192.0.2.1 192.88.99.1
192.168.0.1 192.168.255.255 198.18.0.1 198.19.255.255 198.51.100.7 203.0.113.7 224.0.0.1 239.255.255.255 240.0.0.1
255.255.255.255
:: ::1 ::2 ::7f00:1 ::127.0.0.1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:169.254.169.254 ::ffff:0:127.0.0.1
64:ff9b::7f00:1 64:ff9b::10.0.0.1 64:ff9b::169.254.169.254 64:ff9b:1::1 64:ff9b:1:fffe::7f00:1 100::1 100:0:0:1::1
2001::1 2001:0:7f00:1:: 2001:2::1 2001:10::1 2001:20::1 2001:db8::1 2002:7f00:1:: 2002:a00:1::1 2002:a9fe:a9fe::
3fff::1 4000::1 5f00::1 fc00::1 fd00::1 fd00:ec2::254 fdff:ffff::1 fe80::1 febf::1 fec0::1 ff00::1 ff02::1 ff0e::1
::ffff:192.168.1.1 ::ffff:172.16.0.1 ::ffff:100.64.0.1 ::ffff:0.0.0.0 64:ff9b::c0a8:101 8000::1 1::1
""".split()  # noqa: SIM905 one word a line would fill pages

OUTER = """
1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.1 93.184.215.14 100.63.255.255 100.128.0.1 126.255.255.255 128.0.0.1 169.253.0.1
169.255.0.1 172.15.255.255 172.32.0.1 192.0.1.1 192.167.0.1 192.169.0.1 198.17.0.1 198.20.0.1 223.255.255.255
2606:4700::1111 2a00:1450:4001:800::200e 2001:4860:4860::8888 2620:fe::fe ::ffff:8.8.8.8 64:ff9b::8.8.8.8
""".split()  # noqa: SIM905 one word a line would fill pages

# The same few addresses, in every spelling that some resolver or parser reads.
SPELLINGS = """
http://localhost/ http://LOCALHOST/ http://localhost./ http://127.1/ http://127.0.1/ http://0/ http://0.0.0.0/
http://2130706433/ http://017700000001/ http://0x7f000001/ http://0x7F.1/ http://0177.0.0.1/ http://0x7f.0x0.0x0.0x1/
http://127.0.0.1./ http://127.000.000.001/ http://00000177.1/ http://2852039166/ http://0xa9fea9fe/
http://0251.0376.0251.0376/ http://0xa9.0xfe.0xa9.0xfe/ http://169.254.43518/ http://10.1/ http://167772161/
http://[::1]/ http://[0:0:0:0:0:0:0:1]/ http://[::]/ http://[::ffff:127.0.0.1]/ http://[::ffff:7f00:1]/
http://[0:0:0:0:0:ffff:127.0.0.1]/ http://[::ffff:a9fe:a9fe]/ http://[64:ff9b::7f00:1]/ http://[2002:7f00:1::]/
http://[fe80::1]/ http://[fd00:ec2::254]/ http://[::127.0.0.1]/ http://[0000::1]:80/
http://①②⑦.⓪.⓪.①/ http://127。0。0。1/ http://１２７.0.0.1/ http://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ/ http://127．0．0．1/
""".split()  # noqa: SIM905 one word a line would fill pages

MALFORMED = [
    "",
    " ",
    "a.jpg",
    "//8.8.8.8/a.jpg",
    "/etc/passwd",
    "file:///etc/passwd",
    "file://localhost/etc/passwd",
    "gopher://127.0.0.1:6379/_INFO",
    "ftp://8.8.8.8/a",
    "dict://127.0.0.1:11211/stat",
    "ldap://8.8.8.8/",
    "data:image/png;base64,AAAA",
    "javascript:alert(1)",
    "jar:http://8.8.8.8/a!/b",
    "s3://bucket/key",
    "http:/8.8.8.8/",
    "http:8.8.8.8",
    "http://",
    "http:///a",
    "http://:80/",
    "http://?a",
    "http://user@8.8.8.8/",
    "http://user:password@8.8.8.8/",
    "http://8.8.8.8@127.0.0.1/",
    "http://8.8.8.8:80@127.0.0.1/",
    "http://@127.0.0.1/",
    "http://8.8.8.8\\@127.0.0.1/",
    "http://127.0.0.1\\.example.com/",
    "http://8.8.8.8\t/",
    "http://8.8.8.8/a b",
    "http://8.8.8.8/a\r\nX: y",
    "http://8.8.8.8/\x00",
    "http://8.8.8.8/\x7f",
    "http://8.8.8.8/\u2028",
    "http://127.0.0.1%2f@8.8.8.8/",
    "http://127.0.0.1%00.example.com/",
    "http://[::1",
    "http://::1/",
    "http://[::1%25lo]/",
    "http://[fe80::1%eth0]/",
    "http://[v1.a]/",
    "http://[127.0.0.1]/",
    "http://8.8.8.8:0/",
    "http://8.8.8.8:65536/",
    "http://8.8.8.8:-1/",
    "http://8.8.8.8:a/",
    "http://a..b/",
    "http://" + "a" * 64 + ".example/",
    "http://8.8.8.8/" + "a" * 9000,
]

CLOSED_PORTS = [1, 21, 22, 23, 25, 110, 143, 389, 445, 3306, 5432, 6379, 8000, 9200, 11211, 18080, 27017, 65535]


@pytest.fixture
def dialled(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Records every connection that is tried, and lets none out that does not go to loopback."""
    seen: list[tuple[str, int]] = []
    connect = socket.create_connection

    def recording(address: tuple[str, int], *args: Any, **options: Any) -> socket.socket:
        seen.append(address)
        if not ipaddress.ip_address(address[0]).is_loopback:
            raise ConnectionRefusedError("tests stay on this machine")
        return connect(address, *args, **options)

    monkeypatch.setattr(socket, "create_connection", recording)
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


REDIRECTS = [
    "http://127.0.0.1/",
    "http://localhost:6379/",
    "http://169.254.169.254/latest/meta-data/",
    "//169.254.169.254/",
    "https://[::1]/",
    "http://[::ffff:169.254.169.254]/",
    "http://2130706433/",
    "http://0x7f.1/",
    "http://8.8.8.8:22/",
    "http://user:password@8.8.8.8/",
    "file:///etc/passwd",
    "gopher://127.0.0.1/",
    "ftp://8.8.8.8/",
    "data:,x",
    "http://[::1",
    "http://10.0.0.1\\@8.8.8.8/",
]


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
