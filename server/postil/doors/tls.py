"""TLS of both doors, and the certificates of their callers where these are asked for.

Files are looked at with each handshake, so a renewed certificate counts from the next connection on, and connections
that are open stay open. Files that do not fit together, as in the middle of being replaced, change nothing: what was
read last goes on counting.
"""

from __future__ import annotations

import ssl
import threading
from dataclasses import dataclass
from pathlib import Path

import grpc

from postil import logs
from postil.config import ConfigError

log = logs.get(__name__)


@dataclass(frozen=True, slots=True)
class Files:
    """PEM files."""

    certificate: Path  # the server's, followed by those that lead to its authority
    key: Path
    client_ca: Path | None = None  # authorities of clients; None: no certificate is asked for


@dataclass(frozen=True, slots=True)
class _Loaded:
    """What was read, checked."""

    signature: tuple[tuple[int, int, int], ...]  # tells whether the files have changed since
    context: ssl.SSLContext
    configuration: grpc.ServerCertificateConfiguration


class Certificates:
    """The certificates of a server, as they are on disk now. Thread-safe.

    Raises:
        ConfigError: They cannot be used.
    """

    def __init__(self, files: Files) -> None:
        self._files = files
        self._lock = threading.Lock()
        self._failed: object = None  # the signature of files that could not be used: complained of once
        try:
            self._loaded = self._load()
        except (OSError, ValueError) as error:
            names = ", ".join(str(path) for path in self._paths())
            raise ConfigError(f"--tls-cert: {names} cannot be used for TLS: {error}") from error

    def grpc(self) -> grpc.ServerCredentials:
        """Credentials of the gRPC listener."""
        given = self._loaded.configuration

        def fetch() -> grpc.ServerCertificateConfiguration | None:
            nonlocal given
            newest = self._current().configuration
            if newest is given:
                return None
            given = newest
            return newest

        asks = self._files.client_ca is not None
        # The types leave out None, which says that nothing has changed.
        return grpc.dynamic_ssl_server_credentials(given, fetch, require_client_authentication=asks)  # type: ignore[arg-type]

    def http(self) -> ssl.SSLContext:
        """The context of the HTTP listener: each handshake begins in it and goes on in the newest one."""
        context = self._context()

        def choose(connection: ssl.SSLObject | ssl.SSLSocket, _name: str | None, _context: ssl.SSLContext) -> None:
            connection.context = self._current().context

        context.sni_callback = choose  # called with or without a server name
        return context

    def _current(self) -> _Loaded:
        with self._lock:
            signature: object = None
            try:
                signature = self._signature()
                if signature not in (self._loaded.signature, self._failed):
                    self._loaded = self._load()
                    self._failed = None
                    log.info("certificates read again", certificate=str(self._files.certificate))
            except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
                self._failed = signature
                log.warning("new certificates cannot be used, the old ones still count", reason=str(error))
            return self._loaded

    def _load(self) -> _Loaded:
        signature, context = self._signature(), self._context()
        files = self._files
        authorities = files.client_ca.read_bytes() if files.client_ca else None
        pairs = [(files.key.read_bytes(), files.certificate.read_bytes())]
        if self._signature() != signature:
            raise ValueError("the files changed while they were read")
        return _Loaded(signature, context, grpc.ssl_server_certificate_configuration(pairs, authorities))

    def _context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        # A connection that is taken up again would not show its certificate again.
        context.options |= ssl.OP_NO_TICKET
        context.num_tickets = 0
        context.set_alpn_protocols(["http/1.1"])
        context.load_cert_chain(self._files.certificate, self._files.key)
        if self._files.client_ca:
            context.load_verify_locations(self._files.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def _paths(self) -> list[Path]:
        return [path for path in (self._files.certificate, self._files.key, self._files.client_ca) if path]

    def _signature(self) -> tuple[tuple[int, int, int], ...]:
        found = [path.stat() for path in self._paths()]
        return tuple((one.st_mtime_ns, one.st_size, one.st_ino) for one in found)
