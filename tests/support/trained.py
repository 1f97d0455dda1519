"""Models of an app's own: made, and trained on its labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from postil.v1.common_pb2 import UserAppIDSet
from postil.v1.concept_pb2 import Concept
from postil.v1.model_pb2 import Model
from postil.v1.model_service_pb2 import GetModelVersionRequest, PostModelsRequest, PostModelVersionsRequest
from postil.v1.status_code_pb2 import StatusCode
from support.waiting import until

Call = Callable[..., Any]
WAIT_SECONDS = 600.0


def create(call: Call, app: UserAppIDSet, model: str, concepts: Sequence[str]) -> None:
    """A classifier of concepts that exclude each other."""
    wanted = Model(id=model, model_type_id="embedding-classifier")
    wanted.output_info.data.concepts.extend(Concept(id=name) for name in concepts)
    wanted.output_info.output_config.concepts_mutually_exclusive = True
    answer = call("PostModels", PostModelsRequest(user_app_id=app, models=[wanted]))
    assert answer.status.code == StatusCode.SUCCESS, answer.status


def train(call: Call, app: UserAppIDSet, model: str) -> str:
    """Trains it and waits; gives the version's id."""
    answer = call("PostModelVersions", PostModelVersionsRequest(user_app_id=app, model_id=model))
    assert answer.status.code == StatusCode.SUCCESS, answer.status
    version = str(answer.model.model_version.id)
    request = GetModelVersionRequest(user_app_id=app, model_id=model, version_id=version)
    until(lambda: call("GetModelVersion", request).model_version.status.code == StatusCode.MODEL_TRAINED, WAIT_SECONDS)
    return version
