"""`postil search` in a process of its own, against a real server."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from postil.commands.search import BadFilter, read_filter
from postil_client import Client, build
from support.photos import photo
from support.server import Server, clean_environment, command


def run(server: Server, app: str, *options: str) -> subprocess.CompletedProcess[str]:
    arguments = command("search", "--target", server.grpc, "--app", app, *options)
    return subprocess.run(arguments, capture_output=True, text=True, check=False, env=clean_environment())


def test_it_prints_hits_plan_and_times(server: Server, tmp_path: Path) -> None:
    cat = tmp_path / "cat.png"
    cat.write_bytes(photo("chelsea.png"))
    with Client(server.grpc, app_id="search-command") as client:
        client.add(
            [
                build.make_input("cat", picture=cat, labels=["pet"], metadata={"room": "kitchen"}),
                build.make_input("cup", picture=photo("coffee.png"), metadata={"room": "office"}),
            ]
        )
        client.wait_until_processed(["cat", "cup"])
    done = run(server, "search-command", "--image", str(cat))
    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if "│" in line]
    assert "cat" in rows[0]
    assert "1.0000" in rows[0]
    assert "pet" in rows[0]
    assert "cup" in rows[1]
    assert "plan: " in done.stdout
    assert "ms, there and back" in done.stdout
    filtered = run(server, "search-command", "--image", str(cat), "--filter", "metadata.room=office")
    assert "cup" in filtered.stdout
    assert "1 hit" in filtered.stdout
    none = run(server, "search-command", "--concept", "pet", "--filter", "not-concept=pet", "--filter", "media=image")
    assert none.returncode == 0, none.stderr


def test_what_it_cannot_do_is_said_in_a_line(server: Server) -> None:
    unknown = run(server, "search-command-2", "--concept", "unheard-of")
    assert unknown.returncode == 1
    assert "40002" in unknown.stderr
    assert "unheard-of" in unknown.stderr
    nobody = command("search", "--target", "127.0.0.1:9", "--text", "x")
    done = subprocess.run(nobody, capture_output=True, text=True, check=False, env=clean_environment(), timeout=90)
    assert done.returncode == 1
    assert "cannot be reached" in done.stderr


@pytest.mark.parametrize("text", ["concept", "concept=", "colour=red", "media=smell"])
def test_filters_that_cannot_be_read(text: str) -> None:
    with pytest.raises(BadFilter, match="--filter"):
        read_filter(text)
