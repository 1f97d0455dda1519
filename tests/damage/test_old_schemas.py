"""Databases of every schema that was released are brought up to date, with all that was in them."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from postil.access import DEFAULT_APP, DEFAULT_USER
from postil.index.manager import IndexManager
from postil.store.layout import DATABASE, INDEX
from postil.store.migrations import migrate
from postil.store.sqlite import SqliteStore
from postil.store.verify import verify
from postil.v1.annotation_pb2 import Annotation
from postil.v1.annotation_service_pb2 import ListAnnotationsRequest
from postil.v1.concept_pb2 import Concept
from postil.v1.data_pb2 import Data, Embedding
from postil.v1.input_service_pb2 import ListInputsRequest
from postil.v1.search_pb2 import Filter, Query, Rank, Search
from postil.v1.search_service_pb2 import PostInputsSearchesRequest
from support import schemas
from support.schemas import FOLDER, OTHER, VECTORS
from support.server import OWN, Server

DUMPS = sorted(FOLDER.glob("*.sql"))
LAST_BEFORE_DUMPS = "m0004_vectors"  # no database was ever written with less than m0005


def _schema(database: Path) -> set[tuple[Any, ...]]:
    with closing(sqlite3.connect(database)) as connection:
        return set(connection.execute("SELECT name, sql FROM sqlite_schema"))


def test_the_dumps_are_a_run_of_released_steps() -> None:
    steps = schemas.names()
    kept = [path.stem for path in DUMPS]
    first = steps.index(LAST_BEFORE_DUMPS) + 1
    assert kept == steps[first : first + len(kept)]
    assert len(kept) >= 5


@pytest.mark.parametrize("dump", DUMPS, ids=lambda path: path.stem)
def test_an_old_database_is_brought_up_to_date(dump: Path, tmp_path: Path) -> None:
    schemas.load(dump, tmp_path / "data" / DATABASE)
    assert list(verify(tmp_path / "data")) == [], "an older database is sound before it is migrated"
    migrate(tmp_path / "fresh")
    with SqliteStore(tmp_path / "data") as store:
        assert store.schema == schemas.names()[-1]
        queries = store.read()
        app = queries.app(DEFAULT_USER, DEFAULT_APP)
        assert app is not None
        assert {record.id for record in queries.list_inputs(app.row, [], [], 0, 99)} == {*VECTORS, "text"}
        manager = IndexManager(tmp_path / "data" / INDEX, store)
        manager.start()
        space = next(space for space in queries.spaces(app.row) if space.dim == 4)
        index = manager.space(space.row)
        assert index is not None
        found = index.search(np.array(VECTORS["left"], np.float32), 3).rows.tolist()
        anchors = {record.anchor: record.id for record in queries.inputs(app.row, list(VECTORS)).values()}
        assert [anchors[row] for row in found] == ["left", "middle", "right"]
        manager.close()
    assert _schema(tmp_path / "data" / DATABASE) == _schema(tmp_path / "fresh")
    assert list(verify(tmp_path / "data")) == []


@pytest.mark.parametrize("dump", DUMPS[:1], ids=lambda path: path.stem)
def test_a_server_starts_on_an_old_database(dump: Path, tmp_path: Path, start_server: Callable[..., Server]) -> None:
    schemas.load(dump, tmp_path / "server/data" / DATABASE)
    server = start_server()
    listed = server.call(OWN, "ListInputs", ListInputsRequest()).inputs
    assert {item.id for item in listed} == {*VECTORS, "text"}
    notes = server.call(OWN, "ListAnnotations", ListAnnotationsRequest(input_ids=["left"])).annotations
    assert "note" in {note.id for note in notes}
    by_label = Filter(annotation=Annotation(data=Data(concepts=[Concept(id="shape", value=1)])))
    rank = Rank(annotation=Annotation(data=Data(embeddings=[Embedding(vector=VECTORS["right"])])))
    query = Query(ranks=[rank], filters=[by_label])
    hits = server.call(OWN, "PostInputsSearches", PostInputsSearchesRequest(searches=[Search(query=query)])).hits
    assert hits[0].input.id == "right"
    assert {hit.input.id for hit in hits} == set(VECTORS)
    elsewhere = PostInputsSearchesRequest(user_app_id=OTHER, searches=[Search(query=Query(ranks=[rank]))])
    assert [hit.input.id for hit in server.call(OWN, "PostInputsSearches", elsewhere).hits] == ["far"]
