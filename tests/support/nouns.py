"""An app in a real store, and inputs with labels put there without the machinery of PostInputs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from postil.core.call import Call
from postil.store.base import AnnotationRecord, AppRecord, NewInput, Store, Transaction
from postil.store.sqlite import SqliteStore
from postil.v1.annotation_pb2 import Annotation
from postil.v1.app_pb2 import App
from postil.v1.concept_pb2 import Concept
from postil.v1.data_pb2 import Data
from postil.v1.input_pb2 import Input


@contextmanager
def opened(folder: Path) -> Iterator[Store]:
    """A store that is closed at the end."""
    store = SqliteStore(folder)
    try:
        yield cast("Store", store)  # a Protocol with an attribute is stricter than what it means
    finally:
        store.close()


def app(store: Store, app_id: str = "main", user_id: str = "postil") -> AppRecord:
    """A new app."""
    message = App(id=app_id, name=app_id, user_id=user_id, default_language="en").SerializeToString()
    return store.write(lambda tx: tx.put_app(user_id, app_id, message))


def call(record: AppRecord | None, user_id: str = "postil", *, public: bool = False) -> Call:
    """A call in an app, or about a user."""
    return Call(request_id="r", user_id=record.user_id if record else user_id, app_record=record, public=public)


def labelled(concepts: dict[str, float]) -> Data:
    """Data with concepts whose names are their ids."""
    return Data(concepts=[Concept(id=one, name=one, value=value) for one, value in concepts.items()])


def add_input(
    store: Store, record: AppRecord, input_id: str, level: dict[str, float], *others: Data, status: int = 30000
) -> None:
    """An input with its input-level labels, and one further annotation (`<input>-<n>`) for each of `others`."""

    def op(tx: Transaction) -> None:
        row, anchor = tx.reserve_inputs(1)[0], tx.reserve_annotations(1)[0]
        message = Input(id=input_id, data=labelled(level)).SerializeToString()
        tx.add_inputs(record.row, [NewInput(row, input_id, status, anchor, message, tx.now_us, "", "", ())])
        _annotate(tx, record, row, anchor, anchor, f"{input_id}-level", labelled(level))
        for number, data in enumerate(others):
            own = tx.reserve_annotations(1)[0]
            _annotate(tx, record, row, own, anchor, f"{input_id}-{number}", data)

    store.write(op)


def _annotate(
    tx: Transaction, record: AppRecord, row_of_input: int, row: int, anchor: int, annotation_id: str, data: Data
) -> None:
    used = list(data.concepts) + [concept for region in data.regions for concept in region.data.concepts]
    known = tx.ensure_concepts(record.row, {concept.id: concept.name for concept in used})
    annotation = AnnotationRecord(
        row=row,
        id=annotation_id,
        input=row_of_input,
        anchor=anchor,
        message=Annotation(id=annotation_id, data=data).SerializeToString(),
        status=24150,
        trusted=True,
        input_level=row == anchor,
        blank=not used,
        user_id=record.user_id,
        model_version_id="",
        workflow_version_id="",
        task_id="",
        created_us=tx.now_us,
        modified_us=tx.now_us,
    )
    tx.add_annotations(record.row, [annotation], [(row, known[one.id].row, one.value) for one in used])
