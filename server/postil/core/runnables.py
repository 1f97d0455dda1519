"""Models that can be asked about an input: what they have in common, and where they are found."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Future
from typing import Any, Protocol, runtime_checkable

from postil.core.call import Call
from postil.core.output_config import Wanted
from postil.embed.base import Outputs
from postil.v1.concept_pb2 import Concept
from postil.v1.model_pb2 import Model
from postil.v1.workflow_pb2 import WorkflowNode

PICTURE, TEXT, VECTOR, CONCEPTS = "picture", "text", "vector", "concepts"  # what a model may take


class Runnable(Protocol):
    """A model in one version."""

    @property
    def card(self) -> Model:
        """What clients see of it."""
        ...

    @property
    def takes(self) -> str:
        """PICTURE, TEXT, VECTOR or CONCEPTS."""
        ...

    @property
    def concepts(self) -> bool:
        """It gives concepts; else it gives embeddings."""
        ...

    @property
    def weights(self) -> str:
        """Which weights are run: models that share them share the pass."""
        ...

    def run(self, content: Any) -> Future[Outputs]:
        """Asks about one content of the kind that it takes."""
        ...

    def number_of(self, concept: Concept) -> int | None:
        """The place of a concept among those that it knows, by id, else by name; None when it does not know it."""
        ...

    def data(self, wanted: Wanted, outputs: Outputs) -> bytes:
        """The serialized Data of an output, from what running it gave."""
        ...

    def scored(self, outputs: Outputs) -> list[tuple[Concept, float]]:
        """Everything that it says, for a model behind it."""
        ...


class Found(Protocol):
    """Where models are found."""

    def find(self, call: Call, model_id: str, version_id: str) -> Runnable | None:
        """The model of that id in that version, or its newest that is trained; None when it is not there. Raises
        Failure MODEL_UNTRAINED."""
        ...


class Public(Protocol):
    """Models that everybody may use."""

    def get(self, model_id: str, version_id: str = "") -> Runnable:
        """Raises Failure MODEL_DOES_NOT_EXIST."""
        ...


@runtime_checkable
class Behind(Protocol):
    """A model that takes the concepts of another."""

    def over(self, source: Runnable) -> Runnable:
        """Itself, behind that other model."""
        ...


class Runnables:
    """The app's own models, then the public ones. Thread-safe.

    Args:
        own: Those of the caller's app.
        public: Those of everybody.
    """

    def __init__(self, own: Found, public: Public) -> None:
        self._own = own
        self._public = public

    def get(self, call: Call, model_id: str, version_id: str = "") -> Runnable:
        """A model by its id, or by its version's alone.

        Raises:
            Failure: MODEL_DOES_NOT_EXIST, MODEL_UNTRAINED.
        """
        found = self._own.find(call, model_id, version_id)
        return found if found is not None else self._public.get(model_id, version_id)

    def of_nodes(self, call: Call, nodes: Iterable[WorkflowNode]) -> list[tuple[WorkflowNode, Runnable]]:
        """The model of each node; one that takes concepts stands behind the model that gives them. Raises as `get`."""
        named = [(node, self.get(call, node.model.id, node.model.model_version.id)) for node in nodes]
        by_id = {node.id: model for node, model in named}
        return [(node, _behind(node, model, by_id)) for node, model in named]


def _behind(node: WorkflowNode, model: Runnable, by_id: dict[str, Runnable]) -> Runnable:
    source = by_id.get(node.node_inputs[0].node_id) if node.node_inputs else None
    return model.over(source) if source is not None and isinstance(model, Behind) else model
