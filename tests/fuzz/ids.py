"""Which thing an id in a message names, and the things that are known to be there, so that random calls name them."""

from __future__ import annotations

import random
from collections import deque
from typing import Any, NamedTuple

from google.protobuf.descriptor import FieldDescriptor

from postil.core.call import PUBLIC_USER

NAMES = tuple(f"n{number}" for number in range(40))  # what things are called that calls bring into being
_PUBLIC = "general-image-recognition"  # a model that everybody has
_KEPT = 48  # newest ids of each kind

# Message types with an `id`, and the kind of thing that it names.
_TYPES = {
    "Input": "input", "Annotation": "annotation", "Concept": "concept", "ConceptRelation": "relation",
    "KnowledgeGraph": "graph", "Model": "model", "ModelVersion": "model_version", "Workflow": "workflow",
    "WorkflowVersion": "workflow_version", "Dataset": "dataset", "DatasetVersion": "dataset_version",
    "Search": "search", "AnnotationFilter": "filter", "EvalMetrics": "evaluation", "Key": "key", "App": "app",
    "InputsAddJob": "job", "Feedback": "feedback", "Output": "output", "MultiSearchResponse": "ran",
}  # fmt: skip

# Requests with a bare `id` or `ids`.
_REQUESTS = {
    "ListInputs": "input", "DeleteInputs": "input", "GetInputsAddJob": "job", "CancelInputsAddJob": "job",
    "ListAnnotations": "annotation", "DeleteAnnotations": "annotation", "PostSearchesByID": "ran",
    "GetSearch": "search", "DeleteSearch": "search", "DeleteConceptRelations": "relation", "DeleteModels": "model",
    "DeleteWorkflows": "workflow", "DeleteFeedback": "feedback", "ListConcepts": "concept", "ListDatasets": "dataset",
    "ListWorkflows": "workflow", "ListApps": "app",
}  # fmt: skip
_STEMS = {
    "version": "model_version", "annotation_filter": "filter", "knowledge_graph": "graph", "inputs_add_job": "job",
    "exclude_input": "input", "search": "ran", "last": "input", "embed_model_version": "model_version",
}  # fmt: skip
_KINDS = {*_TYPES.values()}

# Kinds of things inside others: these are drawn first, in this order, with what they lie in.
_INNER = ("evaluation", "model_version", "annotation", "dataset_version", "workflow_version", "relation", "input")
_MANY = ("input", "annotation", "concept")  # each element of a list names another one


class Known(NamedTuple):
    """An id, and the ids of what it lies in, by kind."""

    id: str
    within: dict[str, str]


class Ids:
    """Ids that answers told of. Threads may share it."""

    def __init__(self) -> None:
        self.spared: set[str] = set()  # ids that no call shall name
        self._known: dict[str, deque[Known]] = {kind: deque(maxlen=_KEPT) for kind in _KINDS}  # replaced, not emptied

    def learn(self, request: Any, answer: Any) -> None:
        """Remembers what an answer names."""
        within = {}
        for field, value in request.ListFields():
            kind = kind_of(request.DESCRIPTOR.name, field)
            if kind and isinstance(value, str):
                within[kind] = value
        self._walk(answer, within, 6)

    def forget(self, request: Any) -> None:
        """Forgets what a request took away."""
        for field, value in request.ListFields():
            if kind := kind_of(request.DESCRIPTOR.name, field):
                gone = {value} if isinstance(value, str) else set(value)
                left = [one for one in list(self._known[kind]) if one.id not in gone]
                self._known[kind] = deque(left, maxlen=_KEPT)

    def clear(self) -> None:
        """Forgets everything, for another app."""
        self._known.update({kind: deque(maxlen=_KEPT) for kind in _KINDS})

    def _walk(self, message: Any, within: dict[str, str], depth: int) -> None:
        kind = _TYPES.get(message.DESCRIPTOR.name)
        if getattr(message, "user_id", "") == PUBLIC_USER:
            return
        if kind and message.id and message.id not in self.spared:
            if kind == "annotation":
                within = {**within, "input": message.input_id}
            self._known[kind].append(Known(message.id, {**within, kind: message.id}))
            within = {**within, kind: message.id} if kind not in _MANY else within
        if depth:
            for field, value in message.ListFields():
                for inner in parts(field, value)[:2]:
                    self._walk(inner, within, depth - 1)

    def name(self, message: Any, draw: random.Random, *, post: bool) -> None:
        """Puts ids of things that are there wherever the message names any.

        Args:
            message: A request.
            draw: Draws them.
            post: The request brings things into being, which need names that are free.
        """
        self._name(message, draw, {}, 2 if post else 0)

    def _name(self, message: Any, draw: random.Random, chosen: dict[str, str], new: int) -> None:
        found = message.ListFields()
        ids = [(field, kind) for field, _ in found if (kind := kind_of(message.DESCRIPTOR.name, field))]
        for field, kind in sorted(ids, key=lambda one: _INNER.index(one[1]) if one[1] in _INNER else len(_INNER)):
            if field.is_repeated:
                count = len(getattr(message, field.name))
                getattr(message, field.name)[:] = [self._draw(kind, draw, {**chosen, kind: ""}) for _ in range(count)]
            elif new == 1 and field.name == "id" and draw.random() < 0.8:
                chosen[kind] = _new(kind, draw)
                setattr(message, field.name, chosen[kind])
            elif getattr(message, field.name) != _PUBLIC or draw.random() < 0.3:
                chosen[kind] = self._draw(kind, draw, chosen)
                setattr(message, field.name, chosen[kind])
        for field, value in found:
            for inner in parts(field, value):
                other = {kind: one for kind, one in chosen.items() if not field.is_repeated or kind not in _MANY}
                self._name(inner, draw, other, max(0, new - 1))

    def _draw(self, kind: str, draw: random.Random, chosen: dict[str, str]) -> str:
        if chosen.get(kind):
            return chosen[kind]
        known = list(self._known["model_version" if kind == "model" and draw.random() < 0.5 else kind])
        fitting = [one for one in known if all(chosen.get(outer, name) == name for outer, name in one.within.items())]
        if not fitting or draw.random() < 0.1:
            return draw.choice(NAMES)
        one = draw.choice(fitting)
        chosen.update(one.within)
        return chosen.get(kind) or one.id


def _new(kind: str, draw: random.Random) -> str:
    """A name for something new, which may be taken."""
    if kind == "app":
        return draw.choice(NAMES[:6])
    return draw.choice(NAMES) if draw.random() < 0.5 else f"m{draw.randrange(100_000)}"


def parts(field: FieldDescriptor, value: Any) -> list[Any]:
    """The messages of ours in a field that is set."""
    inner = field.message_type
    if inner is None or inner.file.package != "postil.v1" or inner.GetOptions().map_entry:
        return []
    return list(value) if field.is_repeated else [value]


def kind_of(message: str, field: FieldDescriptor) -> str | None:
    """What kind of thing a field of a message type names; None for fields that are no ids."""
    if field.type != FieldDescriptor.TYPE_STRING:
        return None
    if field.name in {"id", "ids"}:
        return _TYPES.get(message) or _REQUESTS.get(message.removesuffix("Request"))
    if not field.name.endswith(("_id", "_ids")):
        return None
    stem = field.name.removesuffix("s").removesuffix("_id")
    if stem == "version" and "Workflow" in message:
        return "workflow_version"
    kind = _STEMS.get(stem, stem)
    return kind if kind in _KINDS and kind not in {"app", "user"} else None
