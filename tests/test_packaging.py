"""What is shipped: the wheel holds both packages and their types, and the client alone installs and runs light."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from postil import __version__
from support.external import ROOT, missing

pytestmark = pytest.mark.timeout(300)  # pip works, and may download

LIGHT = {"googleapis-common-protos", "grpcio", "pip", "postil", "protobuf", "setuptools", "typing-extensions"}


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
