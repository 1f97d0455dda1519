"""A user's program for the published gRPC client, run by its own Python: a model from labels to ranks.

    train_grpc.py HOST PORT FOLDER

Adds the pictures of FOLDER, labels them by their names, creates a model, trains it, asks it and ranks by it. Prints one
JSON object.
"""

import json
import pathlib
import sys
import time

from clarifai_grpc.channel.clarifai_channel import ClarifaiChannel
from clarifai_grpc.grpc.api import resources_pb2, service_pb2, service_pb2_grpc

METADATA = (("authorization", "Key any-word"),)


def main(host: str, port: str, folder: str) -> None:
    stub = service_pb2_grpc.V2Stub(ClarifaiChannel.get_insecure_grpc_channel(host, int(port)))
    pictures = sorted(pathlib.Path(folder).iterdir())
    inputs = [resources_pb2.Input(id=path.stem) for path in pictures]
    for item, path in zip(inputs, pictures, strict=True):
        item.data.image.base64 = path.read_bytes()
        item.data.concepts.add(id=f"my {path.stem}", value=1)
    added = stub.PostInputs(service_pb2.PostInputsRequest(inputs=inputs), metadata=METADATA)
    ready = service_pb2.ListInputsRequest()
    while {one.status.code for one in stub.ListInputs(ready, metadata=METADATA).inputs} != {30000}:
        time.sleep(0.1)
    model = resources_pb2.Model(id="mine")
    model.output_info.data.concepts.extend(resources_pb2.Concept(id=f"my {path.stem}") for path in pictures)
    made = stub.PostModels(service_pb2.PostModelsRequest(models=[model]), metadata=METADATA)
    started = stub.PostModelVersions(service_pb2.PostModelVersionsRequest(model_id="mine"), metadata=METADATA)
    ask = service_pb2.GetModelVersionRequest(model_id="mine", version_id=started.model.model_version.id)
    while (version := stub.GetModelVersion(ask, metadata=METADATA).model_version).status.code in {21101, 21103}:
        time.sleep(0.1)
    request = service_pb2.PostModelOutputsRequest(model_id="mine", inputs=inputs)
    said = stub.PostModelOutputs(request, metadata=METADATA)
    rank = resources_pb2.Rank()
    rank.annotation.data.concepts.add(id="my chelsea", value=1)
    search = resources_pb2.Search(query=resources_pb2.Query(ranks=[rank]))
    found = stub.PostInputsSearches(service_pb2.PostInputsSearchesRequest(searches=[search]), metadata=METADATA)
    report = {
        "codes": [added.status.code, made.status.code, started.status.code, said.status.code, found.status.code],
        "states": [made.model.model_version.status.code, version.status.code],
        "said": {output.input.id: output.data.concepts[0].id for output in said.outputs},
        "rank": [hit.input.id for hit in found.hits],
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main(*sys.argv[1:])
