"""An app's base workflow: what runs by itself on every input that is added.

The built-in ones go by the names that clients know. A workflow of the app's own counts for the models in it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from postil.core import ids
from postil.embed import general, picture, text
from postil.errors import Failure
from postil.store.base import AppRecord, Queries
from postil.v1.app_pb2 import App
from postil.v1.status_code_pb2 import StatusCode
from postil.v1.workflow_pb2 import Workflow

KIND = "workflow"  # of the store's named things


class BaseWorkflow(NamedTuple):
    """What runs on an input.

    Args:
        id: Its id; "" for the default.
        pictures: Pictures are embedded.
        concepts: The general model says what pictures show.
        texts: Texts are embedded.
    """

    id: str
    pictures: bool
    concepts: bool
    texts: bool

    def embeds(self, kind: str) -> bool:
        """Whether inputs of a kind ("picture", "text") get vectors."""
        return self.pictures if kind == "picture" else self.texts


GENERAL = BaseWorkflow("General", pictures=True, concepts=True, texts=True)
EMPTY = BaseWorkflow("Empty", pictures=False, concepts=False, texts=False)
TEXT = BaseWorkflow("Text", pictures=False, concepts=False, texts=True)
BUILT_IN = {
    "general": GENERAL,
    "universal": GENERAL._replace(id="Universal"),
    "text": TEXT,
    "language-understanding": TEXT._replace(id="Language-Understanding"),
    "empty": EMPTY,
}
NAMES = ", ".join(repr(workflow.id) for workflow in BUILT_IN.values())


def named(app: App) -> str:
    """The id of the workflow that an app names; "" for none."""
    return app.default_workflow.id or app.default_workflow_id


def of_app(queries: Queries, record: AppRecord) -> BaseWorkflow:
    """The workflow that runs on inputs of the app: General, unless it names another that is there."""
    wanted = named(App.FromString(record.message))
    if not wanted:
        return GENERAL
    built_in = BUILT_IN.get(wanted.casefold())
    if built_in is not None:
        return built_in
    own = queries.named(record.row, KIND, wanted)
    return of_workflow(Workflow.FromString(own.message)) if own else GENERAL


def refuses(record: AppRecord, kind: str) -> str:
    """The id of the app's workflow when it is a built-in one that gives inputs of that kind no vectors, else ""."""
    built_in = BUILT_IN.get(named(App.FromString(record.message)).casefold())
    return built_in.id if built_in is not None and not built_in.embeds(kind) else ""


def of_workflow(workflow: Workflow) -> BaseWorkflow:
    """What a workflow of the app's own does to an input that is added."""
    models = set(_models(workflow))
    sees = bool(models & {general.MODEL_ID, general.VERSION_ID})
    embeds = bool(models & {picture.SPEC.model_id, picture.SPEC.version_id})
    reads = bool(models & {text.SPEC.model_id, text.SPEC.version_id})
    return BaseWorkflow(workflow.id, pictures=sees or embeds, concepts=sees, texts=reads)


def _models(workflow: Workflow) -> Iterable[str]:
    nodes = workflow.version.nodes or workflow.nodes
    return (node.model.id or node.model.model_version.id for node in nodes)


def check(queries: Queries, app: App, row: int | None, where: str) -> None:
    """Refuses an app that names a workflow that is not there.

    Args:
        queries: Reads.
        app: As it shall be.
        row: Its row; None for a new app, which has no workflows of its own yet.
        where: The item at fault.

    Raises:
        Failure: WORKFLOW_DOES_NOT_EXIST.
    """
    wanted = named(app)
    if not wanted or wanted.casefold() in BUILT_IN or (row is not None and queries.named(row, KIND, wanted)):
        return
    raise Failure(
        StatusCode.WORKFLOW_DOES_NOT_EXIST,
        f"{where}: default_workflow {ids.shown(wanted)} does not exist; use {NAMES}, or a workflow of the app's own.",
    )
