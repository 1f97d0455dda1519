"""The guard of URLs, watched from outside: a whole server in a network where every address leads to a listener."""

from __future__ import annotations

import ipaddress
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from media import ssrf_world
from media.vectors import OUTER
from postil.v1.status_code_pb2 import StatusCode
from support.server import clean_environment

# "-r" makes whoever runs the tests root of a user namespace, where the system permits that.
NAMESPACE = ["unshare", "-n"] if os.geteuid() == 0 else ["unshare", "-rn"]
REFUSED = {StatusCode.INPUT_INVALID_URL, StatusCode.INPUT_CONNECTION_FAILED}  # the second: no such name


def possible() -> bool:
    try:
        subprocess.run([*NAMESPACE, "ip", "link", "set", "lo", "up"], check=True, capture_output=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return False
    return True


@pytest.mark.skipif(not possible(), reason="needs network namespaces (unshare) and ip")
def test_no_inner_address_is_ever_dialled(tmp_path: Path) -> None:
    program = [*NAMESPACE, sys.executable, ssrf_world.__file__, str(tmp_path / "world")]
    done = subprocess.run(program, check=False, capture_output=True, text=True, timeout=600, env=clean_environment())
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    public = {str(ipaddress.ip_address(address)) for address in (*OUTER, ssrf_world.PUBLIC, ssrf_world.ENTRANCE)}
    dialled = {tuple(line.split()) for line in report["dialled"]}
    assert {address for address, _ in dialled if address not in public} == set()
    assert {port for _, port in dialled} == {"80"}
    # What may be dialled was: the listener would have noticed the others too.
    mapped = {str(ipaddress.ip_address("8.8.8.8")) if one.startswith("::ffff:") else one for one in public}
    assert mapped == {address for address, _ in dialled}
    refused = set(report["refused"])
    assert len(refused) > 1000
    others = {url: code for url, code in report["codes"].items() if url in refused and code not in REFUSED}
    # A Location that is no whole URL leads on within the public server, which has nothing there.
    assert set(others.values()) <= {StatusCode.INPUT_DOWNLOAD_FAILED}
    assert all(url.startswith(f"http://{ssrf_world.ENTRANCE}/r/") for url in others)
