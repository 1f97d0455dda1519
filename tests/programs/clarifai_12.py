"""A user's program for the SDK (PyPI clarifai 12.x), run by its own Python.

    clarifai_12.py BASE_URL FOLDER URL

BASE_URL is the gRPC door's. Makes an app, uploads pictures and text, labels them, lists, searches, deletes. Prints one
JSON object.
"""

import json
import pathlib
import sys
from typing import Any

from clarifai.client.app import App
from clarifai.client.input import Inputs
from clarifai.client.search import Search
from clarifai.client.user import User

WHO = {"user_id": "postil", "pat": "any-word"}


def main(base: str, folder: str, url: str) -> None:
    report: dict[str, Any] = {}
    app = User(base_url=base, **WHO).create_app(app_id="sdk", base_workflow="Universal")
    report["app"] = app.id
    report["apps"] = sorted(one.id for one in User(base_url=base, **WHO).list_apps())
    inputs = Inputs(app_id="sdk", base_url=base, **WHO)
    paths = sorted(pathlib.Path(folder).iterdir())
    for path in paths:
        inputs.upload_from_bytes(input_id=path.stem, image_bytes=path.read_bytes(), labels=["photo", path.stem])
    inputs.upload_from_url(input_id="by-url", image_url=url)
    inputs.upload_text(input_id="text", raw_text="a cup of coffee")
    report["inputs"] = sorted([one.id, one.status.code] for one in inputs.list_inputs())
    first = paths[0].stem
    box = inputs.get_bbox_proto(first, "ear", [0.1, 0.1, 0.5, 0.5])
    inputs.upload_annotations(batch_annot=[box])
    found = list(inputs.list_annotations(batch_input=[inputs.get_input(first)]))
    report["annotations"] = sorted(
        concept.id for one in found for region in one.data.regions for concept in region.data.concepts
    )
    report["concepts"] = sorted(one.id for one in App(app_id="sdk", base_url=base, **WHO).list_concepts())
    search = Search(app_id="sdk", top_k=3, metric="euclidean", base_url=base, **WHO)
    pages = search.query(ranks=[{"image_url": url}])
    report["search"] = [[hit.input.id, round(hit.score, 3)] for page in pages for hit in page.hits]
    inputs.delete_inputs([one for one in inputs.list_inputs() if one.id == "by-url"])
    report["left"] = sorted(one.id for one in inputs.list_inputs())
    print(json.dumps(report))


if __name__ == "__main__":
    main(*sys.argv[1:])
