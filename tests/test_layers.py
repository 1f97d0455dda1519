"""The house rules of docs/architecture.md, read from the source: who may import whom, and how large things may be."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SERVER = ROOT / "server/postil"
CLIENT = ROOT / "clients/python/postil_client"
STUBS = SERVER / "v1"

# Rooms, and the rooms whose code each may import; a room may always import from itself.
MACHINE = {"memory", "processors"}  # what is asked of it; they know nothing of the rest
LEAVES = {"errors", "v1"} | MACHINE
ROOMS: dict[str, set[str]] = {
    **{name: set() for name in MACHINE},
    "errors": {"v1"},
    "v1": set(),
    "store": LEAVES,
    "index": LEAVES | {"store.base"},
    "embed": LEAVES | {"media.squares"},
    "media": LEAVES,
    "core": LEAVES | {"store.base", "index", "embed", "media"},
}
CORE_AND_BELOW = set(ROOMS) - {"v1"}
ONLY_IN: dict[str, set[str]] = {
    "grpc": {"doors", "app", "v1", "commands"},
    "grpc_health": {"doors", "app"},
    "grpc_reflection": {"doors", "app"},
    "sqlite3": {"store"},
    "sqlite_utils": {"store"},
}
OUTSIDE = {"demo", "commands", "cli"}  # work on a server through the client
NOWHERE = {"pickle", "cPickle", "shelve", "marshal", "dill", "joblib", "cloudpickle"}

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 40


def sources(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*.py")) if STUBS not in path.parents]


def room(path: Path) -> str:
    """The first folder below server/postil, or the module's name."""
    return path.relative_to(SERVER).parts[0].removesuffix(".py")


def imported(tree: ast.AST) -> Iterator[str]:
    """Full names of all imported modules and names, wherever in the file they are imported."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def offences(path: Path) -> Iterator[str]:
    here = room(path)
    for name in imported(ast.parse(path.read_text())):
        top = name.split(".")[0]
        if top in NOWHERE:
            yield f"{path.relative_to(ROOT)} imports {top}: data from outside must not run code"
        if here not in ONLY_IN.get(top, {here}):
            yield f"{path.relative_to(ROOT)} imports {top}: only {', '.join(sorted(ONLY_IN[top]))} may"
        if top == "postil_client" and here not in OUTSIDE:
            yield f"{path.relative_to(ROOT)} imports the client"
        if here in ROOMS and top == "postil" and not allowed(here, name.removeprefix("postil.")):
            yield f"{path.relative_to(ROOT)} imports {name}: {here} may use {', '.join(sorted(ROOMS[here]))}"


def allowed(here: str, name: str) -> bool:
    if name in {"postil", "__version__"}:  # the package itself holds the version and nothing else
        return True
    return any(name == other or name.startswith(f"{other}.") for other in {here, *ROOMS[here]})


@pytest.mark.parametrize("path", sources(SERVER), ids=lambda path: str(path.relative_to(SERVER)))
def test_imports_point_one_way(path: Path) -> None:
    assert list(offences(path)) == []


def test_only_config_reads_the_environment() -> None:
    readers = {
        str(path.relative_to(SERVER))
        for path in sources(SERVER)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv", "environb", "putenv"}
    }
    assert readers <= {"config.py"}


def test_the_client_uses_the_stubs_and_nothing_else_of_the_server() -> None:
    used = {name for path in sources(CLIENT) for name in imported(ast.parse(path.read_text()))}
    assert {name for name in used if name.startswith("postil.") and not name.startswith("postil.v1")} == set()
    assert {name.split(".")[0] for name in used} & {"numpy", "hnswlib", "PIL", "sqlite3", "onnxruntime"} == set()


def test_the_rules_are_about_folders_that_exist() -> None:
    assert {name for name in CORE_AND_BELOW if not (SERVER / name).is_dir()} <= {"errors"} | MACHINE
    assert (SERVER / "errors.py").is_file()


@pytest.mark.parametrize("path", [*sources(SERVER), *sources(CLIENT)], ids=lambda path: str(path.relative_to(ROOT)))
def test_files_say_what_they_are_for_and_stay_small(path: Path) -> None:
    text = path.read_text()
    tree = ast.parse(text)
    if tree.body:  # an __init__.py may be empty
        assert ast.get_docstring(tree), "the first lines say what the file is for"
    lines = text.count("\n")
    assert lines <= MAX_FILE_LINES
    long = [
        f"{node.name}: {node.end_lineno - node.lineno + 1} lines"
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno + 1 > MAX_FUNCTION_LINES
    ]
    assert long == []


def test_an_upward_import_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "SERVER", tmp_path)
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    (tmp_path / "core").mkdir()
    bad = tmp_path / "core/search.py"
    bad.write_text(
        "import grpc\nfrom postil.doors.rpc import server\nimport pickle\nfrom postil.store.base import Store\n"
    )
    assert [text.split(" imports ")[1].split(":")[0] for text in offences(bad)] == [
        "grpc",
        "postil.doors.rpc.server",
        "pickle",
    ]
