"""The general model: from the logits of 1,000 classes to probabilities of them and of what they are kinds of.

It has no weights of its own: its logits come out of the pass that embeds a picture (`embed/picture.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from importlib import resources
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from postil.embed import convert, picture
from postil.embed.base import Matrix
from postil.embed.packaged import version_id

MODEL_ID = "general-image-recognition"
# Ids of the model and of its version that published clients and examples carry.
ALIASES = frozenset({"aaa03c23b3724a16a56b629203edc62c", "aa7f35c01e0642fda5cf400f543e7c40"})
EMBEDDER = picture.SPEC.version_id  # whose logits these are
DESCRIPTION = (
    "What a picture shows: the 1,000 ImageNet classes and broader concepts, by EfficientNet-Lite0 (Apache-2.0). "
    "The probability of a broader concept is the sum over its classes."
)

_TABLE = "data/general_concepts.tsv"
# Raise it when the meaning of the numbers changes: the version id follows.
_REVISION = "1"

VERSION_ID = version_id("general-concepts", convert.WEIGHTS_SHA256, _REVISION)


class GeneralConcept(NamedTuple):
    """One concept of the general model."""

    number: int  # stable; below 1000: the place of its logit
    id: str  # a WordNet synset ("n02123045"), or the word itself for a broader concept ("cat")
    name: str
    broader: tuple[int, ...]  # numbers of all that it is a kind of, nearest first


class Vocabulary:
    """The concepts, and what follows from how they are related. Immutable; the table is read on first use."""

    @cached_property
    def concepts(self) -> Sequence[GeneralConcept]:
        """By number."""
        text = resources.files(__package__).joinpath(_TABLE).read_text(encoding="utf-8")
        rows = [line.split("\t") for line in text.splitlines() if line and not line.startswith("#")]
        numbers = {row[1]: int(row[0]) for row in rows}
        return tuple(
            GeneralConcept(int(number), concept_id, name, tuple(numbers[one] for one in broader.split()))
            for number, concept_id, name, broader in rows
        )

    @cached_property
    def by_id(self) -> dict[str, GeneralConcept]:
        return {concept.id: concept for concept in self.concepts}

    @cached_property
    def by_name(self) -> dict[str, GeneralConcept]:
        """By name in lower case; names are unique."""
        return {concept.name.casefold(): concept for concept in self.concepts}

    def find(self, concept_id: str, name: str) -> GeneralConcept | None:
        """By id; a name stands for an id as well, and case does not matter in names. None when there is none."""
        if concept_id:
            return self.by_id.get(concept_id) or self.by_name.get(concept_id.casefold())
        return self.by_name.get(name.casefold()) if name else None

    @cached_property
    def _kinds(self) -> NDArray[np.float32]:
        """float32 [classes, broader concepts]: 1 where the class is a kind of the concept."""
        kinds = np.zeros((picture.CLASSES, len(self.concepts) - picture.CLASSES), np.float32)
        for concept in self.concepts[: picture.CLASSES]:
            for number in concept.broader:
                kinds[concept.number, number - picture.CLASSES] = 1.0
        return kinds

    def probabilities(self, logits: Matrix) -> Matrix:
        """float32 [n, classes] to float32 [n, concepts], by concept number: softmax, then sums for broader ones."""
        shifted = logits - logits.max(axis=1, keepdims=True)
        classes = np.exp(shifted)
        classes /= classes.sum(axis=1, keepdims=True)
        return np.concatenate([classes, np.minimum(classes @ self._kinds, 1.0)], axis=1)


VOCABULARY = Vocabulary()
