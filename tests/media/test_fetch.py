"""Fetching from real servers on loopback: what a URL brings, and every bound on it."""

from __future__ import annotations

import gzip
import select
import shutil
import socket
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from media.servers import Answer, certificate, redirect, reply, serving
from postil import errors
from postil.media.fetch import Fetcher
from postil.v1.status_code_pb2 import StatusCode

LOOPBACK = ("127.0.0.0/8", "::1/128")


def fetcher(**options: Any) -> Fetcher:
    return Fetcher(allow_cidrs=LOOPBACK, **({"timeout_s": 5.0} | options))


def fetched(answer: Answer, path: str = "/a.jpg", **options: Any) -> bytes:
    with serving(answer) as server:
        return fetcher(**options).fetch(f"http://127.0.0.1:{server.port}{path}")


def refusal(answer: Answer, path: str = "/a.jpg", **options: Any) -> errors.Failure:
    with pytest.raises(errors.Failure) as caught:
        fetched(answer, path, **options)
    return caught.value


def test_the_body_comes_back() -> None:
    body = bytes(range(256)) * 4000
    assert fetched(reply(body)) == body


def test_a_body_that_ends_with_the_connection() -> None:
    assert fetched(reply(b"abc" * 1000, length=False)) == b"abc" * 1000


def test_a_chunked_body() -> None:
    def chunks(connection: socket.socket, _: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for piece in (b"one ", b"two ", b"three"):
            connection.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
        connection.sendall(b"0\r\n\r\n")

    assert fetched(chunks) == b"one two three"


def test_what_is_asked() -> None:
    with serving(reply(b"x")) as server:
        fetcher().fetch(f" http://127.0.0.1:{server.port}/ä b?q=ü&r=%20 ".replace(" b", "b"))
        (head,) = server.requests
    lines = head.decode("ascii").split("\r\n")
    assert lines[0] == "GET /%C3%A4b?q=%C3%BC&r=%20 HTTP/1.1"
    names = {line.partition(":")[0].lower() for line in lines[1:] if line}
    assert names == {"host", "user-agent", "accept", "accept-encoding", "connection"}
    assert f"Host: 127.0.0.1:{server.port}" in lines


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
def test_redirects_are_followed(status: str) -> None:
    def answer(connection: socket.socket, head: bytes) -> None:
        (redirect("/b?c=1", status) if b" /a" in head else reply(b"there"))(connection, head)

    assert fetched(answer) == b"there"


def test_redirects_are_counted() -> None:
    def around(connection: socket.socket, head: bytes) -> None:
        count = int(head.split()[1].removeprefix(b"/"))
        redirect(f"/{count + 1}")(connection, head)

    with serving(around) as server:
        with pytest.raises(errors.Failure) as caught:
            fetcher(max_redirects=3).fetch(f"http://127.0.0.1:{server.port}/0")
        assert len(server.requests) == 4
    assert caught.value.code == StatusCode.INPUT_DOWNLOAD_FAILED
    assert "3 times" in caught.value.details


@pytest.mark.parametrize("status", ["204 No Content", "206 Partial", "304 Not Modified", "401 Unauthorized"])
def test_only_status_200_counts(status: str) -> None:
    failure = refusal(reply(b"", status))
    assert failure.code == StatusCode.INPUT_DOWNLOAD_FAILED
    assert status[:3] in failure.details


@pytest.mark.parametrize("status", ["403 Forbidden", "404 Not Found", "410 Gone", "500 Oops", "503 Busy"])
def test_error_pages_are_not_pictures(status: str) -> None:
    failure = refusal(reply(b"<html>", status))
    assert failure.code == StatusCode.INPUT_DOWNLOAD_FAILED
    assert status[:3] in failure.details


def test_the_query_stays_out_of_messages() -> None:
    failure = refusal(reply(b"", "403 No"), "/a.jpg?signature=secret")
    assert "a.jpg" in failure.details
    assert "secret" not in failure.details + failure.notes


def test_a_length_over_the_limit_is_refused_at_once() -> None:
    def boast(connection: socket.socket, _: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n")
        time.sleep(0.5)

    failure = refusal(boast)
    assert failure.code == StatusCode.INPUT_OVER_LIMIT


def test_an_endless_body_is_cut() -> None:
    def endless(connection: socket.socket, _: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            connection.sendall(bytes(65536))

    failure = refusal(endless, max_bytes=1_000_000)
    assert failure.code == StatusCode.INPUT_OVER_LIMIT
    assert "1,000,000" in failure.details


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress])
def test_packed_bodies_are_unpacked(pack: Callable[[bytes], bytes]) -> None:
    name = "gzip" if pack is gzip.compress else "deflate"
    assert fetched(reply(pack(b"picture" * 100), headers=f"Content-Encoding: {name}\r\n")) == b"picture" * 100


def test_a_packed_bomb_is_cut() -> None:
    bomb = gzip.compress(bytes(50_000_000))
    failure = refusal(reply(bomb, headers="Content-Encoding: gzip\r\n"), max_bytes=1_000_000)
    assert failure.code == StatusCode.INPUT_OVER_LIMIT


@pytest.mark.parametrize(
    "answer",
    [
        reply(gzip.compress(b"picture" * 1000)[:-20], headers="Content-Encoding: gzip\r\n"),
        reply(b"not packed", headers="Content-Encoding: gzip\r\n"),
        reply(b"?", headers="Content-Encoding: br\r\n"),
        lambda connection, _: connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort"),
        lambda connection, _: connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\nshort"),
        lambda connection, _: connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
        lambda connection, _: connection.sendall(b"SSH-2.0-OpenSSH_9.9\r\n"),
        lambda connection, _: connection.sendall(b"HTTP/1.1 999999 \r\n\r\n"),
        lambda connection, _: connection.sendall(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000 + b"\r\n"),
        lambda connection, _: connection.sendall(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 200_000 + b"\r\n\r\n"),
        lambda connection, _: connection.close(),
    ],
    ids=[
        "gzip-cut",
        "gzip-not",
        "brotli",
        "short",
        "chunk-short",
        "chunk-bad",
        "ssh",
        "status",
        "headers",
        "line",
        "eof",
    ],
)
def test_answers_that_are_broken(answer: Answer) -> None:
    failure = refusal(answer)
    assert failure.code == StatusCode.INPUT_DOWNLOAD_FAILED
    assert "127.0.0.1" in failure.details


def drip(connection: socket.socket, _: bytes) -> None:
    """One byte of a header at a time, for ever."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
    while True:
        connection.sendall(b"y")
        time.sleep(0.05)


def drip_body(connection: socket.socket, _: bytes) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        connection.sendall(b"y")
        time.sleep(0.05)


def go_on(connection: socket.socket, _: bytes) -> None:
    while True:
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        time.sleep(0.01)


def silence(connection: socket.socket, _: bytes) -> None:
    connection.recv(1)


@pytest.mark.parametrize("answer", [drip, drip_body, go_on, silence])
def test_time_is_bounded(answer: Answer) -> None:
    failure = refusal(answer, timeout_s=0.5)  # or it would read on for ever
    assert failure.code == StatusCode.INPUT_CONNECTION_FAILED
    assert "0.5 seconds" in failure.details


def test_time_is_bounded_over_all_redirects() -> None:
    def slow(connection: socket.socket, head: bytes) -> None:
        time.sleep(0.3)
        redirect("/again")(connection, head)

    start = time.monotonic()
    failure = refusal(slow, timeout_s=0.7, max_redirects=100)
    assert time.monotonic() - start < 100 * 0.3  # what all of them would take
    assert failure.code == StatusCode.INPUT_CONNECTION_FAILED


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(errors.Failure) as caught:
        fetcher().fetch(f"http://127.0.0.1:{port}/")
    assert caught.value.code == StatusCode.INPUT_CONNECTION_FAILED


def test_a_name_without_address() -> None:
    with pytest.raises(errors.Failure) as caught:
        fetcher().fetch("http://no-such-host.invalid/a.jpg")
    assert caught.value.code == StatusCode.INPUT_CONNECTION_FAILED


def test_a_name_server_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*_: Any, **__: Any) -> list[Any]:
        time.sleep(3)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    start = time.monotonic()
    with pytest.raises(errors.Failure) as caught:
        fetcher(timeout_s=0.3).fetch("http://slow.example/a.jpg")
    assert time.monotonic() - start < 2
    assert caught.value.code == StatusCode.INPUT_CONNECTION_FAILED


needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="makes its certificate with openssl")


@needs_openssl
def test_https_is_verified_against_the_name(tmp_path: Path) -> None:
    server_tls, client_tls = certificate(tmp_path, "localhost")
    with serving(reply(b"secret picture"), server_tls) as server:
        url = f"https://localhost:{server.port}/a.jpg"
        assert fetcher(tls=client_tls).fetch(url) == b"secret picture"
        for stranger, other in ((fetcher(), url), (fetcher(tls=client_tls), url.replace("localhost", "127.0.0.1"))):
            with pytest.raises(errors.Failure) as caught:
                stranger.fetch(other)
            assert caught.value.code == StatusCode.INPUT_CONNECTION_FAILED
            assert "certificate" in caught.value.details
    assert len(server.requests) == 1
    assert f"Host: localhost:{server.port}".encode() in server.requests[0]


@needs_openssl
def test_time_is_bounded_within_tls(tmp_path: Path) -> None:
    server_tls, client_tls = certificate(tmp_path, "localhost")
    with serving(drip, server_tls) as server, pytest.raises(errors.Failure) as caught:
        fetcher(tls=client_tls, timeout_s=0.5).fetch(f"https://localhost:{server.port}/")
    assert caught.value.code == StatusCode.INPUT_CONNECTION_FAILED


def test_a_plain_server_does_not_speak_https() -> None:
    with serving(reply(b"x")) as server, pytest.raises(errors.Failure) as caught:
        fetcher(timeout_s=1).fetch(f"https://127.0.0.1:{server.port}/")
    assert caught.value.code in {StatusCode.INPUT_DOWNLOAD_FAILED, StatusCode.INPUT_CONNECTION_FAILED}


def test_an_address_that_is_silent_is_let_go_of_when_nobody_waits() -> None:
    """A queue of connections that is full: what comes on top is not even refused."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        where, waiting = listener.getsockname(), list[socket.socket]()
        while not waiting or select.select([], waiting[-1:], [], 0.5)[1]:
            waiting.append(socket.socket())
            waiting[-1].setblocking(False)
            waiting[-1].connect_ex(where)
        looks = iter([True] * 5)
        with pytest.raises(errors.Failure) as caught:
            fetcher(timeout_s=3600).fetch(f"http://127.0.0.1:{where[1]}/", lambda: next(looks, False))
        for one in waiting:
            one.close()
    assert caught.value.code == StatusCode.INPUT_CONNECTION_FAILED
    assert next(looks, None) is None
