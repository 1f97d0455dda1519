"""The command line as a person meets it: the ready line, signals, refusals in one line, verify."""

from __future__ import annotations

import concurrent.futures
import json
import os
import re
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

import postil
from postil.v1.app_service_pb2 import ListAppsRequest
from postil.v1.common_pb2 import UserAppIDSet
from postil.v1.data_pb2 import Data, Text
from postil.v1.input_pb2 import Input
from postil.v1.input_service_pb2 import GetInputRequest, PostInputsRequest
from postil.v1.status_code_pb2 import StatusCode
from postil.v1.status_service_pb2 import GetStatusCodeRequest
from support.server import LOCAL, OWN, Server, clean_environment, command

StartServer = Callable[..., Server]


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**clean_environment(), **variables}
    return subprocess.run(command(*arguments), env=environment, check=False, capture_output=True, text=True, timeout=60)


def refused(*arguments: str, **variables: str) -> str:
    """The one line that a server that cannot start says."""
    done = run("serve", *arguments, **variables)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    lines = [line for line in done.stderr.splitlines() if not line.startswith("{")]  # log events are JSON
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("postil: ")
    return lines[0]


def get(url: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def text_input(app: UserAppIDSet, name: str) -> PostInputsRequest:
    return PostInputsRequest(user_app_id=app, inputs=[Input(id=name, data=Data(text=Text(raw="a small cup")))])


def test_version() -> None:
    assert run("version").stdout == f"{postil.__version__}\n"


def test_ready_line_and_doors(server: Server) -> None:
    assert re.fullmatch(r"postil ready grpc=127\.0\.0\.1:[1-9]\d* http=127\.0\.0\.1:[1-9]\d*\n", server.ready_line)
    assert get(f"{server.http}/healthz")[0] == 200
    assert get(f"{server.http}/readyz")[0] == 200
    health: Any = health_pb2_grpc.HealthStub(server.channel)
    assert health.Check(health_pb2.HealthCheckRequest()).status == health_pb2.HealthCheckResponse.SERVING
    assert b"postil_build_info" in get(f"{server.http}/metrics")[1]


def test_status_codes_under_both_names(call: Callable[..., Any]) -> None:
    status = call("GetStatusCode", GetStatusCodeRequest(status_code_id="11101")).status
    assert (status.code, status.description) == (11101, "Resource does not exist")


def test_an_rpc_that_nobody_has(server: Server) -> None:
    invoke: grpc.UnaryUnaryMultiCallable[bytes, bytes] = server.channel.unary_unary("/clarifai.api.V2/PostNonsense")
    with pytest.raises(grpc.RpcError) as caught:
        invoke(b"", timeout=30)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_the_default_app_is_there_from_the_start(start_server: StartServer) -> None:
    listed = start_server().call(OWN, "ListApps", ListAppsRequest())
    assert [(app.user_id, app.id) for app in listed.apps] == [("postil", "main")]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_stop_it_in_good_order(start_server: StartServer, number: signal.Signals) -> None:
    server = start_server()
    began = time.monotonic()
    server.process.send_signal(number)
    assert server.process.wait(10) == 0, server.tail()
    assert time.monotonic() - began < 10
    assert server.process.stdout is not None
    assert server.process.stdout.read() == ""  # the ready line is all that stdout ever got
    for line in server.log.read_text().splitlines():
        assert json.loads(line)["level"] == "info"


def test_a_call_that_outlives_the_drain_does_not_hold_the_exit(start_server: StartServer, app: UserAppIDSet) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, and never answers
        server = start_server("--drain-s", "1")
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/a.jpg"
        request = _search_by_url(app, url)
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            pending = pool.submit(server.call, OWN, "PostAnnotationsSearches", request)
            connection, _ = silent.accept()  # the server is fetching
            with connection:
                began = time.monotonic()
                server.process.send_signal(signal.SIGTERM)
                assert server.process.wait(10) == 0, server.tail()
                assert time.monotonic() - began < 10
            assert isinstance(pending.exception(10), grpc.RpcError)


def _search_by_url(app: UserAppIDSet, url: str) -> Any:
    from postil.v1.annotation_pb2 import Annotation
    from postil.v1.image_pb2 import Image
    from postil.v1.search_pb2 import Query, Rank, Search
    from postil.v1.search_service_pb2 import PostAnnotationsSearchesRequest

    rank = Rank(annotation=Annotation(data=Data(image=Image(url=url))))
    return PostAnnotationsSearchesRequest(user_app_id=app, searches=[Search(query=Query(ranks=[rank]))])


def test_what_was_acknowledged_survives_kill_9(start_server: StartServer, app: UserAppIDSet) -> None:
    server = start_server()
    for n in range(3):
        assert server.call(OWN, "PostInputs", text_input(app, f"text-{n}")).status.code == StatusCode.SUCCESS
        server.kill9()
    for n in range(3):
        got = server.call(OWN, "GetInput", GetInputRequest(user_app_id=app, input_id=f"text-{n}"))
        assert got.status.code == StatusCode.SUCCESS
    server.kill9(restart=False)
    done = run("verify", "--data-dir", str(server.data_dir))
    assert (done.returncode, done.stdout) == (0, f"{server.data_dir}: clean\n"), done.stderr


def test_restart_keeps_everything(start_server: StartServer, app: UserAppIDSet) -> None:
    server = start_server()
    server.call(OWN, "PostInputs", text_input(app, "kept"))
    server.restart()
    got = server.call(OWN, "GetInput", GetInputRequest(user_app_id=app, input_id="kept"))
    assert got.input.id == "kept"


def test_verify_finds_a_damaged_database(start_server: StartServer, app: UserAppIDSet) -> None:
    server = start_server()
    server.call(OWN, "PostInputs", text_input(app, "one"))
    server.stop()
    (database,) = [path for path in server.data_dir.iterdir() if path.suffix in {".db", ".sqlite", ".sqlite3"}]
    content = bytearray(database.read_bytes())
    content[4096:8192] = os.urandom(4096)
    database.write_bytes(content)
    done = run("verify", "--data-dir", str(server.data_dir))
    assert done.returncode == 1
    assert "1 problem" in done.stdout


def test_verify_works_beside_a_server_and_refuses_a_missing_directory(
    start_server: StartServer, tmp_path: Path
) -> None:
    done = run("verify", "--data-dir", str(start_server().data_dir))
    assert (done.returncode, done.stderr) == (0, "")
    assert "clean" in done.stdout
    done = run("verify", "--data-dir", str(tmp_path / "nowhere"))
    assert (done.returncode, done.stdout) == (2, "")
    assert "not a directory" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_second_server_on_the_same_directory(server: Server) -> None:
    assert "in use" in refused("--data-dir", str(server.data_dir), *LOCAL)


@pytest.mark.parametrize("door", ["--grpc", "--http"])
def test_a_port_in_use(door: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        assert address in refused("--data-dir", str(tmp_path / "data"), *LOCAL, door, address)


def test_an_address_that_is_not_this_machines(tmp_path: Path) -> None:
    arguments = ("--data-dir", str(tmp_path / "data"), *LOCAL, "--http", "203.0.113.7:0", "--access", "open")
    assert "203.0.113.7" in refused(*arguments)


def test_wider_than_this_machine(tmp_path: Path) -> None:
    says = refused("--data-dir", str(tmp_path), "--grpc", "0.0.0.0:0")
    assert "postil keys create" in says
    assert "--access open" in says


def test_a_bad_network(tmp_path: Path) -> None:
    assert "--fetch-allow" in refused("--data-dir", str(tmp_path), "--fetch-allow", "10.0.0.0/99")
    assert "POSTIL_FETCH_ALLOW" in refused("--data-dir", str(tmp_path), POSTIL_FETCH_ALLOW="nonsense")


def test_a_data_directory_that_cannot_be_written(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("not a directory")
    assert str(file) in refused("--data-dir", str(file), *LOCAL)
    assert str(file) in refused("--data-dir", str(file / "below"), *LOCAL)


def test_a_models_file_that_cannot_be_used(tmp_path: Path) -> None:
    file = tmp_path / "models.toml"
    file.write_text('[[model]]\nname = "mine"\nkind = "picture"\npath = "mine.onnx"\n')
    assert "mine.onnx" in refused("--data-dir", str(tmp_path / "data"), *LOCAL, "--models", str(file))
    file.write_text("[[model]\n")
    assert str(file) in refused("--data-dir", str(tmp_path / "data"), *LOCAL, "--models", str(file))


def test_a_missing_native_dependency_is_named(tmp_path: Path) -> None:
    (tmp_path / "hnswlib.py").write_text("raise ModuleNotFoundError('No module named hnswlib', name='hnswlib')")
    says = refused("--data-dir", str(tmp_path / "data"), *LOCAL, PYTHONPATH=str(tmp_path))
    assert "hnswlib" in says
    assert "pip install hnswlib" in says


def test_a_client_only_installation_says_how_to_get_the_server(tmp_path: Path) -> None:
    (tmp_path / "click.py").write_text("raise ModuleNotFoundError('No module named click', name='click')")
    done = run("serve", PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr == "postil: only the client is installed. For the server: pip install 'postil[server]'\n"
