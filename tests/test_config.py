"""Settings: precedence, parsing, and refusals that say which setting and what to do."""

from __future__ import annotations

import dataclasses
import ipaddress
from pathlib import Path

import pytest

from postil import config
from postil.config import Address, ConfigError


def test_defaults() -> None:
    settings = config.load({}, {})
    assert settings == config.Config()
    assert str(settings.grpc) == "127.0.0.1:18080"
    assert str(settings.http) == "127.0.0.1:18081"
    assert settings.data_dir == Path("postil-data")


def test_the_option_wins_over_the_variable_and_that_over_the_default() -> None:
    environment = {"POSTIL_GRPC": "127.0.0.1:1", "POSTIL_HTTP": "127.0.0.1:2", "POSTIL_ACCESS": "open"}
    settings = config.load({"grpc": "127.0.0.1:3", "http": None}, environment)
    assert (settings.grpc.port, settings.http.port, settings.access) == (3, 2, "open")
    assert settings.threads == config.Config().threads


def test_repeatable_settings() -> None:
    ten, home = ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fd00::/8")
    assert config.load({"fetch_allow": ("10.0.0.0/8", "fd00::/8")}, {}).fetch_allow == (ten, home)
    assert config.load({"fetch_allow": ()}, {"POSTIL_FETCH_ALLOW": "10.0.0.0/8, fd00::/8"}).fetch_allow == (ten, home)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("grpc", "18080"),
        ("grpc", "127.0.0.1:99999"),
        ("grpc", ":80"),
        ("http", "127.0.0.1:http"),
        ("fetch_allow", ("10.0.0.0/99",)),
        ("fetch_allow", ("10.0.0.1/8",)),
        ("threads", "0"),
        ("threads", "-1"),
        ("threads", "many"),
        ("max_message_mb", "4096"),
        ("log_level", "loud"),
        ("public_url", "postil.example.org"),
        ("models", "/nowhere/models.toml"),
        ("data_dir", ""),
    ],
)
def test_a_bad_value_names_its_option(name: str, text: str | tuple[str, ...]) -> None:
    with pytest.raises(ConfigError) as caught:
        config.load({name: text}, {})
    assert str(caught.value).startswith(f"--{name.replace('_', '-')}: ")
    assert "\n" not in str(caught.value)


def test_a_bad_variable_is_named() -> None:
    with pytest.raises(ConfigError, match=r"^POSTIL_THREADS: "):
        config.load({}, {"POSTIL_THREADS": "x"})


@pytest.mark.parametrize("given", [["tls_cert"], ["tls_key"], ["tls_client_ca"]])
def test_files_of_tls_go_together(given: list[str], tmp_path: Path) -> None:
    file = tmp_path / "some.pem"
    file.touch()
    with pytest.raises(ConfigError, match="--tls-cert"):
        config.load(dict.fromkeys(given, str(file)), {})


@pytest.mark.parametrize("address", ["127.0.0.1:0", "127.9.9.9:0", "[::1]:0", "localhost:0"])
def test_this_machine_needs_none(address: str) -> None:
    assert config.load({"grpc": address}, {}).grpc == _address(address)


def _address(text: str) -> Address:
    host, _, port = text.rpartition(":")
    return Address(host.strip("[]"), int(port))


def test_addresses_are_shown_as_they_are_written() -> None:
    assert str(Address("::1", 80)) == "[::1]:80"
    assert str(Address("localhost", 80)) == "localhost:80"


def test_settings_are_frozen_and_all_described() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.Config().threads = 3  # type: ignore[misc]
    table = config.reference()
    for row in config.settings():
        assert row.metadata["help"].endswith("."), row.name
        assert f"POSTIL_{row.name.upper()}" in table
