"""A user's program for the published client, run by its own Python: predicts, and ranks by what was predicted.

    predict_grpc.py HOST PORT FOLDER

Asks the public general model (by the id that old samples carry) and the General workflow about the pictures of FOLDER,
adds them, and ranks them by a concept of the general model. Prints one JSON object.
"""

import json
import pathlib
import sys
from typing import Any

from clarifai_grpc.channel.clarifai_channel import ClarifaiChannel
from clarifai_grpc.grpc.api import resources_pb2, service_pb2, service_pb2_grpc

GENERAL = "aaa03c23b3724a16a56b629203edc62c"
PUBLIC = resources_pb2.UserAppIDSet(user_id="clarifai", app_id="main")
METADATA = (("authorization", "Key any-word"),)


def inputs(pictures: list[pathlib.Path]) -> list[resources_pb2.Input]:
    return [
        resources_pb2.Input(id=path.stem, data=resources_pb2.Data(image=resources_pb2.Image(base64=path.read_bytes())))
        for path in pictures
    ]


def predict(stub: Any, pictures: list[pathlib.Path], **fields: Any) -> dict[str, Any]:
    request = service_pb2.PostModelOutputsRequest(
        user_app_id=PUBLIC, model_id=GENERAL, inputs=inputs(pictures), **fields
    )
    response = stub.PostModelOutputs(request, metadata=METADATA)
    said = {output.input.id: [concept.name for concept in output.data.concepts] for output in response.outputs}
    return {"code": response.status.code, "said": said}


def main(host: str, port: str, folder: str) -> None:
    stub = service_pb2_grpc.V2Stub(ClarifaiChannel.get_insecure_grpc_channel(host, int(port)))
    pictures = sorted(pathlib.Path(folder).iterdir())
    report: dict[str, Any] = {"outputs": predict(stub, pictures)}
    config = resources_pb2.OutputConfig(max_concepts=1)
    model = resources_pb2.Model(model_version=resources_pb2.ModelVersion())
    model.model_version.output_info.output_config.CopyFrom(config)
    report["one"] = predict(stub, pictures, model=model)
    info = stub.GetModelOutputInfo(service_pb2.GetModelRequest(user_app_id=PUBLIC, model_id=GENERAL), metadata=METADATA)
    report["known"] = len(info.model.output_info.data.concepts)
    run = service_pb2.PostWorkflowResultsRequest(
        user_app_id=PUBLIC, workflow_id="General", inputs=inputs(pictures), output_config=config
    )
    results = stub.PostWorkflowResults(run, metadata=METADATA)
    report["workflow"] = {
        "code": results.status.code,
        "outputs": [[output.model.model_type_id for output in result.outputs] for result in results.results],
    }
    added = stub.PostInputs(service_pb2.PostInputsRequest(inputs=inputs(pictures)), metadata=METADATA)
    rank = resources_pb2.Rank()
    rank.annotation.data.concepts.add(name="cat", value=1)
    search = resources_pb2.Search(query=resources_pb2.Query(ranks=[rank]))
    found = stub.PostInputsSearches(service_pb2.PostInputsSearchesRequest(searches=[search]), metadata=METADATA)
    report["rank"] = {"code": found.status.code, "added": added.status.code, "hits": [h.input.id for h in found.hits]}
    print(json.dumps(report))


if __name__ == "__main__":
    main(*sys.argv[1:])
