"""A user's program for the SDK (PyPI clarifai 12.x), run by its own Python: a model from labels to ranks.

    train_sdk_12.py BASE_URL FOLDER

BASE_URL is the gRPC door's. Uploads the pictures of FOLDER, labels them by their names, creates a model, trains it,
asks it and ranks by it. Prints one JSON object.
"""

import json
import pathlib
import sys
import tempfile
import time
from typing import Any

from clarifai.client.app import App
from clarifai.client.search import Search
from clarifai.client.user import User

WHO = {"user_id": "postil", "pat": "any-word"}


def main(base: str, folder: str) -> None:
    report: dict[str, Any] = {}
    app: App = User(base_url=base, **WHO).create_app(app_id="sdk", base_workflow="Universal")
    paths = sorted(pathlib.Path(folder).iterdir())
    inputs = app.inputs()
    for path in paths:
        inputs.upload_from_bytes(input_id=path.stem, image_bytes=path.read_bytes(), labels=[f"my {path.stem}"])
    while {one.status.code for one in inputs.list_inputs()} != {30000}:
        time.sleep(0.1)
    model = app.create_model("mine", model_type_id="embedding-classifier")
    report["types"] = "embedding-classifier" in app.list_trainable_model_types()
    settings = pathlib.Path(tempfile.mkdtemp()) / "params.yaml"
    report["params"] = model.get_params(save_to=str(settings))
    concepts = [concept.id for concept in app.list_concepts()]
    model.update_params(concepts=[concept for concept in concepts if concept.startswith("my ")])
    version = model.train()
    model = app.model("mine", model_version={"id": version})
    report["states"] = [model.training_status(version_id=version).code]
    while model.training_status(version_id=version).code in {21101, 21103}:
        time.sleep(0.1)
    report["states"].append(model.training_status(version_id=version).code)
    report["said"] = {}
    for path in paths:
        said = model.predict_by_bytes(path.read_bytes(), "image")
        report["said"][path.stem] = said.outputs[0].data.concepts[0].id
    said = app.model("mine").predict_by_filepath(str(paths[0]), "image", output_config={"max_concepts": 1})
    report["first"] = [concept.id for concept in said.outputs[0].data.concepts]
    search = Search(app_id="sdk", top_k=3, metric="euclidean", base_url=base, **WHO)
    pages = search.query(ranks=[{"concepts": [{"id": f"my {paths[0].stem}", "value": 1}]}])
    report["rank"] = [hit.input.id for page in pages for hit in page.hits]
    report["versions"] = [one.model_version.id == version for one in model.list_versions()]
    report["models"] = [one.id for one in app.list_models()]
    print(json.dumps(report))


if __name__ == "__main__":
    main(*sys.argv[1:])
