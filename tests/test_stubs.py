"""The checked-in stubs and the breaking-change baseline are what protos/ generates, and import cleanly."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.skipif(importlib.util.find_spec("grpc_tools") is None, reason="needs the dependency group `protos`")
def test_stubs_are_what_the_protos_generate() -> None:
    done = subprocess.run(
        [sys.executable, "tools/protos.py", "--check"], cwd=ROOT, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, f"run `make protos`: {done.stdout}{done.stderr}"


def test_every_proto_has_a_stub_and_no_stub_lacks_a_proto() -> None:
    protos = {path.stem for path in (ROOT / "protos/postil/v1").glob("*.proto")}
    stubs = {path.name.removesuffix("_pb2.py") for path in (ROOT / "server/postil/v1").glob("*_pb2.py")}
    assert protos == stubs


def test_stubs_live_beside_another_package_with_the_same_messages() -> None:
    # Own package name: a process may load these and the stubs of the schema they mirror.
    code = (
        "from google.protobuf import descriptor_pb2, descriptor_pool\n"
        "from postil.v1 import annotation_pb2\n"
        "file = descriptor_pb2.FileDescriptorProto(name='proto/clarifai/api/resources.proto', package='clarifai.api')\n"
        "file.message_type.add(name='Annotation')\n"
        "descriptor_pool.Default().Add(file)\n"
        "assert descriptor_pool.Default().FindMessageTypeByName('clarifai.api.Annotation')\n"
        "assert annotation_pb2.Annotation.DESCRIPTOR.full_name == 'postil.v1.Annotation'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
