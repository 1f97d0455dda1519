"""A user's program for the JSON channel of clarifai-grpc, run by its own Python.

    clarifai_json.py BASE_URL FOLDER URL

The same stub as over gRPC, over HTTP: uploads, labels, lists, searches, patches, deletes. Prints one JSON object.
"""

import json
import pathlib
import sys
from typing import Any

from clarifai_grpc.channel.clarifai_channel import ClarifaiChannel
from clarifai_grpc.grpc.api import resources_pb2, service_pb2, service_pb2_grpc
from google.protobuf.json_format import MessageToDict

APP = resources_pb2.UserAppIDSet(user_id="me", app_id="json-channel")
METADATA = (("authorization", "Key any-word"),)


def main(base: str, folder: str, url: str) -> None:
    stub = service_pb2_grpc.V2Stub(ClarifaiChannel.get_json_channel(base))
    report: dict[str, Any] = {}

    def call(step: str, rpc: str, **fields: Any) -> Any:
        request = getattr(service_pb2, f"{rpc}Request")(user_app_id=APP, **fields)
        response = getattr(stub, rpc)(request, metadata=METADATA)
        report[step] = MessageToDict(response, preserving_proto_field_name=True)
        report[step]["code"] = response.status.code
        return response

    images = [
        (path.stem, resources_pb2.Image(base64=path.read_bytes())) for path in sorted(pathlib.Path(folder).iterdir())
    ]
    images.append(("by-url", resources_pb2.Image(url=url, allow_duplicate_url=True)))
    labels = [resources_pb2.Concept(id="cat", value=1), resources_pb2.Concept(id="dog", value=0)]
    inputs = [resources_pb2.Input(id=name, data=resources_pb2.Data(image=image)) for name, image in images]
    inputs[0].data.concepts.extend(labels)
    first = inputs[0].id
    call("upload", "PostInputs", inputs=inputs)
    call("got", "GetInput", input_id=first)
    call("page", "ListInputs", page=1, per_page=2)
    box = resources_pb2.BoundingBox(top_row=0, left_col=0, bottom_row=0.5, right_col=0.5)
    region = resources_pb2.Region(region_info=resources_pb2.RegionInfo(bounding_box=box))
    region.data.concepts.add(id="ear", value=1)
    annotation = resources_pb2.Annotation(input_id=first, data=resources_pb2.Data(regions=[region]))
    made = call("annotate", "PostAnnotations", annotations=[annotation]).annotations[0].id
    call("annotation", "GetAnnotation", input_id=first, annotation_id=made)
    call("annotations", "ListAnnotations", input_ids=[first], list_all_annotations=True)
    rank = resources_pb2.Rank(annotation=resources_pb2.Annotation(input_id=first))
    search = resources_pb2.Search(query=resources_pb2.Query(ranks=[rank]))
    call("search", "PostAnnotationsSearches", searches=[search])
    call("searched inputs", "PostInputsSearches", searches=[search])
    patched = resources_pb2.Input(
        id=first, data=resources_pb2.Data(concepts=[resources_pb2.Concept(id="lion", value=1)])
    )
    call("patched", "PatchInputs", action="overwrite", inputs=[patched])
    call("concept", "PostConcepts", concepts=[resources_pb2.Concept(id="tree", name="A tree")])
    call("concepts", "ListConcepts")
    call("models", "ListModels")
    call("removed", "DeleteAnnotation", input_id=first, annotation_id=made)
    call("deleted", "DeleteInputs", ids=[first])
    call("gone", "GetInput", input_id=first)
    print(json.dumps(report))


if __name__ == "__main__":
    main(*sys.argv[1:])
