"""The documentation holds: its commands run, its links resolve, and everything that can be set is in it."""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

import pytest

from postil import __version__, cli, config
from postil.embed.onnx_model import UserModel
from support.external import ROOT, grpcurl
from support.server import Server

PAGES = [
    path
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "clients").rglob("*.md")]
    if "node_modules" not in path.parts
]
README = (ROOT / "README.md").read_text()
BLOCK = re.compile(r"^<!-- tested -->\n```(bash|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")


def test_readme_commands_run(start_server: Callable[..., Server], tmp_path: Path, photos: dict[str, bytes]) -> None:
    """The tested blocks, in order, as a reader would run them; only the port is that of the test's server."""
    server = start_server()
    blocks = BLOCK.findall(README)
    assert {kind for kind, _ in blocks} == {"bash", "python"}
    for name, photo in zip(["cat.jpg", "cup.jpg", "another.jpg"], photos.values(), strict=False):
        (tmp_path / name).write_bytes(photo)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/grpcurl").symlink_to(grpcurl())
    environment = {**os.environ, "PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    outputs = []
    for kind, text in blocks:
        command = ["bash", "-euc"] if kind == "bash" else [sys.executable, "-c"]
        done = subprocess.run(
            [*command, text.replace("127.0.0.1:18080", server.grpc)],
            cwd=tmp_path,
            env=environment,
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}{done.stderr}"
        outputs.append(done.stdout)
    listing, calls, python = outputs
    assert {"postil.v1.Annotations", "clarifai.api.V2"} <= set(listing.split())
    assert calls.count('"code": "SUCCESS"') == 3
    assert calls.index("note-1", calls.index('"hits"')) < calls.index("note-2", calls.index('"hits"'))
    assert len(python.splitlines()) == 2


def test_readme_names_only_make_targets_that_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        assert set(re.findall(r"`make ([a-z-]+)", page.read_text())) <= targets, page.name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_resolve(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    local = [unquote(link) for link in LINK.findall(text) if not re.match(r"[a-z]+:", link)]
    assert [link for link in local if not _resolves(page, link)] == []


def _resolves(page: Path, link: str) -> bool:
    path, _, fragment = link.partition("#")
    target = (page.parent / path) if path else page
    if not target.exists():
        return False
    return not fragment or fragment in {_anchor(line) for line in target.read_text().splitlines()}


def _anchor(line: str) -> str:
    heading = line.lstrip("#").strip() if line.startswith("#") else ""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_every_setting_and_command_is_documented() -> None:
    page = (ROOT / "docs/configuration.md").read_text()
    for row in config.settings():
        assert f"`--{row.name.replace('_', '-')}" in page, f"{row.name}: run `make fix`"
        assert f"`{config.PREFIX}{row.name.upper()}`" in page, f"{row.name}: run `make fix`"
        assert row.metadata["help"] in page, f"{row.name}: run `make fix`"
    for name, command in cli.main.commands.items():
        assert f"`postil {name}" in page, f"{name}: run `make fix`"
        assert command.help, f"{name} has no help"


def test_the_example_of_a_users_models_is_right() -> None:
    page = (ROOT / "docs/configuration.md").read_text()
    (example,) = re.findall(r"^```toml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    models = [UserModel.from_table(table) for table in tomllib.loads(example)["model"]]
    assert [model.kind for model in models] == ["picture", "text"]
    for field in dataclasses.fields(UserModel):
        assert re.search(rf"^{field.name} = ", example, re.MULTILINE), field.name


def test_generated_parts_are_fresh() -> None:
    done = subprocess.run(
        [sys.executable, "tools/docs.py", "--check"], cwd=ROOT, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_decision_is_numbered_once_and_says_its_status() -> None:
    records = sorted((ROOT / "docs/adr").glob("*.md"))
    numbers = [path.name[:4] for path in records]
    assert numbers == [f"{n:04}" for n in range(len(records))]
    for path in records:
        assert re.search(r"^Status: (proposed|accepted|superseded by)", path.read_text(), re.MULTILINE), path.name


def test_changelog_begins_with_what_comes_next_or_what_is() -> None:
    top = re.search(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert top is not None
    assert top[1].startswith(("Unreleased", __version__))
