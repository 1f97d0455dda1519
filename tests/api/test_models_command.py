"""`postil models` in processes of its own, against a real server."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from postil.v1.common_pb2 import UserAppIDSet
from support.labelled import add_vectors, clusters, label
from support.server import OWN, Server, clean_environment, command
from support.trained import create, train

NAMES = ["ash", "birch", "cedar"]
VECTORS, BELONGS = clusters(NAMES, 30)
WRONG = {4: "cedar", 20: "ash"}


@pytest.fixture
def trees(server: Server, app: UserAppIDSet) -> UserAppIDSet:
    call: Callable[..., Any] = lambda rpc, request: server.call(OWN, rpc, request)  # noqa: E731 - short enough
    add_vectors(call, app, VECTORS)
    label(call, app, {n: WRONG.get(n, name) for n, name in enumerate(BELONGS) if n < 80})
    create(call, app, "trees", NAMES)
    train(call, app, "trees")
    return app


def run(server: Server, app: UserAppIDSet, *arguments: str) -> subprocess.CompletedProcess[str]:
    whole = command("models", *arguments, "--target", server.grpc, "--app", app.app_id)
    return subprocess.run(whole, capture_output=True, text=True, check=False, env=clean_environment())


def test_a_model_is_judged_and_drawn(server: Server, trees: UserAppIDSet, tmp_path: Path) -> None:
    picture = tmp_path / "trees.png"
    done = run(server, trees, "evaluate", "trees", "--folds", "4", "--png", str(picture))
    assert done.returncode == 0, done.stderr
    assert "accuracy 0.975 over 80 examples in 4 folds" in done.stdout
    assert "birch" in done.stdout
    assert "i4" in done.stdout
    with Image.open(picture) as drawn:
        assert drawn.format == "PNG"
        colours = drawn.convert("RGB").getcolors(1 << 20)
    assert colours is not None
    assert len(colours) > 20


def test_what_to_label_next_and_what_is_wrong(server: Server, trees: UserAppIDSet) -> None:
    suggested = run(server, trees, "suggest", *NAMES, "--exclusive", "--count", "2")
    assert suggested.returncode == 0, suggested.stderr
    assert suggested.stdout.count("Could be") == 2
    doubted = run(server, trees, "label-errors", *NAMES, "--exclusive", "--count", "2")
    assert doubted.returncode == 0, doubted.stderr
    assert {f"i{n}" for n in WRONG} <= set(doubted.stdout.replace("│", " ").split())
    assert "80 labels looked at; about 2 inputs bear a wrong one" in doubted.stdout


def test_what_the_server_refuses_is_said_in_a_line(server: Server, trees: UserAppIDSet, tmp_path: Path) -> None:
    done = run(server, trees, "evaluate", "forest")
    assert done.returncode == 1
    assert "forest" in done.stderr
    nowhere = run(server, trees, "evaluate", "trees", "--png", str(tmp_path / "none" / "x.png"))
    assert nowhere.returncode == 1
    assert "x.png" in nowhere.stderr
