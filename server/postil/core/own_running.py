"""Models of an app's own at work: heads on vectors, votes of labelled neighbours, thresholds on another's concepts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from postil.core import ids, model_types, neighbours, own_cards, own_versions, predictions, training_data
from postil.core.call import Call
from postil.core.head_shelf import HeadShelf, heads_of
from postil.core.heads import scores
from postil.core.output_config import Wanted
from postil.core.runnables import CONCEPTS, VECTOR, Runnable
from postil.core.training_data import Lesson
from postil.embed.base import Embedders, EmbedQueue, Matrix, Outputs
from postil.errors import Failure
from postil.store.base import ModelRecord, Queries, SpaceRecord, Store, VersionRecord
from postil.v1.concept_pb2 import Concept
from postil.v1.model_pb2 import Model, ModelVersion
from postil.v1.status_code_pb2 import StatusCode

_CLIENT = "client"
_KEPT = 8  # lessons of neighbours


@dataclass(frozen=True, slots=True)
class OwnModel:
    """A model that scores concepts by a vector.

    Args:
        card: What clients see of it.
        names: The concepts, in the order of its scores.
        score: float32 [n, dim] to float32 [n, concepts].
        space: Whose vectors it takes.
        queue: Makes them; None for vectors that clients send.
        vector: Those of an input that is stored, by its anchor.
    """

    card: Model
    names: Sequence[Concept]
    score: Callable[[Matrix], Matrix]
    space: SpaceRecord
    queue: EmbedQueue | None
    vector: Callable[[int], Matrix]
    concepts: bool = field(default=True, init=False)

    @property
    def takes(self) -> str:
        """See `Runnable.takes`."""
        return VECTOR if self.queue is None else self.space.kind

    @property
    def weights(self) -> str:
        """See `Runnable.weights`."""
        return self.space.id

    def run(self, content: Any) -> Future[Outputs]:
        """See `Runnable.run`; a vector may be given as the anchor of an input that has one."""
        if self.queue is not None:
            return self.queue.infer([content])
        done: Future[Outputs] = Future()
        vectors = self.vector(content) if isinstance(content, int) else content[np.newaxis]
        if vectors.shape == (1, self.space.dim):
            done.set_result(Outputs(vectors, None))
        else:
            details = f"it gives no vector of {self.space.dim} numbers in the space {self.space.id!r}"
            done.set_exception(Failure(StatusCode.INPUT_INVALID_ARGUMENT, details))
        return done

    def number_of(self, concept: Concept) -> int | None:
        """See `Runnable.number_of`."""
        key, value = ("id", concept.id) if concept.id else ("name", concept.name)
        return next((place for place, one in enumerate(self.names) if getattr(one, key) == value), None)

    def data(self, wanted: Wanted, outputs: Outputs) -> bytes:
        """See `Runnable.data`."""
        values = wanted.values(self.score(outputs.embeddings)[0], len(self.names))
        return predictions.concept_bytes(values, lambda place: self.names[place].SerializeToString())

    def scored(self, outputs: Outputs) -> list[tuple[Concept, float]]:
        """See `Runnable.scored`."""
        return list(zip(self.names, self.score(outputs.embeddings)[0].tolist(), strict=True))


@dataclass(frozen=True, slots=True)
class Thresholder:
    """A model that keeps the concepts on one side of a value each, of those that it is given.

    Args:
        card: What clients see of it.
        limits: The concepts, each with its value.
        comparison: One of `model_types.COMPARISONS`.
        source: The model that gives them; None when the input holds them.
    """

    card: Model
    limits: Sequence[Concept]
    comparison: str
    source: Runnable | None = None
    concepts: bool = field(default=True, init=False)

    @property
    def takes(self) -> str:
        """See `Runnable.takes`."""
        return self.source.takes if self.source is not None else CONCEPTS

    @property
    def weights(self) -> str:
        """See `Runnable.weights`."""
        return self.source.weights if self.source is not None else self.card.model_version.id

    def over(self, source: Runnable) -> Runnable:
        """See `runnables.Behind`."""
        return Thresholder(self.card, self.limits, self.comparison, source)

    def run(self, content: Any) -> Future[Outputs]:
        """See `Runnable.run`."""
        if self.source is not None:
            return self.source.run(content)
        given = {concept.id: concept.value for concept in content}
        values = np.array([[given.get(limit.id, np.nan) for limit in self.limits]], np.float32)
        done: Future[Outputs] = Future()
        done.set_result(Outputs(values, None))
        return done

    def number_of(self, concept: Concept) -> int | None:
        """See `Runnable.number_of`."""
        return next((place for place, one in enumerate(self.limits) if one.id == (concept.id or concept.name)), None)

    def data(self, wanted: Wanted, outputs: Outputs) -> bytes:
        """See `Runnable.data`."""
        passed = [
            (place, value)
            for place, value in enumerate(self._values(outputs))
            if _passes(value, self.limits[place].value, self.comparison)
            and value >= wanted.least
            and (wanted.numbers is None or place in wanted.numbers)
        ]
        passed.sort(key=lambda pair: (-pair[1], pair[0]))
        return predictions.concept_bytes(passed[: wanted.count], self._named)

    def scored(self, outputs: Outputs) -> list[tuple[Concept, float]]:
        """See `Runnable.scored`."""
        return list(zip(self.limits, self._values(outputs), strict=True))

    def _values(self, outputs: Outputs) -> list[float]:
        """The value of each concept; NaN where it was not given."""
        if self.source is None:
            values: list[float] = outputs.embeddings[0].tolist()
            return values
        given = {concept.id: value for concept, value in self.source.scored(outputs)}
        return [given.get(limit.id, np.nan) for limit in self.limits]

    def _named(self, place: int) -> bytes:
        limit = self.limits[place]
        return Concept(id=limit.id, name=limit.name, app_id=limit.app_id, user_id=limit.user_id).SerializeToString()


def _passes(value: float, limit: float, comparison: str) -> bool:
    match model_types.COMPARISONS.index(comparison):
        case 0:
            return value > limit
        case 1:
            return value >= limit
        case 2:
            return value < limit
        case _:
            return value <= limit


class _Voters(NamedTuple):
    committed: int
    lesson: Lesson
    concepts: tuple[str, ...]


class OwnRunning:
    """Finds the app's own models and makes them ready. Thread-safe.

    Args:
        store: Where they are.
        embedders: Make the vectors that they take.
        shelf: Where heads are read.
    """

    def __init__(self, store: Store, embedders: Embedders, shelf: HeadShelf) -> None:
        self._store = store
        self._embedders = embedders
        self._shelf = shelf
        self._voters: dict[int, _Voters] = {}  # by version row, oldest entry first

    def find(self, call: Call, model_id: str, version_id: str) -> Runnable | None:
        """See `runnables.Found`."""
        if call.app_record is None:
            return None
        queries = self._store.read()
        record = own_cards.find(queries, call.app.row, model_id or version_id)
        if record is None:
            return None
        versions = queries.versions(record.row)
        wanted = version_id or ("" if record.id == model_id else model_id)
        chosen = next((one for one in versions if one.id == wanted), None) if wanted else own_cards.trained(versions)
        if wanted and chosen is None:
            raise Failure(
                StatusCode.MODEL_DOES_NOT_EXIST,
                f"Model {record.id!r} has no version {ids.shown(wanted)}; ListModelVersions tells them.",
            )
        if chosen is None or chosen.status != StatusCode.MODEL_TRAINED:
            raise _untrained(record, chosen or (versions[0] if versions else None))
        card = own_cards.card(record, versions, chosen)
        named = own_cards.concepts(queries, call.app, record, chosen)
        return self._ready(call, queries, card, chosen, named)

    def _ready(
        self, call: Call, queries: Queries, card: Model, version: VersionRecord, named: list[Concept]
    ) -> Runnable:
        if card.model_type_id in model_types.THRESHOLDERS:
            return Thresholder(card, named, _comparison(ModelVersion.FromString(version.message)))
        for concept in named:
            concept.ClearField("value")
        if card.model_type_id == model_types.NEIGHBOURS:
            return self._neighbours(call, queries, card, version)
        stored = self._shelf.get(version.row)
        if stored is None:
            raise Failure(StatusCode.MODEL_UNTRAINED, f"Version {version.id!r} has lost its heads; train it again.")
        space = next(space for space in queries.spaces(call.app.row) if space.row == stored.space)
        heads = heads_of(stored)
        return self._on(card, named, lambda vectors: scores(heads, vectors), space)

    def _neighbours(self, call: Call, queries: Queries, card: Model, version: VersionRecord) -> Runnable:
        message = ModelVersion.FromString(version.message)
        voters = self._lesson(call, queries, card, version, message)
        lesson, exclusive = voters.lesson, message.output_info.output_config.concepts_mutually_exclusive
        labels = lesson.table.labels
        prior = neighbours.shares(labels)
        known = queries.concepts(call.app.row, voters.concepts)
        named = [
            Concept(id=one, name=known[one].name, app_id=call.app.id, user_id=call.app.user_id)
            for one in voters.concepts
        ]

        def vote(vectors: Matrix) -> Matrix:
            near = neighbours.nearest(lesson.vectors, vectors, neighbours.NEIGHBOURS)
            return neighbours.neighbour_scores(near.squares, labels[near.rows], prior, exclusive=exclusive)

        return self._on(card, named, vote, lesson.space)

    def _lesson(
        self, call: Call, queries: Queries, card: Model, version: VersionRecord, message: ModelVersion
    ) -> _Voters:
        """Who votes: what is labelled now. Kept while nothing changes."""
        committed = self._store.committed  # read first: what is newer is only read again
        known = self._voters.get(version.row)
        if known is not None and known.committed == committed:
            return known
        task = own_versions.task_of(card, message, self._embedders)
        labels = training_data.labels_to_train_on(queries, call.app, message.train_info.params)
        if not task.concepts:
            every = queries.concepts_by_row(np.unique(labels.concepts).tolist())
            task = task._replace(concepts=tuple(every[row].id for row in sorted(every)))
        table = training_data.table(queries, call.app, task, labels)
        training_data.check(table, task)
        lesson = training_data.lesson(queries, call.app, task, table, fill=False)
        made = self._voters[version.row] = _Voters(committed, lesson, task.concepts)
        for old in list(self._voters)[:-_KEPT]:
            self._voters.pop(old, None)
        return made

    def _on(
        self, card: Model, named: Sequence[Concept], score: Callable[[Matrix], Matrix], space: SpaceRecord
    ) -> OwnModel:
        queue = None if space.kind == _CLIENT else self._embedders.by_version(space.id)
        if queue is None and space.kind != _CLIENT:
            raise Failure(
                StatusCode.MODEL_DOES_NOT_EXIST,
                f"Model {card.id!r} works on vectors of the embedder {space.id!r}, which this server does not have any "
                "more; configure it again, or train the model on another.",
            )
        return OwnModel(
            card, named, score, space, queue, lambda row: self._store.read().vectors(space.row, [row]).matrix
        )


def _comparison(version: ModelVersion) -> str:
    """How a thresholder compares; clients send the name, or its number from 1."""
    params = version.output_info.params
    if model_types.COMPARISON not in params.fields:
        return model_types.COMPARISONS[0]
    given = params.fields[model_types.COMPARISON]
    if given.string_value.upper() in model_types.COMPARISONS:
        return given.string_value.upper()
    number = int(given.number_value)
    return model_types.COMPARISONS[number - 1 if 1 <= number <= len(model_types.COMPARISONS) else 0]


def _untrained(record: ModelRecord, version: VersionRecord | None) -> Failure:
    code = version.status if version else int(StatusCode.MODEL_UNTRAINED)
    if code in {StatusCode.MODEL_QUEUED_FOR_TRAINING, StatusCode.MODEL_TRAINING}:
        what = "is being trained; poll GetModelVersion until it says MODEL_TRAINED"
    elif code == StatusCode.MODEL_UNTRAINED:
        what = "is not trained; label inputs with its concepts, then PostModelVersions trains it"
    else:
        what = f"could not be trained ({code}); GetModelVersion says why"
    return Failure(StatusCode.MODEL_UNTRAINED, f"Model {record.id!r} {what}.")
