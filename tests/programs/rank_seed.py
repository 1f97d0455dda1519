"""A user's program for PyPI clarifai-grpc: every search of the documentation's page on ranks. Only the channel differs.

    rank_seed.py HOST PORT PICTURE_URL PICTURE_FILE INPUT_ID

Prints one JSON object: for each search its status code and its hits.
"""

import json
import pathlib
import sys
from typing import Any

from clarifai_grpc.channel.clarifai_channel import ClarifaiChannel
from clarifai_grpc.grpc.api import resources_pb2, service_pb2, service_pb2_grpc


def rank(input_id: str = "", **data: Any) -> Any:
    return resources_pb2.Rank(annotation=resources_pb2.Annotation(input_id=input_id, data=resources_pb2.Data(**data)))


def concept(**fields: Any) -> Any:
    return rank(concepts=[resources_pb2.Concept(**fields)])


def main() -> None:
    host, port, url, file, input_id = sys.argv[1:]
    stub = service_pb2_grpc.V2Stub(ClarifaiChannel.get_insecure_grpc_channel(host, int(port)))
    picture = resources_pb2.Image(base64=pathlib.Path(file).read_bytes())
    searches = {
        "custom": [concept(id="people", value=1)],
        "by_name": [concept(name="people", value=1)],
        "two_custom": [concept(id="people", value=1), concept(id="cat", value=1)],
        "labelled_and_not_predicted": [concept(id="cat", value=1), concept(id="dog", value=0)],
        "japanese": [concept(name="犬", language="ja", value=1)],
        "url": [rank(image=resources_pb2.Image(url=url))],
        "bytes": [rank(image=picture)],
        "input": [resources_pb2.Rank(annotation=resources_pb2.Annotation(input_id=input_id))],
    }
    report = {}
    for name, ranks in searches.items():
        query = resources_pb2.Query(ranks=ranks)
        request = service_pb2.PostAnnotationsSearchesRequest(searches=[resources_pb2.Search(query=query)])
        response = stub.PostAnnotationsSearches(request, metadata=(("authorization", "Key any-word"),))
        hits = [{"score": hit.score, "input": hit.input.id, "annotation": hit.annotation.id} for hit in response.hits]
        report[name] = {"code": response.status.code, "details": response.status.details, "hits": hits}
    print(json.dumps(report))


main()
