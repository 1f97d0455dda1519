"""A vector whose row is damaged: put back from the index where that has it, else named until it is replaced."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from damage.test_backup import postil
from postil.index.catalogs import Catalogs
from postil.index.manager import IndexManager
from postil.store.base import Corrupt
from postil.store.layout import DATABASE, INDEX
from postil.store.sqlite import SqliteStore
from postil.v1.annotation_pb2 import Annotation
from postil.v1.data_pb2 import Data, Embedding
from postil.v1.input_pb2 import Input
from postil.v1.input_service_pb2 import PatchInputsRequest, PostInputsRequest
from postil.v1.search_pb2 import Query, Rank, Search
from postil.v1.search_service_pb2 import PostInputsSearchesRequest
from postil.v1.status_code_pb2 import StatusCode
from support.server import OWN, Server
from support.stores import Filler

_DIM = 16


def _damage(data_dir: Path, count: int = 1) -> list[int]:
    """Changes one number of so many vectors; their annotation rows."""
    with closing(sqlite3.connect(data_dir / DATABASE, isolation_level=None)) as connection:
        keys = [key for (key,) in connection.execute("SELECT key FROM vectors ORDER BY key LIMIT ?", (count,))]
        for key in keys:
            connection.execute(
                "UPDATE vectors SET data = CAST(x'0000803f' || substr(data, 5) AS BLOB) WHERE key = ?", (key,)
            )
    return [key & (1 << 32) - 1 for key in keys]


def _indexed(data_dir: Path, store: SqliteStore) -> IndexManager:
    manager = IndexManager(data_dir / INDEX, store)
    manager.start()
    return manager


def _filled(data_dir: Path) -> None:
    with SqliteStore(data_dir) as store:
        fill = Filler(store)
        app = fill.app()
        space = fill.space(app, _DIM)
        manager = _indexed(data_dir, store)
        anchors = [record.anchor for record in fill.inputs(app, *(f"in-{n}" for n in range(300)))]
        fill.vectors(app, space, anchors, np.random.default_rng(3).standard_normal((300, _DIM)))
        manager.close()


def _scans(store: SqliteStore, monkeypatch: Any) -> list[int]:
    """Counts the pages of vectors that are read."""
    seen: list[int] = []
    kind = type(store.read())
    scan = kind.scan_vectors

    def counted(self: Any, space: int, after: int, limit: int) -> Any:
        seen.append(after)
        return scan(self, space, after, limit)

    monkeypatch.setattr(kind, "scan_vectors", counted)
    return seen


def test_a_damaged_row_does_not_cost_a_rebuild_at_every_start(tmp_path: Path, monkeypatch: Any) -> None:
    _filled(tmp_path)
    _damage(tmp_path, 3)
    shutil.rmtree(tmp_path / INDEX)  # nobody has those three any more
    for start in range(3):
        with SqliteStore(tmp_path) as store:
            seen = _scans(store, monkeypatch)
            manager = _indexed(tmp_path, store)
            assert bool(seen) == (start == 0)
            manager.mend()
            assert manager.lost() == manager.lost(1) == 3
            index = manager.space(1)
            assert index is not None
            assert len(index) == 297
            manager.close()
        monkeypatch.undo()


def test_the_index_gives_back_what_the_row_has_lost(tmp_path: Path) -> None:
    _filled(tmp_path)
    rows = _damage(tmp_path, 3)
    with SqliteStore(tmp_path) as store:
        assert store.read().damaged_vectors(1) == rows
        manager = _indexed(tmp_path, store)
        manager.mend()
        assert manager.lost() == 0
        assert store.read().damaged_vectors(1) == []
        manager.close()
    assert postil("verify", str(tmp_path)).returncode == 0


def test_a_vector_that_the_checksum_was_not_made_of_is_not_put_in(tmp_path: Path) -> None:
    """The index of another moment has another vector: a wrong one is worse than none."""
    _filled(tmp_path)
    rows = _damage(tmp_path)
    with SqliteStore(tmp_path) as store:
        other = store.read().vectors(1, [row + 1 for row in rows])
        wrong = other._replace(rows=np.array(rows, np.int64))
        assert store.write(lambda tx: tx.mend_vectors(wrong)) == []
        assert store.read().damaged_vectors(1) == rows


def _search(server: Server, vector: list[float]) -> Any:
    rank = Rank(annotation=Annotation(data=Data(embeddings=[Embedding(vector=vector)])))
    return server.call(
        OWN, "PostInputsSearches", PostInputsSearchesRequest(searches=[Search(query=Query(ranks=[rank]))])
    )


def test_a_lost_vector_is_named_until_it_is_replaced(start_server: Callable[..., Server]) -> None:
    server = start_server()
    vectors = np.random.default_rng(4).standard_normal((5, _DIM)).astype(np.float32).tolist()
    items = [Input(id=f"in-{n}", data=Data(embeddings=[Embedding(vector=v)])) for n, v in enumerate(vectors)]
    server.call(OWN, "PostInputs", PostInputsRequest(inputs=items))
    assert server.stop() == 0
    _damage(server.data_dir)
    shutil.rmtree(server.data_dir / INDEX)

    checked = postil("verify", str(server.data_dir))
    assert checked.returncode == 1
    assert "fails its checksum" in checked.stdout
    rebuilt = postil("rebuild-index", "--data-dir", str(server.data_dir))
    assert rebuilt.returncode == 1
    assert "--drop-damaged" in rebuilt.stdout

    server._start()
    answer = _search(server, vectors[1])
    assert answer.status.code == StatusCode.SUCCESS
    assert answer.hits[0].input.id == "in-1"
    for _ in range(600):  # the check of all rows runs beside the first calls
        if "damaged" in answer.status.details:
            break
        answer = _search(server, vectors[1])
    assert "1 damaged" in answer.status.details
    again = Input(id="in-0", data=Data(embeddings=[Embedding(vector=vectors[0])]))
    server.call(OWN, "PatchInputs", PatchInputsRequest(inputs=[again], action="overwrite"))
    answer = _search(server, vectors[0])
    if answer.hits[0].input.id != "in-0":  # a patch gave it no vector of its own: out with it, and post it again
        assert server.stop() == 0
        dropped = postil("rebuild-index", "--data-dir", str(server.data_dir), "--drop-damaged")
        assert dropped.returncode == 0, dropped.stdout + dropped.stderr
        server._start()
    assert "damaged" not in _search(server, vectors[0]).status.details
    assert server.stop() == 0
    assert postil("verify", str(server.data_dir)).returncode == 0


def test_a_damaged_database_is_said_to_be_so(start_server: Callable[..., Server]) -> None:
    """Pages in the middle are gone while it runs: reads that meet them say so, writes are refused, nothing crashes."""
    server = start_server()
    items = [Input(id=f"in-{n}", data=Data(embeddings=[Embedding(vector=[n, 1.0])])) for n in range(400)]
    for item in items:
        item.data.metadata["note"] = "x" * 2000
    server.call(OWN, "PostInputs", PostInputsRequest(inputs=items))
    assert server.stop() == 0
    database = server.data_dir / DATABASE
    content = bytearray(database.read_bytes())
    content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)
    database.write_bytes(content)
    assert postil("verify", str(server.data_dir)).returncode == 1
    refused = postil("serve", "--data-dir", str(server.data_dir), "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0")
    assert refused.returncode == 2
    assert "postil restore" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_filters_say_that_they_cannot_be_read_instead_of_waiting(tmp_path: Path) -> None:
    _filled(tmp_path)
    with SqliteStore(tmp_path) as store:
        store.write(lambda tx: tx._connection.execute("ALTER TABLE annotations RENAME TO away"))  # type: ignore[attr-defined]
        catalogs = Catalogs(store)
        catalogs.start()
        with pytest.raises(Corrupt, match="postil verify"):
            catalogs.hold(1)
        catalogs.close()
