"""Turn protos/ into the Python stubs in server/postil/v1 and the baseline that `buf breaking` compares with.

    python tools/protos.py                     write both (`make protos`)
    python tools/protos.py --check             write nothing; exit 1 and name what is stale
    python tools/protos.py --accept-breaking   write the baseline even though it breaks the one before

Needs no network: protoc comes with grpcio-tools, the .pyi files from mypy-protobuf, both pinned in pyproject.toml.
Only a changed baseline asks for buf (`npm ci --prefix tools/buf`), because nothing may replace the
baseline before the change from the old one to the new one has been looked at.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import tomllib
from importlib.metadata import version
from importlib.resources import files as package_files
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"
PACKAGE = Path("postil/v1")
STUBS = ROOT / "server" / PACKAGE
BASELINE = PROTOS / "baseline.binpb"
BUF = ROOT / "tools/buf/node_modules/.bin/buf"
INIT = '"""Generated from protos/postil/v1 by `make protos`; never edited by hand."""\n'


def check_pins() -> None:
    """Exit unless the generators are the pinned ones: another version writes other files."""
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    wrong = [pin for pin in groups["protos"] if version(pin.split("==")[0]) != pin.split("==")[1]]
    if wrong:
        sys.exit(f"the stubs are generated with {' and '.join(wrong)}: install {'it' if len(wrong) == 1 else 'them'}")


def generate(out: Path) -> None:
    """Write the stubs under `out`/postil/v1 and the descriptor set to `out`/baseline.binpb."""
    sources = sorted(path.relative_to(PROTOS).as_posix() for path in (PROTOS / PACKAGE).glob("*.proto"))
    command = [
        *(sys.executable, "-m", "grpc_tools.protoc"),
        f"--proto_path={PROTOS}",
        f"--proto_path={package_files('grpc_tools') / '_proto'}",
        *(f"--{plugin}_out={out}" for plugin in ("python", "mypy", "grpc_python", "mypy_grpc")),
        f"--descriptor_set_out={out / BASELINE.name}",
        "--include_imports",
        *sources,
    ]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"  # where protoc-gen-mypy is
    done = subprocess.run(command, check=False, env={**os.environ, "PATH": path}, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    for source in sources:
        if "\nservice " not in (PROTOS / source).read_text():
            for suffix in ("py", "pyi"):
                (out / source.replace(".proto", f"_pb2_grpc.{suffix}")).unlink(missing_ok=True)
    (out / PACKAGE / "__init__.py").write_text(INIT)


def files(folder: Path) -> dict[str, bytes]:
    """Give the sources in a folder by name."""
    return {path.name: path.read_bytes() for path in folder.glob("*.py*") if path.is_file()}


def stale(fresh: dict[str, bytes]) -> list[str]:
    """Name the stubs that are missing, differ, or have no proto any more."""
    there = files(STUBS)
    return sorted(name for name in there.keys() | fresh.keys() if there.get(name) != fresh.get(name))


def install(fresh: dict[str, bytes], names: list[str]) -> None:
    """Put the stale stubs in place, each by a rename, so that an import meanwhile sees whole files."""
    for name in names:
        if name in fresh:
            aside = STUBS / f".{name}.new"
            aside.write_bytes(fresh[name])
            aside.replace(STUBS / name)
        else:
            (STUBS / name).unlink()


def refuse_breaking(fresh: Path) -> None:
    """Exit when the step from the checked-in baseline to `fresh` breaks clients."""
    against = [str(BUF), "breaking", str(fresh), "--against", str(BASELINE), "--config", str(PROTOS / "buf.yaml")]
    if subprocess.run(against, cwd=ROOT, check=False).returncode:
        sys.exit("clients would break. If that is meant, say --accept-breaking and put it in CHANGELOG.md")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 and name what is stale")
    parser.add_argument("--accept-breaking", action="store_true", help="replace the baseline whatever buf says")
    options = parser.parse_args()
    check_pins()
    with tempfile.TemporaryDirectory(prefix="postil-protos-") as folder:
        out = Path(folder)
        generate(out)
        fresh = files(out / PACKAGE)
        names = stale(fresh)
        baseline = (out / BASELINE.name).read_bytes()
        moved = not BASELINE.exists() or BASELINE.read_bytes() != baseline
        if options.check:
            changed = names + [BASELINE.name] * moved
            sys.exit(f"run `make protos`, stale: {', '.join(changed)}" if changed else 0)
        must_look = moved and BASELINE.exists() and not options.accept_breaking
        if must_look and BUF.exists():
            refuse_breaking(out / BASELINE.name)
        install(fresh, names)
        if must_look and not BUF.exists():
            sys.exit(f"stubs written; {BASELINE.name} changes and buf must look first: npm ci --prefix tools/buf")
        if moved:
            BASELINE.write_bytes(baseline)
        print(f"{len(fresh)} files, {len(names)} new; the baseline {'moved' if moved else 'stays'}")


if __name__ == "__main__":
    main()
