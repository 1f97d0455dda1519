"""The models that everybody may use, what each takes and gives, and how it is asked. They belong to clarifai/main."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from postil.core import ids, model_cards
from postil.embed import general
from postil.embed.base import Embedders, EmbedQueue, Outputs
from postil.errors import Failure
from postil.v1.model_pb2 import Model
from postil.v1.status_code_pb2 import StatusCode

# Public models that clients name by id and that this server has no weights for.
ABSENT = {
    "bd367be194cf45149e75f01d59f77ba7": "food",
    "eee28c313d69466f836ab83287a54ed9": "travel",
    "e9576d86d2004ed1a38ba0cf39ecb4b1": "not safe for work",
    "c386b7a870114f4a87477c0824499348": "weddings",
    "eeed0b6733a644cea07cf4c60f87ebb7": "colours",
    "cccbe437d6e54e2bb911c6aa292fb072": "clusters",
    "a403429f2ddf4b49b307e318f00e528b": "face detection",
    "c2cf7cecd8a6427da375b9f35fcd2381": "focus",
    "c443119bf2ed4da98487520d01a0b1e3": "logos",
    "c0c0ac362b03416da06ab3fa36fb58e3": "demographics",
    "e0be3b9d6a454f0493ac3a30784001ff": "apparel",
    "d16f390eb32cad478c7ae150069bd2c6": "moderation",
    "e466caa0619f444ab97497640cefc4dc": "celebrities",
    "fbefb47f9fdb410e8ce14f24f54b47ff": "textures and patterns",
    "bec14810deb94c40a05f1f0eb3c91403": "quality of landscapes",
    "de9bd05cfdbf4534af151beb2a5d0953": "quality of portraits",
    "d02b4508df58432fbb84e800597b8959": "face embedding",
}


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
            what = f" (the public model for {ABSENT[model_id]})" if model_id in ABSENT else ""
            details = f"Model {ids.shown(model_id)}{what} is not on this server, which can predict with {known}."
        return Failure(StatusCode.MODEL_DOES_NOT_EXIST, details)
