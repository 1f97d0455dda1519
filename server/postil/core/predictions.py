"""What the general model says of a picture: as concepts with probabilities, as a stored annotation, and as a rank.

Predictions are no labels. They are stored apart (docs/adr/0007-predictions-apart-from-labels.md), shown by listings
that ask for untrusted annotations, and used by ranks for concepts that the general model knows.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from postil.core import ids, records, wire
from postil.core.call import PUBLIC_APP, PUBLIC_USER
from postil.embed import general
from postil.embed.base import Matrix
from postil.embed.general import VOCABULARY, GeneralConcept
from postil.embed.picture import CLASSES
from postil.store.base import NewPrediction, Predicted, Queries
from postil.v1.annotation_pb2 import Annotation
from postil.v1.concept_pb2 import Concept
from postil.v1.data_pb2 import Data
from postil.v1.status_code_pb2 import StatusCode

TOP = 20  # classes kept for each picture, with everything that they are kinds of
LEAST = 0.001  # probability below which nothing is kept

Values = tuple[tuple[int, float], ...]  # (concept number, probability), likeliest first

_ID = wire.key(Annotation.DESCRIPTOR, "id")
_INPUT_ID = wire.key(Annotation.DESCRIPTOR, "input_id")
_DATA = wire.key(Annotation.DESCRIPTOR, "data")
_CONCEPTS = wire.key(Data.DESCRIPTOR, "concepts")
_VALUE = wire.varint(Concept.DESCRIPTOR.fields_by_name["value"].number << 3 | 5)  # fixed 32 bits
_FLOAT = struct.Struct("<f")


def top_classes(probabilities: NDArray[np.float32], count: int, least: float) -> NDArray[np.int64]:
    """Numbers of the likeliest classes, likeliest first.

    Args:
        probabilities: float32 [classes] of one input.
        count: At most so many.
        least: None below this probability.
    """
    every = len(probabilities)
    best = np.argpartition(-probabilities, count - 1)[:count] if count < every else np.arange(every)
    best = best[probabilities[best] >= least]
    return best[np.lexsort((best, -probabilities[best]))]


def to_keep(logits: NDArray[np.float32]) -> Values:
    """What is stored of a picture: its top classes and all that they are kinds of. float32 [classes]."""
    probabilities = VOCABULARY.probabilities(logits[np.newaxis])[0]
    numbers = {int(number) for number in top_classes(probabilities[:CLASSES], TOP, LEAST)}
    for number in tuple(numbers):
        numbers.update(VOCABULARY.concepts[number].broader)
    values = [(number, float(probabilities[number])) for number in numbers]
    return tuple(sorted(values, key=lambda pair: (-pair[1], pair[0])))


def concept(number: int) -> Concept:
    """A concept of the general model as clients read it, without a value."""
    known = VOCABULARY.concepts[number]
    return Concept(id=known.id, name=known.name, app_id=PUBLIC_APP, user_id=PUBLIC_USER, language="en")


@cache
def _named(number: int) -> bytes:
    return concept(number).SerializeToString()


def concept_bytes(values: Sequence[tuple[int, float]], named: Callable[[int], bytes] = _named) -> bytes:
    """The field `concepts` of a `Data`, serialized.

    Args:
        values: (concept number, probability).
        named: The serialized `Concept` of a number, without a value; by default those of the general model.
    """
    return wire.repeated(_CONCEPTS, [named(number) + _VALUE + _FLOAT.pack(value) for number, value in values])


@cache
def _author() -> bytes:
    message = Annotation(model_version_id=general.VERSION_ID)
    model = message.worker.model
    model.id, model.user_id, model.app_id = general.MODEL_ID, PUBLIC_USER, PUBLIC_APP
    model.model_version.id = general.VERSION_ID
    message.status.ParseFromString(records.status_bytes(StatusCode.ANNOTATION_SUCCESS))
    return message.SerializeToString()


def new_prediction(row: int, input_row: int, input_id: str, anchor: int, values: Values, now_us: int) -> NewPrediction:
    """The general model's annotation of an input."""
    annotation_id = ids.new_id()
    message = (
        wire.framed(_ID, annotation_id.encode())
        + wire.framed(_INPUT_ID, input_id.encode())
        + wire.framed(_DATA, concept_bytes(values))
        + _author()
        + records.annotation_times(now_us, now_us)
    )
    return NewPrediction(row, annotation_id, input_row, anchor, general.VERSION_ID, message, now_us, values)


def number_of(concept: Concept) -> int | None:
    """The number of a concept of the general model: by id, else by name; case matters in both."""
    if concept.id:
        found = VOCABULARY.by_id.get(concept.id)
    else:
        found = VOCABULARY.by_name.get(concept.name.casefold())
        found = found if found is not None and found.name == concept.name else None
    return None if found is None else found.number


class Scores(NamedTuple):
    """Scores of anchors, best first; equal ones by anchor, and so by age."""

    anchors: NDArray[np.int64]  # [n]
    scores: NDArray[np.float32]  # [n]
    complete: bool  # these are all


class PredictedConcept:
    """Every input's probability of one concept: as stored, 0 where it was too small to be stored.

    Reads when it is asked, and each thing once.

    Args:
        queries: Reads.
        app: Row of the app.
        concept: What to score by.
    """

    def __init__(self, queries: Queries, app: int, concept: GeneralConcept) -> None:
        self.concept = concept
        self._stored: Callable[[], Predicted] = cache(lambda: queries.predicted(app, concept.number))
        self._anchors: Callable[[], NDArray[np.int64]] = cache(lambda: queries.input_anchors(app))

    def scores(self, anchors: NDArray[np.int64]) -> Matrix:
        """float32 [n]: the scores of these anchors (int64 [n])."""
        stored, values = self._stored()
        if not len(stored):
            return np.zeros(len(anchors), np.float32)
        places = np.minimum(np.searchsorted(stored, anchors), len(stored) - 1)
        return np.where(stored[places] == anchors, values[places], np.float32(0.0))

    def anchors(self) -> NDArray[np.int64]:
        """int64 [n], ascending: the anchors of the app's inputs."""
        return self._anchors()

    def best(self, count: int, *, flip: bool = False) -> Scores:
        """The `count` best anchors; flipped, every score s is 1 - s.

        Inputs that nothing is stored of are looked for only when the others do not suffice.
        """
        anchors, values = self._stored()
        everything = flip or len(anchors) < count
        if everything:
            anchors = self._anchors()
            values = self.scores(anchors)
        if flip:
            values = np.float32(1.0) - values
        order = np.lexsort((anchors, -values))[:count]
        return Scores(anchors[order], values[order], complete=everything and len(anchors) <= count)


def find(queries: Queries, app: int, concept_id: str, name: str) -> PredictedConcept | None:
    """The general concept of that id or name (a name may stand in the id's place), where the app has predictions."""
    concept = VOCABULARY.find(concept_id, name)
    if concept is None or not queries.has_predictions(app):
        return None
    return PredictedConcept(queries, app, concept)
