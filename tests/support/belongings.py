"""One thing of each kind in an app, all of them marked: what nobody else may see, read or change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from postil.v1 import dataset_service_pb2 as datasets
from postil.v1.annotation_pb2 import Annotation
from postil.v1.annotation_service_pb2 import PostAnnotationsRequest
from postil.v1.common_pb2 import UserAppIDSet
from postil.v1.concept_pb2 import Concept
from postil.v1.data_pb2 import Data, Embedding, Text
from postil.v1.dataset_pb2 import Dataset, DatasetInput, DatasetVersion
from postil.v1.evaluation_pb2 import EvalMetrics
from postil.v1.evaluation_service_pb2 import PostModelVersionEvaluationsRequest
from postil.v1.feedback_service_pb2 import ListFeedbackRequest, PostSearchFeedbackRequest
from postil.v1.input_pb2 import EventType, Input
from postil.v1.input_service_pb2 import PostInputsRequest
from postil.v1.model_pb2 import Model, ModelVersion
from postil.v1.search_pb2 import AnnotationFilter, Filter, Query, Rank, Search
from postil.v1.search_service_pb2 import PostAnnotationFiltersRequest, PostAnnotationsSearchesRequest
from postil.v1.workflow_pb2 import Workflow
from postil.v1.workflow_service_pb2 import PostWorkflowsRequest
from support.trained import create, train

MARKER = "nobody-else-may-read-this"
MODEL = "their-model"
Call = Callable[..., Any]


def fill(call: Call, place: UserAppIDSet) -> dict[str, str]:
    """Fills an app; the ids of what was made, by kind.

    Args:
        call: Calls an RPC by name with a token of the app's user, and gives an answer that went well.
        place: The app, which is empty.
    """
    ids = {"input": "their-input", "annotation": "their-annotation", "concept": "their-concept"} | {
        kind: f"their-{kind}" for kind in ("search", "filter", "dataset", "dataset_version", "workflow", "job")
    }
    ids["ran"] = _labels_and_searches(call, place)
    ids["feedback"] = _feedback(call, place, ids["ran"])
    _dataset(call, place)
    ids |= {"model": MODEL, "model_version": _model(call, place), "evaluation": "their-evaluation"}
    wanted = EvalMetrics(id=ids["evaluation"])
    request = PostModelVersionEvaluationsRequest(
        user_app_id=place, model_id=MODEL, model_version_id=ids["model_version"], eval_metrics=[wanted]
    )
    call("PostModelVersionEvaluations", request)
    ids["workflow_version"] = _workflow(call, place, ids["model_version"])
    return ids


def _labels_and_searches(call: Call, place: UserAppIDSet) -> str:
    """The id of a search that ran."""
    data = Data(text=Text(raw=MARKER), concepts=[Concept(id="their-concept", name=MARKER, value=1)])
    posted = PostInputsRequest(user_app_id=place, inputs_add_job_id="their-job")
    posted.inputs.add(id="their-input", data=data)
    call("PostInputs", posted)
    label = Annotation(id="their-annotation", input_id="their-input", data=Data(concepts=data.concepts))
    call("PostAnnotations", PostAnnotationsRequest(user_app_id=place, annotations=[label]))
    wanted = Annotation(data=Data(concepts=[Concept(id="their-concept", value=1)]))
    query = Query(ranks=[Rank(annotation=wanted)], filters=[Filter(annotation=wanted)])
    once = PostAnnotationsSearchesRequest(user_app_id=place, searches=[Search(query=query)])
    ran = call("PostAnnotationsSearches", once)
    kept = Search(id="their-search", save=True, query=query)
    call("PostAnnotationsSearches", PostAnnotationsSearchesRequest(user_app_id=place, searches=[kept]))
    narrow = AnnotationFilter(id="their-filter", search=Search(query=Query(filters=query.filters)))
    call("PostAnnotationFilters", PostAnnotationFiltersRequest(user_app_id=place, annotation_filters=[narrow]))
    return str(ran.id)


def _feedback(call: Call, place: UserAppIDSet, search: str) -> str:
    click = Input(id="their-input")
    click.feedback_info.event_type = EventType.search_click
    click.feedback_info.search_id, click.feedback_info.end_user_id = search, MARKER
    call("PostSearchFeedback", PostSearchFeedbackRequest(user_app_id=place, input=click))
    listed = call("ListFeedback", ListFeedbackRequest(user_app_id=place))
    return str(listed.feedback[0].id)


def _dataset(call: Call, place: UserAppIDSet) -> None:
    made = Dataset(id="their-dataset", description=MARKER)
    call("PostDatasets", datasets.PostDatasetsRequest(user_app_id=place, datasets=[made]))
    member = DatasetInput(input=Input(id="their-input"))
    call(
        "PostDatasetInputs",
        datasets.PostDatasetInputsRequest(user_app_id=place, dataset_id=made.id, dataset_inputs=[member]),
    )
    version = DatasetVersion(id="their-dataset_version", description=MARKER)
    call(
        "PostDatasetVersions",
        datasets.PostDatasetVersionsRequest(user_app_id=place, dataset_id=made.id, dataset_versions=[version]),
    )


def _model(call: Call, place: UserAppIDSet) -> str:
    """Trains a model; the id of its version."""
    items = []
    for number in range(12):
        side = number % 2
        vector = [1.0 - side, float(side), 0.01 * number, 0.3]
        name = ("their-concept", "their-other")[side]
        items.append(Input(data=Data(embeddings=[Embedding(vector=vector)], concepts=[Concept(id=name, value=1)])))
    call("PostInputs", PostInputsRequest(user_app_id=place, inputs=items))
    create(call, place, MODEL, ["their-concept", "their-other"])
    return train(call, place, MODEL)


def _workflow(call: Call, place: UserAppIDSet, version: str) -> str:
    flow = Workflow(id="their-workflow")
    flow.nodes.add(id="node", model=Model(id=MODEL, model_version=ModelVersion(id=version)))
    answer = call("PostWorkflows", PostWorkflowsRequest(user_app_id=place, workflows=[flow]))
    return str(answer.workflows[0].version.id)
