"""Compares a server that has started again, or its directory at rest, with the ledgers."""

from __future__ import annotations

import hashlib
import random
import urllib.request
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from crash.clients import Connection
from crash.model import Item, Ledger
from crash.shelves import key_ids
from crash.world import APP, concept_of, search_for
from postil.index.manager import IndexManager
from postil.store.sqlite import SqliteStore
from postil.upkeep import verify_directory
from postil.v1.annotation_service_pb2 import ListAnnotationsRequest
from postil.v1.common_pb2 import UserAppIDSet
from postil.v1.concept_service_pb2 import GetConceptRequest
from postil.v1.dataset_service_pb2 import GetDatasetRequest
from postil.v1.feedback_service_pb2 import ListFeedbackRequest
from postil.v1.input_service_pb2 import GetInputCountRequest, ListInputsRequest
from postil.v1.model_service_pb2 import GetModelRequest
from postil.v1.status_code_pb2 import StatusCode

INDEX = "index"
_CHUNK = 200
_SEARCHES = 12
_SAMPLE = 60


class Check:
    """One look at a server.

    Args:
        connection: To it.
        http: "http://host:port" of its other door.
        rng: Draws the samples.
    """

    def __init__(self, connection: Connection, http: str, rng: random.Random) -> None:
        self._connection = connection
        self._http = http
        self._rng = rng
        self._names: dict[str, set[str]] = {}  # concept -> how labels that were read call it

    def settle(self, ledgers: Sequence[Ledger]) -> Iterator[str]:
        """Finds out about the writes under way when the server died; a sentence for each that is half there."""
        for ledger in ledgers:
            op = ledger.pending
            if op is None:
                continue
            seen = self.read(op.after)
            before = {key: ledger.values.get(key) for key in op.after}
            if seen == op.after:
                moved = [key for key, vector in op.vectors.items() if not self._first(key, vector)]
                if moved:
                    yield f"{ledger.name}: {op.rpc} is there, but a search does not find {moved}"
                ledger.settle(done=True)
            elif seen == before:
                ledger.settle(done=False)
            else:
                half = {key: (before[key], op.after[key], seen[key]) for key in op.after if seen[key] != op.after[key]}
                yield f"{ledger.name}: {op.rpc} is half there (before, after, seen): {half}"

    def values(self, ledgers: Sequence[Ledger], *, everything: bool) -> Iterator[str]:
        """Sentences about values that are not as acknowledged."""
        for ledger in ledgers:
            known = [*ledger.values, *ledger.gone]
            keys = known if everything else {*ledger.recent, *self._some(known)}
            seen = self.read(keys)
            for key in keys:
                if seen[key] != ledger.values.get(key):
                    yield f"{key} is {seen[key]}, acknowledged was {ledger.values.get(key)}"
            yield from self._found(ledger, everything=everything)
            ledger.recent.clear()
        yield from self._called()
        expected = sum(key.startswith("input:") for ledger in ledgers for key in ledger.values)
        counts = self._connection.call("GetInputCount", GetInputCountRequest(user_app_id=APP)).counts
        if counts.processed != expected or counts.to_process or counts.errors:
            yield f"{expected} inputs were acknowledged, the server counts {counts}"

    def _called(self) -> Iterator[str]:
        """A rename was carried into every label, or into none."""
        for concept_id, names in self._names.items():
            request = GetConceptRequest(user_app_id=APP, concept_id=concept_id)
            name = self._connection.call("GetConcept", request).concept.name
            if names != {name}:
                yield f"labels call {concept_id} {sorted(names)}, its name is {name!r}"
        self._names.clear()

    def _found(self, ledger: Ledger, *, everything: bool) -> Iterator[str]:
        recent = [key for key in ledger.recent if key in ledger.vectors]
        wanted = [*self._some(recent, _SEARCHES), *self._some(list(ledger.vectors), 100 if everything else _SEARCHES)]
        for key in wanted:
            if not self._first(key, ledger.vectors[key]):
                yield f"a search for the vector of {key} does not find it first"
            concept = concept_of(ledger.values[key].mark)
            if not self._first(key, ledger.vectors[key], concept):
                yield f"a search for the vector of {key} among those labelled {concept} does not find it first"

    def _first(self, key: str, vector: Any, concept: str = "") -> bool:
        answer = self._connection.call("PostInputsSearches", search_for(vector, concept))
        return [hit.input.id for hit in answer.hits] == [key.removeprefix("input:")]

    def _some(self, keys: Sequence[str], count: int = _SAMPLE) -> list[str]:
        return self._rng.sample(keys, min(count, len(keys)))

    # reading back

    def read(self, keys: Iterable[str]) -> dict[str, Any]:
        """The values that the server gives; None for what is not there."""
        found: dict[str, Any] = dict.fromkeys(keys)
        inputs = [key for key in found if key.startswith("input:")]
        for start in range(0, len(inputs), _CHUNK):
            found |= self._items(inputs[start : start + _CHUNK])
        if any(key.startswith("key:") for key in found):
            marks = {f"key:{name}": mark for name, (_, mark) in key_ids(self._connection).items()}
            found |= {key: marks.get(key) for key in found if key.startswith("key:")}
        readers = {
            "concept": self._concept,
            "click": self._click,
            "dataset": self._dataset,
            "model": self._model,
            "app": self._app,
        }
        for key in found:
            kind, _, name = key.partition(":")
            if kind in readers:
                found[key] = readers[kind](name)
        return found

    def _items(self, keys: list[str]) -> dict[str, Any]:
        ids = [key.removeprefix("input:") for key in keys]
        call = self._connection.call
        listed = call("ListInputs", ListInputsRequest(user_app_id=APP, ids=ids, per_page=1000)).inputs
        for one in listed:
            self._note_names(one.data)
        notes: dict[str, list[tuple[str, Any]]] = {}
        page = 1
        while True:
            request = ListAnnotationsRequest(user_app_id=APP, input_ids=ids, page=page, per_page=1000)
            part = call("ListAnnotations", request).annotations
            for note in part:
                self._note_names(note.data)
                if note.id.startswith("note-"):
                    notes.setdefault(note.input_id, []).append((note.id, mark_of(note.data)))
            if len(part) < 1000:
                break
            page += 1
        return {
            f"input:{one.id}": Item(mark_of(one.data), self._blob(one), tuple(sorted(notes.get(one.id, ()))))
            for one in listed
        }

    def _note_names(self, data: Any) -> None:
        for concept in data.concepts:
            self._names.setdefault(concept.id, set()).add(concept.name)

    def _blob(self, item: Any) -> str:
        """The digest of what is served for it; every one is fetched."""
        url = item.data.video.url
        if not url:
            return ""
        path = url.partition("://")[2].partition("/")[2]
        with urllib.request.urlopen(f"{self._http}/{path}", timeout=60) as answer:
            return hashlib.sha256(answer.read()).hexdigest()

    def _concept(self, concept_id: str) -> Any:
        answer = self._connection.call("GetConcept", GetConceptRequest(user_app_id=APP, concept_id=concept_id))
        before, _, mark = answer.concept.name.partition("name ")
        return _number(answer, mark) if mark and not before else None  # labels make concepts too, and call them by id

    def _dataset(self, name: str) -> Any:
        answer = self._connection.call("GetDataset", GetDatasetRequest(user_app_id=APP, dataset_id=name))
        return _number(answer, answer.dataset.description)

    def _model(self, name: str) -> Any:
        answer = self._connection.call("GetModel", GetModelRequest(user_app_id=APP, model_id=name))
        return _number(answer, answer.model.name)

    def _app(self, name: str) -> Any:
        """How many inputs it has; None when it is gone, as one is that nobody has written to."""
        place = UserAppIDSet(user_id="me", app_id=name)
        counts = self._connection.call("GetInputCount", GetInputCountRequest(user_app_id=place)).counts
        return counts.processed or None

    def _click(self, search_id: str) -> Any:
        answer = self._connection.call("ListFeedback", ListFeedbackRequest(user_app_id=APP, search_id=search_id))
        said = [event.input.id for event in answer.feedback]
        return said[0] if len(said) == 1 else said or None


def _number(answer: Any, text: str) -> Any:
    """The mark in an answer, None when it says that the thing is not there."""
    if answer.status.code != StatusCode.SUCCESS:
        return None
    return int(text) if text.isdecimal() else text


def mark_of(data: Any) -> Any:
    """The mark that all three places hold, or what they hold when they differ."""
    metadata = {key: data.metadata[key] for key in ("mark", "again") if key in data.metadata}
    concepts = [concept.id for concept in data.concepts]
    mark = str(metadata.get("mark", ""))
    if mark.isdecimal() and metadata == {"mark": mark, "again": mark} and concepts == [concept_of(int(mark))]:
        return int(mark)
    return (metadata, concepts)


def at_rest(data_dir: Path) -> Iterator[str]:
    """What is wrong in the directory of a dead server: `postil verify`, and the index against the rows, all of it."""
    yield from verify_directory(data_dir)
    with closing(SqliteStore(data_dir)) as store, closing(IndexManager(data_dir / INDEX, store)) as index:
        index.start()
        for record in store.read().all_spaces():
            rows = store.read().scan_vectors(record.row, 0, 1 << 20)
            space = index.space(record.row)
            held = np.array(sorted(space.live_rows()), np.int64) if space else np.empty(0, np.int64)
            if held.tolist() != rows.rows.tolist():
                yield f"the index of space {record.id} holds other rows than the database"
            elif space is not None and len(held):
                places, matrix = space.vectors(held)
                if not np.array_equal(matrix[np.argsort(places)], rows.matrix):
                    yield f"the index of space {record.id} holds other vectors than the database"
