"""How a prediction is wanted: how many concepts, how sure, which ones. Read from wherever clients put it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from postil.core import ids, predictions
from postil.core.app_fields import LANGUAGES
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
        numbers: Only these concepts, by their places in the model; None for those that it answers by itself.
        unknown: What was selected but is not known, for messages.
    """

    count: int
    least: float
    numbers: tuple[int, ...] | None = None
    unknown: tuple[str, ...] = ()

    def values(self, probabilities: NDArray[np.float32], leading: int) -> list[tuple[int, float]]:
        """(concept number, probability) of one input, likeliest first.

        Args:
            probabilities: float32 [concepts].
            leading: So many concepts from the first are answered unless the caller selects others. Of the general
                model these are its classes: a broader concept is never less probable than they are, so the broadest
                would always come first.
        """
        if self.numbers is None:
            chosen = predictions.top_classes(probabilities[:leading], self.count, self.least)
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


def read(config: OutputConfig, number_of: Callable[[Concept], int | None]) -> Wanted:
    """Checks the config.

    Args:
        config: As given.
        number_of: The place of a concept among those that the model knows; None when it does not.

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
    known, unknown = _select(config.select_concepts, number_of)
    if not known:
        raise Failure(
            StatusCode.MODEL_INVALID_ARGUMENT,
            f"select_concepts: the model knows none of {', '.join(unknown[:10])}; see ListModelConcepts.",
        )
    if not config.max_concepts:
        count = min(max(count, len(known)), MAX_CONCEPTS)
    return Wanted(count, config.min_value, tuple(dict.fromkeys(known)), tuple(unknown))


def of_several(
    config: OutputConfig, number_of: Sequence[Callable[[Concept], int | None]]
) -> tuple[Wanted, list[Wanted]]:
    """The config as all of several models together know it, and as each does. Raises as `read`."""

    def known(concept: Concept) -> int | None:
        return next((number for one in number_of if (number := one(concept)) is not None), None)

    together = read(config, known)
    if not config.select_concepts:
        return together, [together] * len(number_of)
    own = [tuple(dict.fromkeys(_select(config.select_concepts, one)[0])) for one in number_of]
    return together, [replace(together, numbers=numbers) for numbers in own]


def _select(concepts: Sequence[Concept], number_of: Callable[[Concept], int | None]) -> tuple[list[int], list[str]]:
    known, unknown = [], []
    for concept in concepts:
        number = number_of(concept)
        if number is None:
            unknown.append(ids.shown(concept.id or concept.name))
        else:
            known.append(number)
    return known, unknown


def _refuse(details: str) -> Failure:
    return Failure(StatusCode.PREDICT_INVALID_REQUEST, f"output_config: {details}.")
