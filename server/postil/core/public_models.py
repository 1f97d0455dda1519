"""The models that everybody may use, what each takes and gives, and how it is asked. They belong to clarifai/main."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from postil.core import ids, model_cards, older_models, predictions
from postil.core.output_config import Wanted
from postil.embed import general
from postil.embed.base import Embedders, EmbedQueue, Outputs
from postil.embed.general import VOCABULARY
from postil.embed.picture import CLASSES
from postil.errors import Failure
from postil.v1.concept_pb2 import Concept
from postil.v1.data_pb2 import Data, Embedding
from postil.v1.model_pb2 import Model
from postil.v1.status_code_pb2 import StatusCode


@dataclass(frozen=True, slots=True)
class PublicModel:
    """A model that can be run here.

    Args:
        card: What clients see of it.
        takes: "picture" or "text".
        queue: Runs it.
        concepts: It gives concepts; else it gives embeddings.
    """

    card: Model
    takes: str
    queue: EmbedQueue
    concepts: bool

    @property
    def weights(self) -> str:
        """Which weights are run: models that share them share the pass."""
        return self.queue.spec.version_id

    def run(self, content: Any) -> Future[Outputs]:
        """Asks it about one RGB picture or text."""
        return self.queue.infer([content])

    def number_of(self, concept: Concept) -> int | None:
        """See `Runnable.number_of`."""
        return predictions.number_of(concept)

    def data(self, wanted: Wanted, outputs: Outputs) -> bytes:
        """See `Runnable.data`."""
        if self.concepts and outputs.logits is not None:
            probabilities = VOCABULARY.probabilities(outputs.logits)[0]
            return predictions.concept_bytes(wanted.values(probabilities, CLASSES))
        vector = outputs.embeddings[0]
        return Data(embeddings=[Embedding(vector=vector.tolist(), num_dimensions=len(vector))]).SerializeToString()

    def scored(self, outputs: Outputs) -> list[tuple[Concept, float]]:
        """See `Runnable.scored`."""
        if not self.concepts or outputs.logits is None:
            return []
        probabilities = VOCABULARY.probabilities(outputs.logits)[0]
        return [(predictions.concept(number), float(value)) for number, value in enumerate(probabilities)]


class PublicModels:
    """The embedders of this server and the general model. Thread-safe."""

    def __init__(self, embedders: Embedders) -> None:
        self._embedders = embedders

    def cards(self) -> Sequence[Model]:
        """The embedders, then the general model."""
        embedders = [model_cards.built_in(spec) for spec in self._embedders.specs()]
        return embedders if self.find(general.MODEL_ID) is None else [*embedders, model_cards.general()]

    def find(self, model_id: str) -> PublicModel | None:
        """By id, version id, or an id under which old clients know it."""
        if model_id in general.ALIASES or model_id in {general.MODEL_ID, general.VERSION_ID}:
            queue = self._embedders.by_version(general.EMBEDDER)
            return PublicModel(model_cards.general(), "picture", queue, concepts=True) if queue else None
        queue = self._embedders.by_version(model_id)
        if queue is None:
            return None
        return PublicModel(model_cards.built_in(queue.spec), queue.spec.kind, queue, concepts=False)

    def get(self, model_id: str, version_id: str = "") -> PublicModel:
        """As `find`, of that version.

        Raises:
            Failure: MODEL_DOES_NOT_EXIST, saying which there are.
        """
        found = self.find(model_id or version_id)
        if found is not None and version_id in {"", *general.ALIASES, found.card.model_version.id}:
            return found
        raise self._missing(model_id, version_id, found)

    def _missing(self, model_id: str, version_id: str, found: PublicModel | None) -> Failure:
        if found is not None:
            version = found.card.model_version.id
            details = f"Model {found.card.id!r} has no version {ids.shown(version_id)}; its version is {version!r}."
        else:
            known = ", ".join(repr(card.id) for card in self.cards())
            absent = older_models.absent(model_id)
            what = f" (the public model for {absent.gives})" if absent else ""
            details = f"Model {ids.shown(model_id)}{what} is not on this server, which can predict with {known}."
        return Failure(StatusCode.MODEL_DOES_NOT_EXIST, details)
