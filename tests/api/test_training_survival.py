"""A training and an evaluation outlive the server that they began in; what was learned is learned again to the bit."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from postil.core import training_data
from postil.core.training import fit
from postil.core.training_data import Lesson, Table
from postil.store.sqlite import SqliteStore
from postil.v1.common_pb2 import UserAppIDSet
from postil.v1.evaluation_pb2 import EvalMetrics
from postil.v1.evaluation_service_pb2 import ListModelVersionEvaluationsRequest, PostModelVersionEvaluationsRequest
from postil.v1.input_pb2 import Input
from postil.v1.model_service_pb2 import PostModelOutputsRequest
from postil.v1.status_code_pb2 import StatusCode
from support.learners import BUSY, blobs, create, post, train, trained, version_of, wait
from support.server import OWN, Server
from support.trained import WAIT_SECONDS
from support.waiting import until

StartServer = Callable[..., Server]
APP = UserAppIDSet(user_id="me", app_id="learners")
NAMES = tuple(f"concept {number}" for number in range(8))


def furnished(start_server: StartServer, count: int, dim: int) -> tuple[Server, Callable[..., Any]]:
    server = start_server()
    call = partial(server.call, OWN)
    vectors, classed = blobs(count, dim, len(NAMES), spread=1.5)
    post(call, APP, vectors, [{NAMES[one]: 1.0} for one in classed])
    create(call, APP, *NAMES)
    return server, call


def test_a_killed_training_is_finished_after_the_restart(start_server: StartServer) -> None:
    server, call = furnished(start_server, 768, 64)
    versions = [train(call, APP).model.model_version.id for _ in range(4)]
    state = StatusCode.MODEL_QUEUED_FOR_TRAINING
    while state == StatusCode.MODEL_QUEUED_FOR_TRAINING:
        state = version_of(call, APP, versions[0]).model_version.status.code
    last = version_of(call, APP, versions[-1]).model_version.status.code
    assert last in BUSY, "four trainings take longer than this test waited for the first to begin"
    server.kill9()
    for version in versions:
        assert wait(call, APP, version).status.code == StatusCode.MODEL_TRAINED
    request = PostModelOutputsRequest(user_app_id=APP, model_id="m", inputs=[Input(id="i3")])
    one, other = (
        call("PostModelOutputs", PostModelOutputsRequest(**_as(request, version_id=version)))
        for version in versions[:2]
    )
    assert one.outputs[0].data == other.outputs[0].data


def test_a_killed_evaluation_is_finished_after_the_restart(start_server: StartServer) -> None:
    server, call = furnished(start_server, 768, 64)
    version = trained(call, APP).id
    request = PostModelVersionEvaluationsRequest(user_app_id=APP, model_id="m", model_version_id=version)
    request.eval_metrics.extend(EvalMetrics(id=f"e{number}") for number in range(6))
    assert call("PostModelVersionEvaluations", request).status.code == StatusCode.SUCCESS

    def states() -> set[int]:
        wanted = ListModelVersionEvaluationsRequest(user_app_id=APP, model_id="m", model_version_id=version)
        return {one.status.code for one in call("ListModelVersionEvaluations", wanted).eval_metrics}

    until(lambda: StatusCode.MODEL_EVALUATING in states(), WAIT_SECONDS)
    assert states() - {StatusCode.MODEL_EVALUATED}, "six evaluations take longer than this test waited for the first"
    server.kill9()
    until(lambda: states() == {StatusCode.MODEL_EVALUATED}, WAIT_SECONDS)


def _as(request: PostModelOutputsRequest, **fields: Any) -> dict[str, Any]:
    return {"user_app_id": request.user_app_id, "model_id": request.model_id, "inputs": request.inputs, **fields}


def test_what_was_learned_is_learned_again_to_the_bit(start_server: StartServer) -> None:
    server, call = furnished(start_server, 256, 64)
    version = trained(call, APP)
    before = {one.id: one.value for one in _said(call).data.concepts}
    server.restart()
    assert {one.id: one.value for one in _said(call).data.concepts} == before
    assert server.stop() == 0
    with SqliteStore(server.data_dir) as store:
        queries = store.read()
        record = queries.version(queries.all_spaces()[0].app, version.id)
        assert record is not None
        examples, kept = queries.examples(record.row), queries.heads(record.row)
        assert examples is not None
        assert kept is not None
        assert (len(examples.anchors), len(examples.annotations)) == (256, 256)
        space = next(one for one in queries.all_spaces() if one.row == examples.space)
        rows, vectors = training_data.read_vectors(queries, space, examples.anchors)
        assert np.array_equal(rows, examples.anchors)
        table = Table(examples.anchors, examples.labels, examples.annotations)
        again = fit(Lesson(table, space, vectors), exclusive=kept.exclusive, seed=examples.seed)
    assert again.weights.tobytes() == kept.weights.tobytes()
    assert again.biases.tobytes() == kept.biases.tobytes()


def _said(call: Callable[..., Any]) -> Any:
    request = PostModelOutputsRequest(user_app_id=APP, model_id="m", inputs=[Input(id="i3")])
    return call("PostModelOutputs", request).outputs[0]


def test_the_same_over_json(start_server: StartServer) -> None:
    server, _ = furnished(start_server, 48, 16)
    models = "/v2/users/me/apps/learners/models"
    code, refused = _json(server, models, {"models": [{"id": "m"}]})
    assert (code, refused["status"]["code"]) == (400, StatusCode.DATABASE_DUPLICATE_KEY)
    code, refused = _json(server, f"{models}/m/outputs", {"inputs": [{"id": "i1"}]})
    assert (code, refused["status"]["code"]) == (400, StatusCode.MODEL_UNTRAINED)
    code, refused = _json(server, models, {"models": [{"id": "empty"}]})
    assert code == 200
    code, refused = _json(server, f"{models}/empty/versions", {})
    assert (code, refused["status"]["code"]) == (400, StatusCode.MODEL_INVALID_ARGUMENT)
    code, started = _json(server, f"{models}/m/versions", {})
    assert (code, started["model"]["model_version"]["status"]["code"]) == (200, StatusCode.MODEL_QUEUED_FOR_TRAINING)
    version = started["model"]["model_version"]["id"]
    assert wait(partial(server.call, OWN), APP, version).status.code == StatusCode.MODEL_TRAINED
    _, info = _json(server, f"{models}/m/output_info")
    assert [one["id"] for one in info["model"]["output_info"]["data"]["concepts"]] == list(NAMES)
    code, answer = _json(server, f"{models}/m/versions/{version}/outputs", {"inputs": [{"id": "i1"}]})
    assert (code, answer["outputs"][0]["data"]["concepts"][0]["id"]) == (200, NAMES[1])


def _json(server: Server, path: str, body: Any = None) -> tuple[int, Any]:
    """(HTTP status, reply) of a GET, or of a POST when there is a body."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(server.http + path, data, {"Authorization": "Key any"})
    try:
        with urllib.request.urlopen(request, timeout=30) as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)
