"""`postil verify` compares what is read beside messages with the messages: what a server wrote agrees, however it came
about; a changed column or label is named."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from postil.access import DEFAULT_USER
from postil.store.layout import DATABASE
from postil.upkeep import verify_directory
from postil.v1.annotation_pb2 import Annotation
from postil.v1.annotation_service_pb2 import PatchAnnotationsRequest, PostAnnotationsRequest
from postil.v1.concept_pb2 import Concept
from postil.v1.concept_service_pb2 import PatchConceptsRequest
from postil.v1.data_pb2 import Data
from postil.v1.input_pb2 import Input
from postil.v1.input_service_pb2 import PatchInputsRequest, PostInputsRequest
from support.server import OWN, Server


def _good(server: Server, rpc: str, request: Any) -> Any:
    answer = server.call(OWN, rpc, request)
    assert answer.status.code == 10000, answer
    return answer


def _labelled(name: str, value: float = 1.0) -> Data:
    return Data(concepts=[Concept(id=name, value=value)])


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Inputs and annotations of every author, posted, patched, and with a renamed concept."""
    server = Server(tmp_path_factory.mktemp("agreement"))
    try:
        _furnish(server)
    finally:
        server.stop()
    return server.data_dir


def _furnish(server: Server) -> None:
    inputs = PostInputsRequest()
    for number in range(3):
        item = inputs.inputs.add(id=f"input-{number}")
        item.data.embeddings.add(vector=[1.0, number])
        item.data.concepts.add(id="dog", value=number % 2)
    _good(server, "PostInputs", inputs)
    by_user = Annotation(id="of-user", input_id="input-0", data=_labelled("cat"), trusted=True)
    by_user.data.concepts.add(id="dog", value=0)
    by_model = Annotation(id="of-model", input_id="input-0", data=_labelled("cat"), model_version_id="v", user_id="eve")
    by_workflow = Annotation(id="of-workflow", input_id="input-1", data=_labelled("cat"), user_id="eve")
    by_workflow.worker.workflow.version.id = "w"
    _good(server, "PostAnnotations", PostAnnotationsRequest(annotations=[by_user, by_model, by_workflow]))
    changed = Annotation(id="of-user", input_id="input-0", data=_labelled("fox"))
    _good(server, "PatchAnnotations", PatchAnnotationsRequest(annotations=[changed], action="merge"))
    patch = PatchInputsRequest(inputs=[Input(id="input-2", data=_labelled("fox"))], action="merge")
    _good(server, "PatchInputs", patch)
    renamed = PatchConceptsRequest(concepts=[Concept(id="dog", name="Canine")], action="overwrite")
    _good(server, "PatchConcepts", renamed)


def test_what_a_server_wrote_agrees(data_dir: Path) -> None:
    assert list(verify_directory(data_dir)) == []


def test_a_new_name_of_a_label_does_not_change_when_an_input_was_changed(data_dir: Path) -> None:
    with closing(sqlite3.connect(data_dir / DATABASE)) as connection:
        rows = connection.execute("SELECT modified_us, message FROM inputs").fetchall()
    assert [Input.FromString(message).data.concepts[0].name for _, message in rows] == ["Canine"] * 3
    assert [us for us, _ in rows] == [Input.FromString(message).modified_at.ToMicroseconds() for _, message in rows]


def test_an_annotation_names_one_author(data_dir: Path) -> None:
    """Somebody who may write only as themselves could otherwise show a model's annotation under another's name."""
    with closing(sqlite3.connect(data_dir / DATABASE)) as connection:
        found = dict(connection.execute("SELECT id, message FROM annotations WHERE id LIKE 'of-%'").fetchall())
    said = {name: Annotation.FromString(message) for name, message in found.items()}
    assert {name: (one.user_id, one.model_version_id) for name, one in said.items()} == {
        "of-user": (DEFAULT_USER, ""),
        "of-model": ("", "v"),
        "of-workflow": ("", ""),
    }


@pytest.mark.parametrize(
    ("statement", "finding"),
    [
        ("UPDATE labels SET value = 0.5 WHERE annotation = 5", "Annotation 5 is kept with labels {'cat': 0.5}"),
        ("UPDATE labels SET concept = 1 WHERE annotation = 5", "Annotation 5 is kept with labels {'dog': 1.0}"),
        ("DELETE FROM labels WHERE annotation = 5", "Annotation 5 is kept with labels {}"),
        ("UPDATE annotations SET id = 'of-usep' WHERE row = 4", "with id 'of-usep', its message says 'of-user'"),
        ("UPDATE annotations SET status = 24151 WHERE row = 4", "with status 24151, its message says 24150"),
        ("UPDATE annotations SET trusted = 1 - trusted WHERE row = 4", "Annotation 4 is kept with trusted "),
        ("UPDATE annotations SET user_id = 'mf' WHERE row = 4", "with author ('mf', '', '')"),
        ("UPDATE annotations SET model_version_id = 'w' WHERE row = 5", "with author ('', 'w', '')"),
        ("UPDATE annotations SET workflow_version_id = 'v' WHERE row = 6", "with author ('', '', 'v')"),
        ("UPDATE annotations SET task_id = 't' WHERE row = 4", "with task 't', its message says ''"),
        ("UPDATE annotations SET created_us = created_us - 1 WHERE row = 4", "4 is kept with time of creation"),
        ("UPDATE annotations SET modified_us = modified_us + 1 WHERE row = 4", "4 is kept with time of change"),
        ("UPDATE inputs SET id = 'input-8' WHERE row = 1", "Input 1 is kept with id 'input-8'"),
        ("UPDATE inputs SET status = 30001 WHERE row = 1", "Input 1 is kept with status 30001"),
        ("UPDATE inputs SET created_us = created_us + 1 WHERE row = 1", "Input 1 is kept with time of creation"),
        ("UPDATE inputs SET modified_us = modified_us - 1 WHERE row = 1", "Input 1 is kept with time of change"),
        ("UPDATE concepts SET name = 'Canind' WHERE id = 'dog'", "kept with name 'Canind', its message says 'Canine'"),
    ],
)
def test_what_disagrees_is_named(data_dir: Path, tmp_path: Path, statement: str, finding: str) -> None:
    damaged = tmp_path / "data"
    shutil.copytree(data_dir, damaged, ignore=shutil.ignore_patterns("models"))
    with closing(sqlite3.connect(damaged / DATABASE)) as connection:
        assert connection.execute(statement).rowcount == 1
        connection.commit()
    assert any(finding in said for said in verify_directory(damaged)), list(verify_directory(damaged))
