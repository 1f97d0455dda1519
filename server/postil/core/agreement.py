"""Whether what is read beside a message says the same as the message: a part of `postil verify`.

Messages have checksums; the columns and labels that searches, filters and rules read were made from them when they
were written. A flipped bit in those, or a write that forgot one of them, is found by making them again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp

from postil.core.labels import concepts_in, label_values
from postil.store.base import AnnotationFact, AnnotationRecord, ConceptRecord, Facts, InputRecord, Queries
from postil.v1.annotation_pb2 import Annotation
from postil.v1.concept_pb2 import Concept
from postil.v1.input_pb2 import Input

_PAGE = 500  # annotations at a time

# Column or part -> what the row says, what the message says.
_Pairs = Mapping[str, tuple[object, object]]


def disagreements(queries: Queries) -> Iterator[str]:
    """A sentence for each input, annotation and concept whose columns or labels are not those of its message.

    What cannot be parsed is passed over: its checksum fails.
    """
    after, names = 0, _Names(queries)
    while page := queries.scan_facts(after, _PAGE):
        for facts in page.values():
            yield from _of_facts(queries, facts, names)
            after = max(after, facts.annotations[-1].record.row)
    yield from _of_concepts(names.seen)


class _Names:
    """Ids of concepts by their rows, read when they are first asked for."""

    def __init__(self, queries: Queries) -> None:
        self._queries = queries
        self.seen: dict[int, ConceptRecord] = {}

    def learn(self, rows: Sequence[int]) -> None:
        if missing := [row for row in rows if row not in self.seen]:
            self.seen |= self._queries.concepts_by_row(missing)

    def of(self, row: int) -> str:
        return self.seen[row].id if row in self.seen else f"row {row}"


def _of_facts(queries: Queries, facts: Facts, names: _Names) -> Iterator[str]:
    names.learn([concept for fact in facts.annotations for concept, _value in fact.labels])
    inputs = queries.inputs_by_row(sorted({fact.record.input for fact in facts.annotations}))
    for fact in facts.annotations:
        yield from _of_annotation(fact, inputs.get(fact.record.input), names)
    for changed in facts.inputs:
        yield from _of_input(inputs[changed.row])


def _of_annotation(fact: AnnotationFact, source: InputRecord | None, names: _Names) -> Iterator[str]:
    row = fact.record
    try:
        said = Annotation.FromString(row.message)
    except DecodeError:
        return
    pairs: dict[str, tuple[object, object]] = {
        "id": (row.id, said.id),
        "input": (source.id if source else "", said.input_id),
        "status": (row.status, said.status.code),
        "trusted": (row.trusted, said.trusted),
        "input-level": (row.input_level, said.input_level),
        "author": (_author(row), _author_in(said)),
        "task": (row.task_id, said.task_id),
        "time of creation": (row.created_us, _micros(said.created_at)),
        "time of change": (row.modified_us, _micros(said.modified_at)),
        "labels": ({names.of(concept): value for concept, value in fact.labels}, label_values(concepts_in(said.data))),
    }
    yield from _told(f"Annotation {row.row}", pairs)


def _of_input(row: InputRecord) -> Iterator[str]:
    try:
        said = Input.FromString(row.message)
    except DecodeError:
        return
    changed = _micros(said.modified_at)
    pairs: dict[str, tuple[object, object]] = {
        "id": (row.id, said.id),
        "status": (row.status, said.status.code),
        "time of creation": (row.created_us, _micros(said.created_at)),
    }
    if row.modified_us < changed:  # later ones are of renames and of --public-url, which moved the column alone once
        pairs["time of change"] = (row.modified_us, changed)
    yield from _told(f"Input {row.row}", pairs)


def _of_concepts(records: Mapping[int, ConceptRecord]) -> Iterator[str]:
    for row, record in records.items():
        try:
            said = Concept.FromString(record.message)
        except DecodeError:
            continue
        yield from _told(f"Concept {row}", {"id": (record.id, said.id), "name": (record.name, said.name)})


def _told(what: str, pairs: _Pairs) -> Iterator[str]:
    for part, (beside, within) in pairs.items():
        if beside != within:
            yield f"{what} is kept with {part} {beside!r}, its message says {within!r}."


def _author(row: AnnotationRecord) -> tuple[str, str, str]:
    return row.user_id, row.model_version_id, row.workflow_version_id


def _author_in(said: Annotation) -> tuple[str, str, str]:
    """User, model version, workflow version: one of them, as `annotation_drafts.author` fills them in."""
    kind = said.worker.WhichOneof("worker")
    if kind == "workflow":
        return "", "", said.worker.workflow.version.id
    return ("", said.model_version_id, "") if kind == "model" else (said.user_id, "", "")


def _micros(time: Timestamp) -> int:
    return time.seconds * 1_000_000 + time.nanos // 1000
