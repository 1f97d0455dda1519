"""docs/api.md is what the protos say, and the protos say truly which calls the server has."""

from __future__ import annotations

import runpy
import subprocess
import sys
from typing import Any

import grpc

from postil.v1.common_pb2 import UserAppIDSet
from support.doors import METHODS
from support.external import ROOT
from support.server import Server

TOOL = ROOT / "tools/api.py"


def is_built(server: Server, service_name: str, call: str, app: UserAppIDSet) -> bool:
    request: Any = METHODS[call].request()
    if "user_app_id" in request.DESCRIPTOR.fields_by_name:
        request.user_app_id.CopyFrom(app)
    try:
        server.call(service_name, call, request)
    except grpc.RpcError as error:
        if error.code() is not grpc.StatusCode.UNIMPLEMENTED:
            raise
        return False
    return True


def test_page_is_generated() -> None:
    done = subprocess.run([sys.executable, str(TOOL), "--check"], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_protos_say_which_calls_are_built(server: Server, service_name: str, app: UserAppIDSet) -> None:
    missing = {call for call in METHODS if not is_built(server, service_name, call, app)}
    assert missing == runpy.run_path(str(TOOL))["later"]()
