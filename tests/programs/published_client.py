"""A user's program for the published client, run by its own Python: labels a picture and finds it in four ways.

    published_client.py HOST PORT FOLDER URL

Posts the pictures of FOLDER (PORT 0: the client's own default), annotates the first, and searches for it by URL, bytes,
input id and concept. Prints one JSON object: for each step its status code, the codes of its items, and the hits.
"""

import json
import pathlib
import sys
import time
from typing import Any

from clarifai_grpc.channel.clarifai_channel import ClarifaiChannel
from clarifai_grpc.grpc.api import resources_pb2, service_pb2, service_pb2_grpc
from clarifai_grpc.grpc.api.status import status_code_pb2


def open_channel(host: str, port: int) -> Any:
    return (
        ClarifaiChannel.get_insecure_grpc_channel(host, port)
        if port
        else ClarifaiChannel.get_insecure_grpc_channel(host)
    )


class Program:
    """One user with one app."""

    def __init__(self, channel: Any) -> None:
        self.stub = service_pb2_grpc.V2Stub(channel)
        self.metadata = (("authorization", "Key any-word"),)
        self.report: dict[str, Any] = {}

    def note(self, step: str, response: Any, items: Any = ()) -> None:
        self.report[step] = {
            "code": response.status.code,
            "text": f"{response.status.description} {response.status.details}",
            "items": [item.status.code for item in items],
        }

    def embedder(self) -> str:
        """The id of the version of a picture embedder, learnt as a user would: from the public models."""
        public = resources_pb2.UserAppIDSet(user_id="clarifai", app_id="main")
        response = self.stub.ListModels(service_pb2.ListModelsRequest(user_app_id=public), metadata=self.metadata)
        self.note("models", response)
        return str(next(m.model_version.id for m in response.models if m.model_type_id == "visual-embedder"))

    def upload(self, pictures: list[pathlib.Path]) -> None:
        inputs = [
            resources_pb2.Input(
                id=path.stem, data=resources_pb2.Data(image=resources_pb2.Image(base64=path.read_bytes()))
            )
            for path in pictures
        ]
        response = self.stub.PostInputs(service_pb2.PostInputsRequest(inputs=inputs), metadata=self.metadata)
        self.note("upload", response, response.inputs)
        for path in pictures:
            self.wait(path.stem)

    def wait(self, input_id: str) -> None:
        """Polls as the vendor's samples do."""
        for _ in range(600):
            request = service_pb2.GetInputRequest(input_id=input_id)
            code = self.stub.GetInput(request, metadata=self.metadata).input.status.code
            if code not in {status_code_pb2.INPUT_DOWNLOAD_PENDING, status_code_pb2.INPUT_DOWNLOAD_IN_PROGRESS}:
                break
            time.sleep(0.1)
        self.report.setdefault("processed", []).append(code)

    def annotate(self, input_id: str, embedder: str) -> None:
        """The annotations page: what is in the picture, and what is not."""
        seen = [resources_pb2.Concept(id="tree", value=1.0), resources_pb2.Concept(id="water", value=0.0)]
        annotation = resources_pb2.Annotation(
            input_id=input_id, data=resources_pb2.Data(concepts=seen), embed_model_version_id=embedder
        )
        request = service_pb2.PostAnnotationsRequest(annotations=[annotation])
        response = self.stub.PostAnnotations(request, metadata=self.metadata)
        self.note("annotate", response, response.annotations)

    def search(self, step: str, annotation: resources_pb2.Annotation) -> None:
        """The rank page."""
        query = resources_pb2.Query(ranks=[resources_pb2.Rank(annotation=annotation)])
        request = service_pb2.PostAnnotationsSearchesRequest(searches=[resources_pb2.Search(query=query)])
        response = self.stub.PostAnnotationsSearches(request, metadata=self.metadata)
        self.note(step, response)
        self.report[step]["hits"] = [[hit.input.id, hit.score, hit.input.data.image.url] for hit in response.hits]
        self.report[step]["annotations"] = [hit.annotation.id for hit in response.hits]


def main(host: str, port: str, folder: str, url: str) -> None:
    program = Program(open_channel(host, int(port)))
    pictures = sorted(pathlib.Path(folder).iterdir())
    wanted = pictures[0]
    program.upload(pictures)
    program.annotate(wanted.stem, program.embedder())
    by_url = resources_pb2.Data(image=resources_pb2.Image(url=url))
    by_bytes = resources_pb2.Data(image=resources_pb2.Image(base64=wanted.read_bytes()))
    by_label = resources_pb2.Data(concepts=[resources_pb2.Concept(id="tree", value=1)])
    program.search("by_url", resources_pb2.Annotation(data=by_url))
    program.search("by_bytes", resources_pb2.Annotation(data=by_bytes))
    program.search("by_input", resources_pb2.Annotation(input_id=wanted.stem))
    program.search("by_concept", resources_pb2.Annotation(data=by_label))
    print(json.dumps(program.report))


if __name__ == "__main__":
    main(*sys.argv[1:])
