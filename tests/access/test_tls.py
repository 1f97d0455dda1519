"""TLS on both doors, with certificate authorities made for the test: who is refused, and what a renewal disturbs."""

from __future__ import annotations

import datetime as dt
import functools
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
import requests
import trustme
from cryptography import x509

from postil.v1.input_service_pb2 import ListInputsRequest
from postil.v1.input_service_pb2_grpc import InputsStub
from postil_client import Client, PostilError
from support.keys import created
from support.server import Server, clean_environment, command

HOST = "127.0.0.1"


class Files:
    """PEM files that a server is started with."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = trustme.CA()
        self.clients = trustme.CA()
        self.renew()
        self.trust(self.clients)

    def renew(self, not_after: dt.datetime | None = None) -> None:
        """Another certificate of the same authority, put in place as certbot would: file by file."""
        issued = self.authority.issue_cert(HOST, not_after=not_after)
        chain = b"".join(one.bytes() for one in issued.cert_chain_pems)
        for name, content in (("key.pem", issued.private_key_pem.bytes()), ("cert.pem", chain)):
            fresh = self.folder / f"{name}.new"
            fresh.write_bytes(content)
            fresh.replace(self.folder / name)

    def trust(self, authority: trustme.CA) -> None:
        """The authority of clients."""
        (self.folder / "clients.pem").write_bytes(authority.cert_pem.bytes())

    def options(self, *, mutual: bool = False) -> list[str]:
        """For the server."""
        more = ["--tls-client-ca", str(self.folder / "clients.pem")] if mutual else []
        return ["--tls-cert", str(self.folder / "cert.pem"), "--tls-key", str(self.folder / "key.pem"), *more]


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def listed(target: str, ca: bytes, certificate: tuple[bytes, bytes] | None = None) -> int:
    """The code of a call over a connection of its own. Raises grpc.RpcError."""
    credentials = grpc.ssl_channel_credentials(ca, *(certificate[::-1] if certificate else ()))
    with grpc.secure_channel(target, credentials, options=(("grpc.use_local_subchannel_pool", 1),)) as channel:
        code: int = InputsStub(channel).ListInputs(ListInputsRequest(), timeout=30).status.code
        return code


def refused(call: Callable[[], object]) -> bool:
    try:
        call()
    except grpc.RpcError as error:
        return error.code() is grpc.StatusCode.UNAVAILABLE
    except requests.exceptions.ConnectionError:  # SSLError is one
        return True
    return False


def https(server: Server) -> str:
    return server.http.replace("http://", "https://")


def serial(address: str, ca: bytes) -> int:
    """Of the certificate that a new connection is shown."""
    context = ssl.create_default_context(cadata=ca.decode())
    host, port = address.rsplit(":", 1)
    plain = socket.create_connection((host, int(port)), 30)
    with context.wrap_socket(plain, server_hostname=host) as secure:
        shown = secure.getpeercert(binary_form=True)
    assert shown is not None
    return x509.load_der_x509_certificate(shown).serial_number


def test_both_doors_speak_tls_and_nothing_else(files: Files, start_server: Callable[..., Server]) -> None:
    server = start_server(*files.options())
    ca, other = files.authority.cert_pem.bytes(), trustme.CA().cert_pem.bytes()
    assert listed(server.grpc, ca) == 10000
    (files.folder / "ca.pem").write_bytes(ca)
    trusted = str(files.folder / "ca.pem")
    assert requests.get(f"{https(server)}/v2/inputs", verify=trusted, timeout=60).json()["status"]["code"] == 10000
    assert refused(lambda: listed(server.grpc, other))
    with grpc.insecure_channel(server.grpc) as plain:
        assert refused(lambda: InputsStub(plain).ListInputs(ListInputsRequest(), timeout=30))
    assert refused(lambda: requests.get(f"{server.http}/healthz", timeout=60))
    assert refused(lambda: requests.get(f"{https(server)}/healthz", timeout=60))  # the system's authorities
    token = created(server.data_dir)
    with Client(server.grpc, tls=ca, key=token, app_id="main") as client:
        assert list(client.inputs()) == []
    with Client(server.grpc, tls=ca, app_id="main") as client, pytest.raises(PostilError, match="key"):
        list(client.inputs())


def test_clients_show_certificates_too(files: Files, start_server: Callable[..., Server]) -> None:
    server = start_server(*files.options(mutual=True))
    ca = files.authority.cert_pem.bytes()

    def certificate(authority: trustme.CA) -> tuple[bytes, bytes]:
        issued = authority.issue_cert("someone@example.org")
        return issued.cert_chain_pems[0].bytes(), issued.private_key_pem.bytes()

    def over_http(shown: tuple[bytes, bytes] | None) -> int:
        paths = files.folder / "ca.pem", files.folder / "mine.pem"
        paths[0].write_bytes(ca)
        paths[1].write_bytes(b"".join(shown or ()))
        cert = str(paths[1]) if shown else None
        return requests.get(f"{https(server)}/healthz", verify=str(paths[0]), cert=cert, timeout=60).status_code

    good, stranger = certificate(files.clients), certificate(trustme.CA())
    assert (listed(server.grpc, ca, good), over_http(good)) == (10000, 200)
    for shown in (None, stranger):
        assert refused(lambda shown=shown: listed(server.grpc, ca, shown))  # type: ignore[misc]
        assert refused(lambda shown=shown: over_http(shown))  # type: ignore[misc]
    with Client(server.grpc, tls=ca, certificate=good) as client:
        assert list(client.inputs()) == []
    newer = trustme.CA()
    files.trust(newer)
    assert refused(lambda: listed(server.grpc, ca, good))
    assert refused(lambda: over_http(good))
    assert (listed(server.grpc, ca, certificate(newer)), over_http(certificate(newer))) == (10000, 200)


def test_an_expired_certificate_is_refused_by_clients(files: Files, start_server: Callable[..., Server]) -> None:
    files.renew(not_after=dt.datetime.now(dt.UTC) - dt.timedelta(days=1))
    server = start_server(*files.options())
    assert refused(lambda: listed(server.grpc, files.authority.cert_pem.bytes()))
    files.renew()
    assert listed(server.grpc, files.authority.cert_pem.bytes()) == 10000


@contextmanager
def under_load(server: Server, files: Files) -> Iterator[Callable[[], None]]:
    """Calls all the while: on one gRPC connection, on a new one each time, on one of HTTPS. None may fail. Gives a
    function that waits until each has been answered thrice more."""
    ca, done, stop, failed = files.authority.cert_pem.bytes(), [0, 0, 0], threading.Event(), []
    (files.folder / "ca.pem").write_bytes(ca)

    def keep_calling(place: int, call: Callable[[], object]) -> None:
        while not stop.is_set():
            try:
                call()
                done[place] += 1
            except Exception as error:  # noqa: BLE001 - any is one too many
                failed.append(error)

    def wait() -> None:
        before = list(done)
        while not all(now > then + 2 for now, then in zip(done, before, strict=True)) and not failed:
            stop.wait(0.02)

    session, trusted = requests.Session(), str(files.folder / "ca.pem")
    with grpc.secure_channel(server.grpc, grpc.ssl_channel_credentials(ca)) as channel:
        stub = InputsStub(channel)
        calls: list[Callable[[], object]] = [
            lambda: stub.ListInputs(ListInputsRequest(), timeout=60),
            lambda: listed(server.grpc, ca),
            lambda: session.get(f"{https(server)}/v2/inputs", verify=trusted, timeout=60).raise_for_status(),
        ]
        threads = [threading.Thread(target=keep_calling, args=pair) for pair in enumerate(calls)]
        for thread in threads:
            thread.start()
        try:
            yield wait
        finally:
            stop.set()
            for thread in threads:
                thread.join()
    session.close()
    assert failed == []


def serials(server: Server, files: Files) -> int:
    """Of the certificate that both doors show to new connections."""
    ca = files.authority.cert_pem.bytes()
    pair = serial(server.grpc, ca), serial(https(server).removeprefix("https://"), ca)
    assert pair[0] == pair[1]
    return pair[0]


def test_renewals_drop_no_call(files: Files, start_server: Callable[..., Server]) -> None:
    server = start_server(*files.options())
    seen = set()
    with under_load(server, files) as wait:
        for _ in range(4):
            files.renew()
            wait()
            seen.add(serials(server, files))
    assert len(seen) == 4


def test_new_files_that_are_broken_change_nothing(files: Files, start_server: Callable[..., Server]) -> None:
    server = start_server(*files.options(mutual=False))
    certificate, key = files.folder / "cert.pem", files.folder / "key.pem"
    good = certificate.read_bytes(), key.read_bytes()
    other = trustme.CA().issue_cert(HOST)
    first = serials(server, files)
    with under_load(server, files) as wait:
        for broken in (b"", b"nonsense", good[0][: len(good[0]) // 2], other.cert_chain_pems[0].bytes(), good[1]):
            certificate.write_bytes(broken)
            wait()
            assert serials(server, files) == first
        certificate.unlink()
        assert serials(server, files) == first
        certificate.write_bytes(good[0])
        for broken in (b"", good[1][:100], other.private_key_pem.bytes()):
            key.write_bytes(broken)
            wait()
            assert serials(server, files) == first
        files.renew()
        wait()
        assert serials(server, files) != first


def test_broken_authorities_let_nobody_in(files: Files, start_server: Callable[..., Server]) -> None:
    """Nor keep anybody out who was let in."""
    server = start_server(*files.options(mutual=True))
    ca = files.authority.cert_pem.bytes()
    issued = files.clients.issue_cert("someone@example.org")
    good = issued.cert_chain_pems[0].bytes(), issued.private_key_pem.bytes()
    for broken in (b"", b"nonsense"):
        (files.folder / "clients.pem").write_bytes(broken)
        assert listed(server.grpc, ca, good) == 10000
        assert refused(lambda: listed(server.grpc, ca))
    (files.folder / "clients.pem").unlink()
    assert listed(server.grpc, ca, good) == 10000
    assert refused(lambda: listed(server.grpc, ca))


def test_clients_whose_certificates_have_ended(files: Files, start_server: Callable[..., Server]) -> None:
    server = start_server(*files.options(mutual=True))
    ca = files.authority.cert_pem.bytes()
    past = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=5)
    for ends, opens in ((past, False), (past + dt.timedelta(days=1), True)):
        issued = files.clients.issue_cert("someone@example.org", not_after=ends)
        mine = issued.cert_chain_pems[0].bytes(), issued.private_key_pem.bytes()
        assert refused(lambda mine=mine: listed(server.grpc, ca, mine)) != opens  # type: ignore[misc]
        paths = files.folder / "ca.pem", files.folder / "mine.pem"
        paths[0].write_bytes(ca)
        paths[1].write_bytes(b"".join(mine))
        trusted, shown = map(str, paths)
        get = functools.partial(requests.get, f"{https(server)}/healthz", timeout=60, verify=trusted, cert=shown)
        assert refused(get) != opens


def shaken(address: str, context: ssl.SSLContext, name: str = HOST) -> str | None:
    """The version that a handshake agrees on. Raises ssl.SSLError."""
    host, port = address.rsplit(":", 1)
    plain = socket.create_connection((host, int(port)), 30)
    with plain, context.wrap_socket(plain, server_hostname=name) as secure:
        return secure.version()


def test_other_names_old_versions_and_weak_ciphers(files: Files, start_server: Callable[..., Server]) -> None:
    server = start_server(*files.options())
    ca = files.authority.cert_pem.bytes()
    for address in (server.grpc, https(server).removeprefix("https://")):
        trusting = ssl.create_default_context(cadata=ca.decode())
        for name in ("other.example", "127.0.0.2"):
            with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
                shaken(address, trusting, name)
        for version, agreed in ((ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3")):
            context = _reckless()
            context.minimum_version = context.maximum_version = version
            assert shaken(address, context) == agreed
        for version in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1):
            context = _reckless()
            with pytest.warns(DeprecationWarning, match="TLSv1"):
                context.minimum_version = context.maximum_version = version
            # An alert of the server's: the client was ready to.
            with pytest.raises(ssl.SSLError, match=r"(?i)alert|eof|reset"):
                shaken(address, context)
        for ciphers in ("aNULL", "eNULL", "kRSA"):
            context = _reckless(ciphers)
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            with pytest.raises((ssl.SSLError, ConnectionError)):
                shaken(address, context)


def _reckless(ciphers: str = "ALL") -> ssl.SSLContext:
    """A client that takes whatever it is given."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers(f"{ciphers}:@SECLEVEL=0")
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context


def test_files_that_do_not_fit_stop_a_start_and_no_running_server(
    files: Files, start_server: Callable[..., Server], tmp_path: Path
) -> None:
    import subprocess

    server = start_server(*files.options())
    (files.folder / "key.pem").write_bytes(trustme.CA().issue_cert(HOST).private_key_pem.bytes())
    assert listed(server.grpc, files.authority.cert_pem.bytes()) == 10000
    arguments = command("serve", "--data-dir", str(tmp_path / "second"), "--grpc", f"{HOST}:0", "--http", f"{HOST}:0")
    done = subprocess.run(
        [*arguments, *files.options()], check=False, capture_output=True, text=True, timeout=60, env=clean_environment()
    )
    assert done.returncode == 2
    assert "--tls-cert" in done.stderr
