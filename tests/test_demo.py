"""The demo, as a user runs it, and what its searches must find in real pictures."""

from __future__ import annotations

import subprocess

import pytest
from rich.console import Console

from postil.demo import material, tour
from postil.v1.data_pb2 import Data
from postil_client import Client, build
from support.server import Server, clean_environment, command

pytestmark = pytest.mark.timeout(180)


def test_it_prints_its_table_and_leaves_nothing_running() -> None:
    done = subprocess.run(command("demo"), capture_output=True, text=True, check=False, env=clean_environment())
    assert done.returncode == 0, done.stderr
    assert "What the searches found" in done.stdout
    assert "nothing is left running" in done.stdout


def test_what_the_searches_find(server: Server) -> None:
    with Client(server.grpc, app_id="demo-tour") as client:
        found = {one.question: one for one in tour.run(client, Console(quiet=True))}
    best = {question: one.hits[0].rsplit(" ", 1)[0] for question, one in found.items()}
    assert best["an altered copy of the coffee"] == "coffee"
    assert best["the cat's picture, by its URL"] == "cat"
    assert best["more like the stored 'grass'"] == "grass"
    assert best["regions like the cat's face"] == "cat (face)"
    assert best["'a hot drink'"] == "note-coffee"
    shares = [int(one.remark.split(" ")[0]) / len(one.hits) for one in found.values() if "sevens" in one.remark]
    assert len(shares) == 2
    assert min(shares) > 0.9


def test_altered_copies_find_their_originals(server: Server) -> None:
    photos = material.photos()
    with Client(server.grpc, app_id="demo-copies") as client:
        client.add_pictures(photos)
        client.wait_until_processed(photos)
        wrong = []
        for name in ("astronaut", "cat", "coffee", "horse", "motorcycle", "rocket", "retina"):
            answer = client.search_by_bytes(material.altered(photos[name]), unit="inputs", top=1)
            if answer.hits[0].input.id != name:
                wrong.append((name, answer.hits[0].input.id))
        assert not wrong
        general = client.search([build.rank(data=Data(concepts=build.concepts(["cat"])))], unit="inputs", top=1)
        assert general.hits[0].input.id == "cat", "by what the general model saw"
