"""What is shipped: the wheel holds both packages and their types, and the client alone installs and runs light."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import tomllib
import venv
import zipfile
from collections.abc import Iterable, Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from postil import __version__
from support.external import ROOT, missing

pytestmark = pytest.mark.timeout(300)  # pip works, and may download

LIGHT = {"googleapis-common-protos", "grpcio", "pip", "postil", "protobuf", "setuptools", "typing-extensions"}

OURS = {"postil", "postil_client", "benchmarks", *(path.stem for path in (ROOT / "tests").iterdir())}
OPTIONAL_IN_TESTS = {"clarifai", "clarifai_grpc", "grpc_tools"}  # the tests that want them skip without
PEERS = {"chromadb", "lancedb", "psycopg", "pgvector", "pymilvus"}  # measured when they are there


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    pip(Path(sys.executable), "wheel", "--quiet", "--no-deps", "--wheel-dir", str(out), str(ROOT))
    (built,) = out.glob("postil-*.whl")
    return built


def pip(python: Path, *arguments: str) -> str:
    command = [str(python), "-m", "pip", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if "No matching distribution" in done.stderr or "ConnectionError" in done.stderr:
        missing("a package index", done.stderr[-500:])
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_wheel_holds_both_packages_and_their_types(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    sources = {
        path.relative_to(folder).as_posix()
        for folder in (ROOT / "server", ROOT / "clients/python")
        for pattern in ("*.py", "*.pyi", "py.typed")
        for path in folder.rglob(pattern)
    }
    assert sources - names == set()
    assert {"postil/py.typed", "postil_client/py.typed", "postil/v1/input_pb2.pyi"} <= names
    assert {name.split("/")[0] for name in names} == {"postil", "postil_client", f"postil-{__version__}.dist-info"}


def test_the_client_alone_installs_light_and_works(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "bare", with_pip=True)
    python = tmp_path / "bare/bin/python"
    pip(python, "install", "--quiet", str(wheel))
    installed = {one["name"].lower().replace("_", "-") for one in json.loads(pip(python, "list", "--format=json"))}
    assert installed <= LIGHT
    program = """if True:
        import grpc
        from postil_client import Client, build
        with Client("127.0.0.1:1", timeout=1) as client:
            try:
                client.label("i", "tree", region=build.box(0, 0, 1, 1))
            except grpc.RpcError as error:
                print(error.code().name)
    """
    done = subprocess.run([python, "-I", "-c", program], check=False, capture_output=True, text=True)
    assert done.stdout.strip() in {"UNAVAILABLE", "DEADLINE_EXCEEDED"}, done.stderr


def test_what_is_imported_is_declared() -> None:
    """A package that only happens to be there, because another needs it, may be gone tomorrow."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    light = names(project["project"]["dependencies"])
    server = light | names(project["project"]["optional-dependencies"]["server"])
    groups = project["dependency-groups"]
    demo, test, bench = (
        names(one for one in groups[group] if isinstance(one, str)) for group in ("demo", "test", "bench")
    )
    assert undeclared(ROOT / "clients/python", light) == {}
    assert undeclared(ROOT / "server/postil/v1", light) == {}
    assert undeclared(ROOT / "server/postil/demo", server | demo) == {}
    assert undeclared(ROOT / "server/postil", server, leave_out=ROOT / "server/postil/demo") == {}
    assert set(undeclared(ROOT / "tests", server | demo | test, leave_out=ROOT / "tests/programs")) <= OPTIONAL_IN_TESTS
    assert set(undeclared(ROOT / "benchmarks", server | demo | bench)) <= PEERS


def names(requirements: Iterable[str]) -> set[str]:
    return {canonicalize_name(Requirement(text).name) for text in requirements}


def undeclared(folder: Path, declared: set[str], leave_out: Path | None = None) -> dict[str, str]:
    """Top-level imports that no declared distribution provides, and a file that has each."""
    providers = packages_distributions()
    found = {}
    for path in sorted(folder.rglob("*.py")):
        if leave_out is not None and leave_out in path.parents:
            continue
        for name in top_level_imports(path):
            own = name in sys.stdlib_module_names or name in OURS
            if not own and not {canonicalize_name(one) for one in providers.get(name, (name,))} & declared:
                found[name] = str(path.relative_to(ROOT))
    return found


def top_level_imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]
