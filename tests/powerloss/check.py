"""Whether an image of a disk holds what was acknowledged before the power went."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from crash.check import at_rest, mark_of
from crash.model import Item
from crash.world import APP
from postil.access import DEFAULT_USER
from postil.store.feedback import FeedbackListing
from postil.store.sqlite import SqliteStore
from postil.v1.annotation_pb2 import Annotation
from postil.v1.concept_pb2 import Concept
from postil.v1.input_pb2 import Input
from powerloss.disk import Tree
from powerloss.story import Story, apply

_MOST = 1 << 20


def put(tree: Tree, root: Path) -> None:
    """Writes an image to a folder, which is emptied first."""
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    for path, content in tree.items():
        place = root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            place.mkdir(exist_ok=True)
        else:
            place.write_bytes(content)


def findings(story: Story, upto: int, root: Path) -> Iterator[str]:
    """Sentences about what is not as it must be, in an image of the first `upto` events that was put at `root`."""
    values, vectors, open_ = story.expected(upto)
    data = root / "data"
    if not values and not (data / "postil.sqlite3").is_file():
        return  # the power went before anything was acknowledged
    if not data.is_dir():
        yield "the data directory is not there"
        return
    with closing(SqliteStore(data)) as store:
        seen, held = read(store)
    for op in open_:
        wanted = {key: seen.get(key) for key in op.after}
        if wanted == op.after:
            apply(op, values, vectors)
        elif wanted != {key: values.get(key) for key in op.after}:
            yield f"{op.rpc} is half there: {wanted}"
    yield from _compared(values, seen)
    for key, vector in vectors.items():
        if key not in held or not np.array_equal(held[key], vector):
            yield f"the vector of {key} is not the acknowledged one"
    yield from _blobs(values, data)
    yield from at_rest(data)


def _compared(values: Mapping[str, Any], seen: Mapping[str, Any]) -> Iterator[str]:
    for key in values.keys() | seen.keys():
        if seen.get(key) != values.get(key):
            yield f"{key} is {seen.get(key)}, acknowledged was {values.get(key)}"


def _blobs(values: Mapping[str, Any], data: Path) -> Iterator[str]:
    for key, value in values.items():
        if isinstance(value, Item) and value.blob:
            path = data / "blobs" / value.blob[:2] / value.blob[2:]
            if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != value.blob:
                yield f"the video of {key} is gone or damaged"


def read(store: SqliteStore) -> tuple[dict[str, Any], dict[str, Any]]:
    """Values and vectors as the store has them, by the keys of `crash.model`."""
    queries = store.read()
    app = queries.app(DEFAULT_USER, APP.app_id)
    if app is None:
        return {}, {}
    records = queries.stream_inputs(app.row, "", by_id=False, descending=False, limit=_MOST)
    notes: dict[int, list[tuple[str, Any]]] = {}
    for note in queries.annotations_of_inputs([record.row for record in records]):
        if note.id.startswith("note-"):
            notes.setdefault(note.input, []).append((note.id, mark_of(Annotation.FromString(note.message).data)))
    values: dict[str, Any] = {}
    for record in records:
        message = Input.FromString(record.message)
        url = message.data.video.url
        blob = url.rpartition("/")[2].partition(".")[0] if url else ""
        values[f"input:{record.id}"] = Item(mark_of(message.data), blob, tuple(sorted(notes.get(record.row, ()))))
    for concept in queries.list_concepts(app.row, "own-", 0, _MOST):
        name = Concept.FromString(concept.message).name.removeprefix("name ")
        values[f"concept:{concept.id}"] = int(name) if name.isdecimal() else name
    for event in queries.list_feedback(app.row, FeedbackListing(), 0, _MOST):
        values[f"click:{event.subject}"] = event.input_id
    vectors: dict[str, Any] = {}
    for space in queries.spaces(app.row):
        held = queries.scan_vectors(space.row, 0, _MOST)
        by_row = dict(zip(held.rows.tolist(), held.matrix, strict=True))
        vectors |= {f"input:{one.id}": by_row[one.anchor] for one in records if one.anchor in by_row}
    return values, vectors
