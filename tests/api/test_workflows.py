"""Workflows through a real server, under both service names: kept, changed, run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from postil.v1.annotation_service_pb2 import ListAnnotationsRequest
from postil.v1.app_pb2 import App
from postil.v1.app_service_pb2 import PatchAppsRequest
from postil.v1.common_pb2 import UserAppIDSet
from postil.v1.input_pb2 import Input
from postil.v1.input_service_pb2 import PostInputsRequest
from postil.v1.model_pb2 import OutputConfig
from postil.v1.status_code_pb2 import StatusCode
from postil.v1.workflow_pb2 import Workflow, WorkflowNode
from postil.v1.workflow_service_pb2 import (
    DeleteWorkflowRequest,
    DeleteWorkflowsRequest,
    GetWorkflowRequest,
    GetWorkflowVersionRequest,
    ListWorkflowsRequest,
    ListWorkflowVersionsRequest,
    PatchWorkflowsRequest,
    PostWorkflowResultsRequest,
    PostWorkflowsRequest,
)
from support.photos import photo

Call = Callable[..., Any]
GENERAL, LOOKS, WORDS = "general-image-recognition", "general-image-embedding", "general-text-embedding"
PUBLIC = UserAppIDSet(user_id="clarifai", app_id="main")


def node(name: str, model: str, *sources: str, suppress: bool = False) -> WorkflowNode:
    made = WorkflowNode(id=name, suppress_output=suppress)
    made.model.id = model
    for source in sources:
        made.node_inputs.add(node_id=source)
    return made


def picture(name: str) -> Input:
    item = Input()
    item.data.image.base64 = photo(name)
    return item


def text(raw: str) -> Input:
    item = Input()
    item.data.text.raw = raw
    return item


def post(call: Call, app: UserAppIDSet, *workflows: Workflow) -> Any:
    return call("PostWorkflows", PostWorkflowsRequest(user_app_id=app, workflows=workflows))


def get(call: Call, app: UserAppIDSet, name: str) -> Any:
    return call("GetWorkflow", GetWorkflowRequest(user_app_id=app, workflow_id=name))


def run(call: Call, app: UserAppIDSet, name: str, *items: Input, **fields: Any) -> Any:
    request = PostWorkflowResultsRequest(user_app_id=app, workflow_id=name, inputs=items, **fields)
    return call("PostWorkflowResults", request)


def names(output: Any) -> list[str]:
    return [concept.name for concept in output.data.concepts]


def ids(answer: Any) -> list[str]:
    return [workflow.id for workflow in answer.workflows]


def test_the_public_workflows(call: Call, app: UserAppIDSet) -> None:
    listed = call("ListWorkflows", ListWorkflowsRequest(user_app_id=PUBLIC))
    assert ids(listed) == ["General", "Universal", "Text", "Language-Understanding", "Empty"]
    general = get(call, app, "general").workflow
    assert (general.id, general.user_id, general.app_id) == ("General", "clarifai", "main")
    assert [one.model.id for one in general.nodes] == [LOOKS, GENERAL, WORDS]
    versions = call("ListWorkflowVersions", ListWorkflowVersionsRequest(user_app_id=app, workflow_id="General"))
    assert [version.id for version in versions.workflow_versions] == [general.version.id]
    assert ids(call("ListWorkflows", ListWorkflowsRequest(user_app_id=app))) == []


def test_running_the_general_workflow(call: Call, app: UserAppIDSet) -> None:
    answer = run(call, app, "General", picture("coffee.png"), text("a cat"), output_config=OutputConfig(max_concepts=2))
    assert answer.status.code == StatusCode.SUCCESS, answer.status
    assert answer.workflow.id == "General"
    coffee, words = answer.results
    assert [output.model.id for output in coffee.outputs] == [LOOKS, GENERAL]
    assert len(coffee.outputs[0].data.embeddings[0].vector) == 1280
    assert names(coffee.outputs[1])[0] == "espresso"
    assert len(coffee.outputs[1].data.concepts) == 2
    assert [output.model.id for output in words.outputs] == [WORDS]
    assert words.input.data.text.raw == "a cat"
    assert coffee.id != words.id


def test_a_workflow_of_ones_own(call: Call, app: UserAppIDSet) -> None:
    mine = Workflow(id="mine", nodes=[node("look", LOOKS, suppress=True), node("say", GENERAL, "look")])
    mine.metadata.update({"team": "cats"})
    made = post(call, app, mine)
    assert made.status.code == StatusCode.SUCCESS, made.status
    stored = get(call, app, "mine").workflow
    assert stored == made.workflows[0]
    assert (stored.app_id, stored.metadata["team"]) == (app.app_id, "cats")
    assert [one.id for one in stored.version.nodes] == ["look", "say"]
    answer = run(call, app, "mine", picture("chelsea.png"), text("words"))
    assert answer.status.code == StatusCode.MIXED_STATUS
    assert [output.model.id for output in answer.results[0].outputs] == [GENERAL]
    assert answer.results[1].status.code == StatusCode.INPUT_UNSUPPORTED_FORMAT
    again = post(call, app, Workflow(id="new", nodes=mine.nodes), mine)
    assert again.status.code == StatusCode.DATABASE_DUPLICATE_KEY
    assert "'mine'" in again.status.details
    assert get(call, app, "new").status.code == StatusCode.CONN_DOES_NOT_EXIST


def test_a_patch_makes_a_version_that_can_still_be_run(call: Call, app: UserAppIDSet) -> None:
    (first,) = post(call, app, Workflow(id="mine", nodes=[node("read", WORDS)])).workflows
    change = Workflow(id="mine", nodes=[node("say", GENERAL)])
    patched = call("PatchWorkflows", PatchWorkflowsRequest(user_app_id=app, workflows=[change], action="overwrite"))
    assert patched.status.code == StatusCode.SUCCESS, patched.status
    assert [one.id for one in patched.workflows[0].nodes] == ["say"]
    named = Workflow(id="mine", description="says")
    described = call("PatchWorkflows", PatchWorkflowsRequest(user_app_id=app, workflows=[named], action="merge"))
    assert described.workflows[0].version.id == patched.workflows[0].version.id
    listed = call("ListWorkflowVersions", ListWorkflowVersionsRequest(user_app_id=app, workflow_id="mine"))
    newest = patched.workflows[0].version.id
    assert [version.id for version in listed.workflow_versions] == [newest, first.version.id]
    old = call(
        "GetWorkflowVersion",
        GetWorkflowVersionRequest(user_app_id=app, workflow_id="mine", workflow_version_id=first.version.id),
    )
    assert [one.id for one in old.workflow_version.nodes] == ["read"]
    before = run(call, app, "mine", text("words"), version_id=first.version.id)
    assert [output.model.id for output in before.results[0].outputs] == [WORDS]
    assert run(call, app, "mine", text("words")).status.code == StatusCode.INPUT_UNSUPPORTED_FORMAT
    gone = run(call, app, "mine", text("words"), version_id="no such version")
    assert gone.status.code == StatusCode.WORKFLOW_DOES_NOT_EXIST


@pytest.mark.parametrize(
    ("nodes", "code", "told"),
    [
        ([], StatusCode.WORKFLOW_INVALID_GRAPH, "0 nodes"),
        ([node("a", "nobody")], StatusCode.MODEL_DOES_NOT_EXIST, "'nobody'"),
        ([node("a", WORDS), node("a", WORDS)], StatusCode.WORKFLOW_INVALID_GRAPH, "twice"),
        ([node("a", GENERAL, "b")], StatusCode.WORKFLOW_INVALID_GRAPH, "no node 'b'"),
        ([node("a", WORDS), node("b", GENERAL, "a")], StatusCode.WORKFLOW_INVALID_GRAPH, "cannot take"),
        ([node("a", GENERAL, "a")], StatusCode.WORKFLOW_INVALID_GRAPH, "cannot take"),
    ],
)
def test_graphs_that_cannot_run(call: Call, app: UserAppIDSet, nodes: list[Any], code: int, told: str) -> None:
    answer = post(call, app, Workflow(id="bad", nodes=nodes))
    assert answer.status.code == code
    assert told in answer.status.details


def test_bad_runs(call: Call, app: UserAppIDSet) -> None:
    for items in ([], [text("a")] * 33):
        assert run(call, app, "General", *items).status.code == StatusCode.PREDICT_INVALID_REQUEST
    assert run(call, app, "nobody", text("a")).status.code == StatusCode.WORKFLOW_DOES_NOT_EXIST
    config = OutputConfig()
    config.select_concepts.add(id="no such thing")
    refused = run(call, app, "General", picture("coffee.png"), output_config=config)
    assert refused.status.code == StatusCode.MODEL_INVALID_ARGUMENT
    whole = run(call, app, "Text", *[text("a")] * 32)
    assert (whole.status.code, len(whole.results)) == (StatusCode.SUCCESS, 32)
    empty = run(call, app, "General", Input(), text("a"))
    assert [result.status.code for result in empty.results] == [StatusCode.INPUT_INVALID_ARGUMENT, StatusCode.SUCCESS]


def test_lists_and_deletions(call: Call, app: UserAppIDSet) -> None:
    post(call, app, *[Workflow(id=name, nodes=[node("a", WORDS)]) for name in ("b", "a", "c")])

    def listed(**wanted: Any) -> list[str]:
        return ids(call("ListWorkflows", ListWorkflowsRequest(user_app_id=app, **wanted)))

    assert listed() == ["b", "a", "c"]
    assert listed(sort_by_id=True, sort_ascending=True) == ["a", "b", "c"]
    assert listed(page=2, per_page=2) == ["c"]
    assert listed(id="A") == ["a"]
    unsupported = call("ListWorkflows", ListWorkflowsRequest(user_app_id=app, starred_only=True))
    assert unsupported.status.code == StatusCode.WORKFLOW_INVALID_REQUEST
    one = call("DeleteWorkflow", DeleteWorkflowRequest(user_app_id=app, workflow_id="a"))
    assert one.status.code == StatusCode.SUCCESS
    again = call("DeleteWorkflow", DeleteWorkflowRequest(user_app_id=app, workflow_id="a"))
    assert again.status.code == StatusCode.CONN_DOES_NOT_EXIST
    many = call("DeleteWorkflows", DeleteWorkflowsRequest(user_app_id=app, ids=["a", "b"]))
    assert many.status.code == StatusCode.SUCCESS
    assert listed() == ["c"]


def test_a_workflow_of_ones_own_as_the_base_workflow(call: Call, app: UserAppIDSet) -> None:
    post(call, app, Workflow(id="looks-only", nodes=[node("look", LOOKS)]))
    change = PatchAppsRequest(apps=[App(id=app.app_id, default_workflow_id="looks-only")], action="merge")
    assert call("PatchApps", change).status.code == StatusCode.SUCCESS
    item = picture("chelsea.png")
    assert call("PostInputs", PostInputsRequest(user_app_id=app, inputs=[item])).status.code == StatusCode.SUCCESS
    said = call("ListAnnotations", ListAnnotationsRequest(user_app_id=app, list_all_annotations=True))
    assert len(said.annotations) == 0
    kept = call("DeleteWorkflow", DeleteWorkflowRequest(user_app_id=app, workflow_id="looks-only"))
    assert kept.status.code == StatusCode.WORKFLOW_INVALID_REQUEST
    assert "base workflow" in kept.status.details
