"""How a prediction is wanted: how many concepts, how sure, which ones. Read from wherever clients put it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from postil.core import ids, predictions
from postil.core.app_fields import LANGUAGES
from postil.embed.general import VOCABULARY, GeneralConcept
from postil.errors import Failure
from postil.v1.concept_pb2 import Concept
from postil.v1.model_pb2 import Model, OutputConfig
from postil.v1.status_code_pb2 import StatusCode

DEFAULT_CONCEPTS = 20
MAX_CONCEPTS = 200
MAX_SELECTED = 1000


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which concepts to answer with.

    Args:
        count: At most so many.
        least: None less probable.
        numbers: Only these concepts of the general model; None for its classes.
        unknown: What was selected but is not known, for messages.
    """

    count: int
    least: float
    numbers: tuple[int, ...] | None = None
    unknown: tuple[str, ...] = ()

    def values(self, logits: NDArray[np.float32]) -> list[tuple[int, float]]:
        """(concept number, probability) of one picture (float32 [classes]), likeliest first.

        Unless selected by the caller, classes alone are given: a broader concept is never less probable than they
        are, so the broadest would always come first.
        """
        probabilities = VOCABULARY.probabilities(logits[np.newaxis])[0]
        if self.numbers is None:
            chosen = predictions.top_classes(probabilities, self.count, self.least)
        else:
            numbers = np.array(self.numbers, np.int64)
            numbers = numbers[probabilities[numbers] >= self.least]
            chosen = numbers[np.lexsort((numbers, -probabilities[numbers]))][: self.count]
        return [(int(number), float(probabilities[number])) for number in chosen]


def of_model(model: Model) -> OutputConfig:
    """The config of a request's model: its own, and what only its version's says."""
    merged = OutputConfig()
    merged.CopyFrom(model.model_version.output_info.output_config)
    own = model.output_info.output_config
    if own.select_concepts:
        merged.ClearField("select_concepts")
    merged.MergeFrom(own)
    return merged


def read(config: OutputConfig) -> Wanted:
    """Checks the config.

    Raises:
        Failure: PREDICT_INVALID_REQUEST for a number out of range, MODEL_INVALID_ARGUMENT when none of the selected
            concepts is known.
    """
    if config.max_concepts > MAX_CONCEPTS:
        raise _refuse(f"max_concepts is {config.max_concepts}; use 1 to {MAX_CONCEPTS}, or 0 for {DEFAULT_CONCEPTS}")
    if not (math.isfinite(config.min_value) and 0.0 <= config.min_value <= 1.0):
        raise _refuse(f"min_value is {config.min_value:g}; use 0 to 1")
    if config.language and config.language not in LANGUAGES:
        raise _refuse(f"language {ids.shown(config.language)} is unknown; use one of {', '.join(LANGUAGES)}")
    if len(config.select_concepts) > MAX_SELECTED:
        raise _refuse(f"select_concepts has {len(config.select_concepts)} items; use at most {MAX_SELECTED}")
    count = config.max_concepts or DEFAULT_CONCEPTS
    if not config.select_concepts:
        return Wanted(count, config.min_value)
    known, unknown = _select(config.select_concepts)
    if not known:
        raise Failure(
            StatusCode.MODEL_INVALID_ARGUMENT,
            f"select_concepts: the model knows none of {', '.join(unknown[:10])}; see ListModelConcepts.",
        )
    if not config.max_concepts:
        count = min(max(count, len(known)), MAX_CONCEPTS)
    return Wanted(count, config.min_value, tuple(dict.fromkeys(known)), tuple(unknown))


def _select(concepts: Sequence[Concept]) -> tuple[list[int], list[str]]:
    known, unknown = [], []
    for concept in concepts:
        found = _find(concept)
        if found is None:
            unknown.append(ids.shown(concept.id or concept.name))
        else:
            known.append(found.number)
    return known, unknown


def _find(concept: Concept) -> GeneralConcept | None:
    """By id, else by name; case matters in both."""
    if concept.id:
        return VOCABULARY.by_id.get(concept.id)
    found = VOCABULARY.by_name.get(concept.name.casefold())
    return found if found is not None and found.name == concept.name else None


def _refuse(details: str) -> Failure:
    return Failure(StatusCode.PREDICT_INVALID_REQUEST, f"output_config: {details}.")
