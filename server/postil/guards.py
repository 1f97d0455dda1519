"""What stands in front of the doors, made from the settings: who is let in, certificates, names, the audit log."""

from __future__ import annotations

from starlette.types import ASGIApp

from postil.access import Credentials, Open
from postil.audit import Audit
from postil.config import Config, ConfigError
from postil.doors.http.hosts import ANY, HostGuard, Hosts
from postil.doors.tls import Certificates, Files
from postil.keyring import Keyring
from postil.logs import get
from postil.metrics import Metrics
from postil.store.sqlite import SqliteStore

log = get(__name__)


def credentials(config: Config, store: SqliteStore) -> Credentials:
    """How callers are known.

    Raises:
        ConfigError: Other machines could come in, and nothing would ask them for a key.
    """
    wide = [(f"--{name}", at) for name, at in (("grpc", config.grpc), ("http", config.http)) if not at.loopback]
    if config.access == "open":
        return Open()
    if wide and config.access == "auto" and not store.read().ever_had_keys():
        option, address = wide[0]
        raise ConfigError(
            f"{option} {address} can be reached from other machines, and no key protects this server yet. Make one "
            "with `postil keys create`, or say --access open if everybody who can connect may read and change all data."
        )
    if wide and config.tls_cert is None:
        log.warning("keys cross the network in plain text: set --tls-cert, or put a proxy with TLS in front")
    return Keyring(store, store.key_stamp, required=bool(wide) or config.access == "keys")


def certificates(config: Config) -> Certificates | None:
    """Those of both doors, None without TLS. Raises ConfigError."""
    if config.tls_cert is None or config.tls_key is None:
        return None
    return Certificates(Files(config.tls_cert, config.tls_key, config.tls_client_ca))


def hosts(site: ASGIApp, config: Config, credentials: Credentials) -> ASGIApp:
    """The HTTP door behind a look at the name that it was called by."""
    if ANY in config.cors_origins:  # every page may call, under whatever name it came
        return site
    known = Hosts(config.http, config.public_url, config.allowed_hosts)
    return HostGuard(site, known, lambda: not credentials.required())


def audit(config: Config, metrics: Metrics) -> Audit | None:
    """The audit log, None when it is switched off."""
    if not config.audit_mb:
        return None
    return Audit(config.data_dir, config.audit_mb << 20, metrics.audit_dropped.inc)
