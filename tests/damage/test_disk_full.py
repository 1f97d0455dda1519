"""A full disk under a real server: nothing acknowledged is lost, reads and searches go on, and room is all it needs."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from postil.store.layout import BLOBS
from postil.v1.annotation_pb2 import Annotation
from postil.v1.common_pb2 import Pagination
from postil.v1.data_pb2 import Data, Embedding
from postil.v1.input_pb2 import Input
from postil.v1.input_service_pb2 import ListInputsRequest, PostInputsRequest
from postil.v1.search_pb2 import Query, Rank, Search
from postil.v1.search_service_pb2 import PostInputsSearchesRequest
from postil.v1.status_code_pb2 import StatusCode
from support.server import OWN, Server, clean_environment, command

_SIZE_MB = 96  # the picture model is converted into the data directory
_LEFT = 1 << 20


@contextmanager
def _small_disk(place: Path) -> Iterator[None]:
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={_SIZE_MB}m", "tmpfs", str(place)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip("only root can mount a small disk; the limit on the size of files is tested anyway")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=False)


class SmallDisk:
    """A file takes the room."""

    def __init__(self, server: Server) -> None:
        self._ballast = server.data_dir / "ballast"

    def fill(self) -> None:
        there = os.statvfs(self._ballast.parent)
        with self._ballast.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, there.f_bavail * there.f_frsize - _LEFT)

    def make_room(self) -> None:
        self._ballast.unlink()


class SmallFiles:
    """No file of the server's may grow: what the system then says of a write is what a full quota says."""

    def __init__(self, server: Server) -> None:
        self._pid = server.process.pid

    def fill(self) -> None:
        _, hard = resource.prlimit(self._pid, resource.RLIMIT_FSIZE)
        resource.prlimit(self._pid, resource.RLIMIT_FSIZE, (1 << 16, hard))

    def make_room(self) -> None:
        _, hard = resource.prlimit(self._pid, resource.RLIMIT_FSIZE)
        resource.prlimit(self._pid, resource.RLIMIT_FSIZE, (hard, hard))


class Load:
    """Batches of inputs with vectors; remembers which were acknowledged, and what the others were told."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._rng = np.random.default_rng(11)
        self.kept: dict[str, list[float]] = {}
        self.refused: list[Any] = []

    def post(self, batches: int, size: int = 20) -> None:
        for _ in range(batches):
            number = len(self.kept) + len(self.refused) * size
            vectors = self._rng.standard_normal((size, 256)).astype(np.float32).tolist()
            named = {f"in-{number + at}": vector for at, vector in enumerate(vectors)}
            items = [Input(id=name, data=Data(embeddings=[Embedding(vector=v)])) for name, v in named.items()]
            answer = self._server.call(OWN, "PostInputs", PostInputsRequest(inputs=items))
            if answer.status.code == StatusCode.SUCCESS:
                self.kept |= named
            else:
                self.refused.append(answer.status)

    def check(self) -> None:
        """Everything acknowledged is listed and found by its vector; nothing else is there."""
        names: set[str] = set()
        for page in range(1, 1000):
            found = self._server.call(OWN, "ListInputs", ListInputsRequest(page=page, per_page=500)).inputs
            names |= {item.id for item in found}
            if not found:
                break
        assert names == set(self.kept)
        for name in list(self.kept)[:: max(1, len(self.kept) // 20)]:
            rank = Rank(annotation=Annotation(data=Data(embeddings=[Embedding(vector=self.kept[name])])))
            request = PostInputsSearchesRequest(
                searches=[Search(query=Query(ranks=[rank]))], pagination=Pagination(page=1, per_page=1)
            )
            assert self._server.call(OWN, "PostInputsSearches", request).hits[0].input.id == name


def _through_a_full_disk(server: Server, disk: SmallDisk | SmallFiles, picture: bytes) -> None:
    load = Load(server)
    load.post(5)
    assert not load.refused
    disk.fill()
    for _ in range(40):
        load.post(5)
        if load.refused:
            break
    assert load.refused, "the disk is not full"
    assert {status.code for status in load.refused} == {StatusCode.INTERNAL_DATABASE_ISSUE}
    assert all("disk" in status.details and str(server.data_dir) in status.details for status in load.refused)
    load.check()
    item = Input(id="picture")
    item.data.image.base64 = picture + os.urandom(2 << 20)
    answer = server.call(OWN, "PostInputs", PostInputsRequest(inputs=[item]))
    assert answer.status.code != StatusCode.SUCCESS
    assert "Something went wrong" not in answer.status.details
    load.check()
    disk.make_room()
    load.refused.clear()
    load.post(5)
    assert not load.refused, "room was all it needed"
    load.check()


@pytest.mark.parametrize("kind", [SmallDisk, SmallFiles])
def test_a_full_disk_refuses_writes_and_nothing_else(
    tmp_path: Path, kind: Callable[[Server], SmallDisk | SmallFiles], photos: dict[str, bytes]
) -> None:
    (tmp_path / "data").mkdir()
    with _small_disk(tmp_path / "data") if kind is SmallDisk else _nothing():
        server = Server(tmp_path)
        try:
            _through_a_full_disk(server, kind(server), photos["cup"])
        finally:
            code = server.stop()
        assert code == 0
        verified = subprocess.run(
            command("verify", str(server.data_dir)),
            capture_output=True,
            text=True,
            check=False,
            env=clean_environment(),
        )
        assert verified.returncode == 0, verified.stdout + verified.stderr
        assert not [path for path in (server.data_dir / BLOBS).rglob("*") if path.name.startswith(".partial")]


@contextmanager
def _nothing() -> Iterator[None]:
    yield
