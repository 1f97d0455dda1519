"""Workflows as graphs of models: the public ones, and what a graph of an app's own must keep to."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.timestamp_pb2 import Timestamp

from postil.core import ids
from postil.core.base_workflow import BUILT_IN, BaseWorkflow
from postil.core.call import PUBLIC_APP, PUBLIC_USER, Call
from postil.core.runnables import CONCEPTS, Runnable, Runnables
from postil.embed import general, picture, text
from postil.embed.packaged import version_id
from postil.errors import Failure
from postil.v1.common_pb2 import Visibility
from postil.v1.status_code_pb2 import StatusCode
from postil.v1.workflow_pb2 import Workflow, WorkflowNode, WorkflowVersion

MAX_NODES = 32

_BUILT_IN_AT = Timestamp(seconds=1_767_225_600)  # 2026-01-01: they are packaged, and never made here


def public(workflow_id: str) -> Workflow | None:
    """The public workflow of that id, ignoring case; "Empty" among them, which has no nodes."""
    built_in = BUILT_IN.get(workflow_id.casefold())
    return _public(built_in) if built_in else None


def all_public() -> list[Workflow]:
    """All of them, in a fixed order."""
    return [_public(built_in) for built_in in BUILT_IN.values()]


def _public(built_in: BaseWorkflow) -> Workflow:
    models = []
    if built_in.pictures:
        models.append(("picture-embedding", picture.SPEC.model_id, picture.SPEC.version_id))
    if built_in.concepts:
        models.append(("picture-concepts", general.MODEL_ID, general.VERSION_ID))
    if built_in.texts:
        models.append(("text-embedding", text.SPEC.model_id, text.SPEC.version_id))
    workflow = Workflow(id=built_in.id, app_id=PUBLIC_APP, user_id=PUBLIC_USER)
    workflow.visibility.gettable = Visibility.PUBLIC
    workflow.created_at.CopyFrom(_BUILT_IN_AT)
    workflow.modified_at.CopyFrom(_BUILT_IN_AT)
    for node_id, model, version in models:
        node = workflow.nodes.add(id=node_id)
        node.model.id, node.model.app_id, node.model.user_id = model, PUBLIC_APP, PUBLIC_USER
        node.model.model_version.id = version
    if built_in.concepts:
        workflow.nodes[1].node_inputs.add(node_id="picture-embedding")
    workflow.version.CopyFrom(
        version_of(workflow, version_id("workflow", *(fact for model in models for fact in model)))
    )
    return workflow


def version_of(workflow: Workflow, new_id: str) -> WorkflowVersion:
    """The version that a workflow's nodes make."""
    version = WorkflowVersion(
        id=new_id,
        workflow_id=workflow.id,
        created_at=workflow.modified_at,
        modified_at=workflow.modified_at,
        nodes=workflow.nodes,
        app_id=workflow.app_id,
        user_id=workflow.user_id,
        description=workflow.version.description,
    )
    version.visibility.CopyFrom(workflow.visibility)
    version.metadata.CopyFrom(workflow.version.metadata)
    return version


def check(call: Call, nodes: Sequence[WorkflowNode], models: Runnables, where: str) -> None:
    """Refuses a graph that cannot run.

    Raises:
        Failure: MODEL_DOES_NOT_EXIST; WORKFLOW_INVALID_GRAPH for nodes that do not fit together.
    """
    if not 1 <= len(nodes) <= MAX_NODES:
        raise invalid(f"{where} has {len(nodes)} nodes; give 1 to {MAX_NODES}")
    known: dict[str, Runnable] = {}
    for position, node in enumerate(nodes):
        at = f"{where}.nodes[{position}]"
        ids.check("node", node.id, at, StatusCode.WORKFLOW_INVALID_GRAPH)
        if node.id in known:
            raise invalid(f"{at}: the id {node.id!r} stands twice")
        known[node.id] = models.get(call, node.model.id, node.model.model_version.id)
    for position, node in enumerate(nodes):
        _check_inputs(node, known, f"{where}.nodes[{position}]")


def _check_inputs(node: WorkflowNode, known: dict[str, Runnable], at: str) -> None:
    target = known[node.id]
    for source in node.node_inputs:
        if source.node_id not in known:
            raise invalid(f"{at}: there is no node {ids.shown(source.node_id)} to take input from")
        given = known[source.node_id]
        fits = given.concepts if target.takes == CONCEPTS else not given.concepts and given.weights == target.weights
        if not fits or given is target or given.takes == CONCEPTS or len(node.node_inputs) > 1:
            raise invalid(
                f"{at}: the model {target.card.id!r} cannot take the output of {given.card.id!r}; leave node_inputs "
                "out, and it takes the input itself"
            )
    if target.takes == CONCEPTS and not node.node_inputs:
        raise invalid(
            f"{at}: the model {target.card.id!r} takes concepts; name the node that gives them in node_inputs"
        )


def invalid(details: str) -> Failure:
    """WORKFLOW_INVALID_GRAPH."""
    return Failure(StatusCode.WORKFLOW_INVALID_GRAPH, f"{details}.")
