"""Models put together: everything in core that reads, trains and runs them, over the rooms below."""

from __future__ import annotations

from typing import NamedTuple

from postil.core.downloads import Downloads
from postil.core.head_shelf import HeadShelf
from postil.core.models import Models
from postil.core.opening import Opening
from postil.core.outputs import OutputLog
from postil.core.own_models import OwnModels
from postil.core.own_running import OwnRunning
from postil.core.own_versions import OwnVersions
from postil.core.predict_inputs import PredictInputs
from postil.core.predicting import Predicting
from postil.core.public_models import PublicModels
from postil.core.runnables import Runnables
from postil.core.training import Training
from postil.core.workflow_results import WorkflowResults
from postil.core.workflows import Workflows
from postil.embed.base import Embedders
from postil.index.base import Indexes
from postil.store.base import Store


class ModelParts(NamedTuple):
    """What is to be served, started and closed."""

    models: Models
    own: OwnModels
    versions: OwnVersions
    predicting: Predicting
    workflows: Workflows
    results: WorkflowResults
    shelf: HeadShelf
    outputs: OutputLog  # has a thread
    training: Training  # the same
    inputs: PredictInputs  # the same


def build(
    store: Store,
    indexes: Indexes,
    embedders: Embedders,
    downloads: Downloads,
    opening: Opening,
    *,
    delete_all: bool = False,
) -> ModelParts:
    """All of it; nothing runs yet."""
    public, outputs, shelf = PublicModels(embedders), OutputLog(store), HeadShelf(store)
    inputs = PredictInputs(store, embedders, downloads, opening)
    runnables = Runnables(OwnRunning(store, embedders, shelf), public)
    predicting = Predicting(runnables, inputs, outputs)
    workflows = Workflows(store, runnables)
    training = Training(store, embedders, indexes)
    return ModelParts(
        models=Models(store, public),
        own=OwnModels(store, public, delete_all=delete_all),
        versions=OwnVersions(store, embedders, training.wake),
        predicting=predicting,
        workflows=workflows,
        results=WorkflowResults(workflows, runnables, inputs, predicting),
        shelf=shelf,
        outputs=outputs,
        training=training,
        inputs=inputs,
    )
