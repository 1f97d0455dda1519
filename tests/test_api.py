"""docs/api.md is what the protos say, and the protos say truly which calls the server has."""

from __future__ import annotations

import importlib
import pkgutil
import runpy
import subprocess
import sys
from pathlib import Path

from postil.doors import rpc
from postil.doors.rpc import methods

ROOT = Path(__file__).resolve().parent.parent
TOOL = ROOT / "tools/api.py"


def test_page_is_generated() -> None:
    done = subprocess.run([sys.executable, str(TOOL), "--check"], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_protos_say_which_calls_are_built() -> None:
    declared = methods.table()
    services = {method.service.rpartition(".")[2] for method in declared.values()}
    modules = [importlib.import_module(f"{rpc.__name__}.{found.name}") for found in pkgutil.iter_modules(rpc.__path__)]
    servicers = [getattr(module, name) for module in modules for name in services if hasattr(module, name)]
    built = {name for servicer in servicers for name in vars(servicer) if name in declared}
    assert {"PostAnnotations", "PostInputsSearches", "ListStatusCodes"} <= built
    assert declared.keys() - built == runpy.run_path(str(TOOL))["later"]()
