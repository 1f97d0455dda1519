"""Settings: one frozen `Config`, whose fields are the only table of names, defaults, parsers and help texts.

Command-line options, `POSTIL_*` variables and the documentation derive from it. The only reader of the environment.
"""

# ruff: noqa: RUF009 - `_setting` is dataclasses.field with the columns of the table

from __future__ import annotations

import dataclasses
import ipaddress
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import urlsplit

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

PREFIX = "POSTIL_"


class ConfigError(Exception):
    """A setting that cannot be used. The text is one line for the person who set it."""


class CannotListen(ConfigError):
    """An address that is taken, or not this machine's."""


class Address(NamedTuple):
    """Where a door listens. Port 0 lets the system choose."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def loopback(self) -> bool:
        """Whether only programs on this machine can reach it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


def _address(text: str) -> Address:
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isdecimal() or int(port) > 65535:
        raise ConfigError(f"{text!r} is not HOST:PORT, for example 127.0.0.1:18080 or [::1]:0")
    return Address(host, int(port))


def _network(text: str) -> Network:
    try:
        return ipaddress.ip_network(text.strip())
    except ValueError as error:
        raise ConfigError(f"{text!r} is not a network in CIDR notation, for example 192.168.0.0/16 ({error})") from None


def _count(lowest: int, highest: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.strip().isdecimal() or not lowest <= int(text) <= highest:
            raise ConfigError(f"{text!r} is not a whole number from {lowest} to {highest}")
        return int(text)

    return parse


def _choice(*names: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text.lower() not in names:
            raise ConfigError(f"{text!r} is none of {', '.join(names)}")
        return text.lower()

    return parse


def _flag(text: str) -> bool:
    return _choice("0", "1", "false", "true", "no", "yes")(text) in {"1", "true", "yes"}


def _base_url(text: str) -> str:
    if text and not text.startswith(("http://", "https://")):
        raise ConfigError(f"{text!r} is not a URL, for example https://postil.example.org")
    return text.rstrip("/")


def _origin(text: str) -> str:
    origin = text.strip().rstrip("/").lower()
    parts = urlsplit(origin)
    if origin != "*" and (parts.scheme not in {"http", "https"} or origin != f"{parts.scheme}://{parts.netloc}"):
        raise ConfigError(f"{text!r} is not an origin, for example https://labels.example.org, or * for any")
    return origin


def _host_name(text: str) -> str:
    name = text.strip().lower().removesuffix(".")
    if not name or any(sign in name for sign in "/:@[] "):
        raise ConfigError(f"{text!r} is not the name of a host, for example labels.example.org, or * for any")
    return name


def _directory(text: str) -> Path:
    if not text:
        raise ConfigError("the data directory has no name")
    return Path(text).expanduser()


def _file(text: str) -> Path:
    path = Path(text).expanduser()
    if not path.is_file():
        raise ConfigError(f"{text!r} is not a file")
    return path


def _setting(default: Any, parse: Callable[[str], Any], text: str, metavar: str = "", *, many: bool = False) -> Any:
    """One row of the table. `many`: repeatable on the command line, separated by commas in the environment."""
    shown = {"parse": parse, "help": text, "metavar": metavar, "many": many}
    return dataclasses.field(default=default, metadata=shown)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything that can be set."""

    data_dir: Path = _setting(Path("postil-data"), _directory, "Directory of everything that is kept.", "DIR")
    grpc: Address = _setting(
        Address("127.0.0.1", 18080), _address, "Where gRPC listens; port 0 picks one.", "HOST:PORT"
    )
    http: Address = _setting(
        Address("127.0.0.1", 18081), _address, "Where HTTP (health, metrics, media) listens.", "HOST:PORT"
    )
    public_url: str = _setting(
        "",
        _base_url,
        "Base of the URLs given to clients for hosted media; default: http:// and the HTTP address.",
        "URL",
    )
    cors_origins: tuple[str, ...] = _setting(
        (), _origin, "Other site whose pages may call over HTTP; * for any. Repeatable.", "ORIGIN", many=True
    )
    allowed_hosts: tuple[str, ...] = _setting(
        (),
        _host_name,
        "Name by which callers without keys may reach HTTP, beside addresses, localhost, this machine's name and that "
        "of --public-url; * for any. Repeatable.",
        "NAME",
        many=True,
    )
    access: str = _setting(
        "auto",
        _choice("auto", "open", "keys"),
        "Whether callers need keys: auto, from the first key on, and beyond this machine always; open: never; "
        "keys: always.",
        "MODE",
    )
    tls_cert: Path | None = _setting(
        None, _file, "PEM file with the certificate of both doors and those that lead to its authority.", "FILE"
    )
    tls_key: Path | None = _setting(None, _file, "PEM file with the key of that certificate.", "FILE")
    tls_client_ca: Path | None = _setting(
        None, _file, "PEM file with the authorities of clients; callers must then show a certificate.", "FILE"
    )
    audit_mb: int = _setting(
        64, _count(0, 100_000), "Size of each of ten files of the audit log, in MiB; 0: no audit log.", "MIB"
    )
    fetch_allow: tuple[Network, ...] = _setting(
        (), _network, "Private or loopback network that input URLs may point into. Repeatable.", "CIDR", many=True
    )
    delete_all: bool = _setting(
        default=False, parse=_flag, text="Obey delete_all of older clients, which deletes all inputs of an app at once."
    )
    threads: int = _setting(32, _count(1, 1024), "Reads, and as many writes, worked on at once; others wait.", "N")
    max_calls: int = _setting(
        256, _count(1, 1_000_000), "Calls accepted at once, waiting ones included; fewer while they wait long.", "N"
    )
    max_message_mb: int = _setting(256, _count(1, 2047), "Largest request or response, in MiB.", "MIB")
    max_inflight_mb: int = _setting(1024, _count(1, 1_000_000), "Requests worked on at once, in MiB together.", "MIB")
    rate_limit: int = _setting(
        0,
        _count(0, 1_000_000),
        "Calls a second of each key, or of each address where no keys are asked for; 0: no limit.",
        "N",
    )
    embed_threads: int = _setting(0, _count(0, 256), "Threads that embed; 0: one for each processor.", "N")
    decoders: int = _setting(0, _count(0, 256), "Processes that decode pictures; 0: one for each processor.", "N")
    decoder_memory_mb: int = _setting(2048, _count(64, 1_000_000), "Memory for decoding one picture, in MiB.", "MIB")
    models: Path | None = _setting(
        None, _file, "TOML file with a [[model]] table for each ONNX encoder of your own.", "FILE"
    )
    search_log_days: int = _setting(
        30,
        _count(0, 36_500),
        "How long searches that ran are kept for feedback and replay, in days; 0: not at all.",
        "DAYS",
    )
    drain_s: int = _setting(7, _count(0, 600), "Time for running calls to finish on SIGTERM, in seconds.", "SECONDS")
    log_level: str = _setting(
        "info", _choice("debug", "info", "warning", "error"), "Least severity logged; debug logs every call.", "LEVEL"
    )
    log_format: str = _setting(
        "auto", _choice("auto", "console", "json"), "auto: console on a terminal, else json.", "FORMAT"
    )


def settings() -> list[dataclasses.Field[Any]]:
    """The rows of the table, in order."""
    return list(dataclasses.fields(Config))


def load(given: Mapping[str, str | tuple[str, ...] | None], environment: Mapping[str, str] | None = None) -> Config:
    """Builds the settings: what was given wins over `POSTIL_*` variables, those over defaults.

    Args:
        given: Field name to text, or texts for repeatable settings; None and () mean not given.
        environment: Variables; those of the process by default.

    Raises:
        ConfigError: A value cannot be read or the settings do not go together.
    """
    environment = os.environ if environment is None else environment
    values: dict[str, Any] = {}
    for row in settings():
        source, text = "--" + row.name.replace("_", "-"), given.get(row.name)
        if text is None or text == ():
            source, text = PREFIX + row.name.upper(), environment.get(PREFIX + row.name.upper())
            if text is not None and row.metadata["many"]:
                text = tuple(part for part in text.split(",") if part.strip())
        if text is not None:
            values[row.name] = _parse(row, source, text)
    config = Config(**values)
    _check(config)
    return config


def _parse(row: dataclasses.Field[Any], source: str, text: str | tuple[str, ...]) -> Any:
    parse = row.metadata["parse"]
    try:
        return tuple(parse(part) for part in text) if isinstance(text, tuple) else parse(text)
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from None


def _check(config: Config) -> None:
    if (config.tls_cert is None) != (config.tls_key is None):
        raise ConfigError("--tls-cert and --tls-key go together: name both files, or neither")
    if config.tls_client_ca is not None and config.tls_cert is None:
        raise ConfigError("--tls-client-ca asks callers for certificates, which needs --tls-cert and --tls-key")


def reference() -> str:
    """The table as Markdown, for the documentation."""
    lines = ["| option | variable | default | meaning |", "|---|---|---|---|"]
    for row in settings():
        option = f"--{row.name.replace('_', '-')} {row.metadata['metavar']}".strip()
        default = "" if row.default in ("", (), False, None) else f"`{row.default}`"
        lines.append(f"| `{option}` | `{PREFIX}{row.name.upper()}` | {default} | {row.metadata['help']} |")
    return "\n".join(lines) + "\n"
