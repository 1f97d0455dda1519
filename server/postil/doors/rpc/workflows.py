"""The Workflows service: one line per RPC, all meaning in `core/workflows.py` and `core/workflow_results.py`."""

from __future__ import annotations

from google.protobuf.message import Message

from postil.core.call import Call
from postil.core.workflow_results import WorkflowResults
from postil.core.workflows import Workflows
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


class WorkflowsServicer:
    """Methods are named as the RPCs; see the .proto for what each promises."""

    def __init__(self, workflows: Workflows, results: WorkflowResults) -> None:
        self._workflows = workflows
        self._results = results

    def PostWorkflows(self, call: Call, request: PostWorkflowsRequest) -> Message | bytes:
        return self._workflows.post(call, request)

    def GetWorkflow(self, call: Call, request: GetWorkflowRequest) -> Message | bytes:
        return self._workflows.get(call, request)

    def ListWorkflows(self, call: Call, request: ListWorkflowsRequest) -> Message | bytes:
        return self._workflows.list(call, request)

    def PatchWorkflows(self, call: Call, request: PatchWorkflowsRequest) -> Message | bytes:
        return self._workflows.patch(call, request)

    def DeleteWorkflow(self, call: Call, request: DeleteWorkflowRequest) -> Message | bytes:
        return self._workflows.delete_one(call, request)

    def DeleteWorkflows(self, call: Call, request: DeleteWorkflowsRequest) -> Message | bytes:
        return self._workflows.delete_many(call, request)

    def PostWorkflowResults(self, call: Call, request: PostWorkflowResultsRequest) -> Message | bytes:
        return self._results.post(call, request)

    def ListWorkflowVersions(self, call: Call, request: ListWorkflowVersionsRequest) -> Message | bytes:
        return self._workflows.versions(call, request)

    def GetWorkflowVersion(self, call: Call, request: GetWorkflowVersionRequest) -> Message | bytes:
        return self._workflows.version(call, request)
