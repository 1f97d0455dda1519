"""PostWorkflowResults: every node of a workflow is asked about every input of its medium."""

from __future__ import annotations

import time
from collections.abc import Sequence

from postil.core import ids, output_config, statuses
from postil.core.call import Call
from postil.core.predict_inputs import Asked, PredictInputs
from postil.core.predicting import Answer, Predicting, check_count, summary
from postil.core.runnables import Runnable, Runnables
from postil.core.workflows import Workflows
from postil.errors import Failure
from postil.v1.output_pb2 import Output
from postil.v1.status_code_pb2 import StatusCode
from postil.v1.status_pb2 import Status
from postil.v1.workflow_pb2 import Workflow, WorkflowNode
from postil.v1.workflow_service_pb2 import PostWorkflowResultsRequest, PostWorkflowResultsResponse, WorkflowResult

MAX_INPUTS = 32


class WorkflowResults:
    """Runs workflows. Thread-safe.

    Args:
        workflows: Which there are.
        models: What their nodes name.
        inputs: Opens what they are asked about.
        predicting: Makes and remembers outputs.
    """

    def __init__(self, workflows: Workflows, models: Runnables, inputs: PredictInputs, predicting: Predicting) -> None:
        self._workflows = workflows
        self._models = models
        self._inputs = inputs
        self._predicting = predicting

    def post(self, call: Call, request: PostWorkflowResultsRequest) -> PostWorkflowResultsResponse:
        """One result per input.

        Raises:
            Failure: WORKFLOW_DOES_NOT_EXIST; PREDICT_INVALID_REQUEST and MODEL_INVALID_ARGUMENT as in
                PostModelOutputs.
        """
        check_count(len(request.inputs), MAX_INPUTS)
        workflow = self._find(call, request)
        nodes = self._models.of_nodes(call, workflow.nodes)
        wanted, each = output_config.of_several(request.output_config, [model.number_of for _, model in nodes])
        asked = self._inputs.ask(call, request.inputs, [model for _, model in nodes])
        answers = [
            self._predicting.answers(call, model, config, asked) for (_, model), config in zip(nodes, each, strict=True)
        ]
        taken = {model.takes for _, model in nodes}
        results = [_result(one, [row[i] for row in answers], nodes, taken) for i, one in enumerate(asked)]
        for row, (node, _) in zip(answers, nodes, strict=True):
            if not node.suppress_output:
                self._predicting.remember(call, row)
        top = summary([result.status for result in results], wanted)
        return PostWorkflowResultsResponse(status=top, workflow=workflow, results=results)

    def _find(self, call: Call, request: PostWorkflowResultsRequest) -> Workflow:
        try:
            found = self._workflows.find(call, request.workflow_id, public_first=request.favor_clarifai_workflows)
            return self._workflows.in_version(call, found, request.version_id)
        except Failure as failure:
            raise Failure(StatusCode.WORKFLOW_DOES_NOT_EXIST, failure.details) from failure


def _result(
    asked: Asked, answers: Sequence[Answer], nodes: Sequence[tuple[WorkflowNode, Runnable]], taken: set[str]
) -> WorkflowResult:
    result = WorkflowResult(id=ids.new_id(), input=asked.echo)
    result.created_at.FromMicroseconds(time.time_ns() // 1000)
    meant = [
        (answer, node)
        for answer, (node, model) in zip(answers, nodes, strict=True)
        if asked.failure is None and model.takes == asked.kind
    ]
    result.status.CopyFrom(_status(asked, [answer.status for answer, _ in meant], taken))
    result.outputs.extend(Output.FromString(answer.message) for answer, node in meant if not node.suppress_output)
    return result


def _status(asked: Asked, said: Sequence[Status], taken: set[str]) -> Status:
    if asked.failure is not None:
        return statuses.of_failure(asked.failure)
    if not said:
        known = " or ".join(sorted(taken)) or "nothing"
        details = f"{asked.where}: no node of the workflow takes a {asked.kind}; they take {known}"
        return statuses.status(StatusCode.INPUT_UNSUPPORTED_FORMAT, details)
    bad = [status for status in said if not statuses.good(status.code)]
    return bad[0] if bad else statuses.status(StatusCode.SUCCESS)
