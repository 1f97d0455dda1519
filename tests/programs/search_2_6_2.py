"""A user's program for the REST client of 2019 (PyPI clarifai 2.6.2), run by its own Python: searches and predictions.

    search_2_6_2.py BASE_URL FOLDER URL

Uploads the pictures of FOLDER and the one at URL, finds them by every search the client has, and predicts by every way
it has to name a model and a picture. Deletes everything at the end. Prints one JSON object with what it saw.
"""

import base64
import json
import pathlib
import sys
import time
from typing import Any

from clarifai.rest import (
    ClarifaiApp,
    Concept,
    Geo,
    GeoBox,
    GeoLimit,
    GeoPoint,
    Image,
    InputSearchTerm,
    OutputSearchTerm,
    SearchQueryBuilder,
)
from clarifai.rest.client import ApiError

LABELS = {"chelsea": (["cat", "animal"], ["dog"]), "coffee": (["cup"], ["cat"]), "rocket": (["rocket"], ["cat"])}
PLACES = {"chelsea": (-73.9, 40.7), "coffee": (2.3, 48.8), "rocket": (-80.6, 28.4)}


def upload(app: Any, folder: pathlib.Path, url: str) -> None:
    for path in sorted(folder.iterdir()):
        concepts, absent = LABELS[path.stem]
        app.inputs.create_image_from_filename(
            str(path), image_id=path.stem, concepts=concepts, not_concepts=absent,
            metadata={"name": path.stem, "shelf": {"row": len(path.stem)}}, geo=Geo(GeoPoint(*PLACES[path.stem])),
        )  # fmt: skip
    app.inputs.create_image_from_url(url, image_id="by-url")
    while app.inputs.check_status().to_process:  # the client's own wait does not wait
        time.sleep(0.1)


def ids(images: Any) -> list[str]:
    return [image.input_id for image in images]


def by_image(inputs: Any, cat: pathlib.Path, url: str) -> dict[str, Any]:
    content = cat.read_bytes()
    text = base64.b64encode(content)
    with cat.open("rb") as opened:
        by_file = ids(inputs.search_by_image(fileobj=opened))
    raw = inputs.search_by_image(image_id="chelsea", per_page=2, page=2, raw=True)
    return {
        "by id": ids(inputs.search_by_image(image_id="chelsea")),
        "by url": ids(inputs.search_by_image(url=url)),
        "by bytes": ids(inputs.search_by_image(imgbytes=content)),
        "by base64": ids(inputs.search_by_image(base64bytes=text)),
        "by file": by_file,
        "by filename": ids(inputs.search_by_image(filename=str(cat))),
        "by image": ids(inputs.search_by_image(image=Image(url=url))),
        "cropped": ids(inputs.search_by_image(url=url, crop=[0.0, 0.0, 1.0, 1.0])),
        "scores": [image.score for image in inputs.search_by_image(image_id="chelsea")],
        "second page": [hit["input"]["id"] for hit in raw["hits"]],
    }


def by_what_is_said(inputs: Any, url: str) -> dict[str, Any]:
    near, box = GeoPoint(-73.9, 40.7), GeoBox(GeoPoint(0, 45), GeoPoint(10, 50))
    return {
        "original url": ids(inputs.search_by_original_url(url)),
        "labelled": ids(inputs.search_by_annotated_concepts(concept="cat")),
        "labelled by id": ids(inputs.search_by_annotated_concepts(concept_id="animal")),
        "labelled absent": sorted(ids(inputs.search_by_annotated_concepts(concept="cat", value=False))),
        "labelled both": ids(inputs.search_by_annotated_concepts(concepts=["cup", "cat"], values=[True, False])),
        "labelled ids": ids(inputs.search_by_annotated_concepts(concept_ids=["cat", "dog"], values=[True, False])),
        "metadata": ids(inputs.search_by_metadata({"name": "coffee"})),
        "nested": ids(inputs.search_by_metadata({"shelf": {"row": 7}})),
        "no metadata": ids(inputs.search_by_metadata({"name": "tea"})),
        "near": ids(inputs.search_by_geo(near)),
        "far": sorted(ids(inputs.search_by_geo(near, GeoLimit("kilometer", 3000)))),
        "box": ids(inputs.search_by_geo(geo_box=box)),
    }


def by_prediction(app: Any) -> dict[str, Any]:
    inputs = app.inputs
    return {
        "predicted": ids(inputs.search_by_predicted_concepts(concept="cat")),
        "predicted id": ids(inputs.search_by_predicted_concepts(concept_id="cat")),
        "predicted absent": ids(inputs.search_by_predicted_concepts(concept="cat", value=False)),
        "predicted both": ids(inputs.search_by_predicted_concepts(concepts=["cup", "cat"], values=[True, False])),
    }


def combined(inputs: Any) -> list[str]:
    """Looks like the cat, is labelled, and lies far away."""
    builder = SearchQueryBuilder()
    builder.add_term(OutputSearchTerm(input_id="chelsea"))
    builder.add_term(InputSearchTerm(concept="cat", value=False))
    builder.add_term(InputSearchTerm(metadata={"name": "coffee"}))
    return ids(inputs.search(builder))


def predictions(app: Any, cat: pathlib.Path, url: str) -> dict[str, Any]:
    content = cat.read_bytes()
    by_name, by_id = app.models.get("general-v1.3"), app.models.get(model_id="aaa03c23b3724a16a56b629203edc62c")
    replies = {
        "url": by_name.predict_by_url(url),
        "bytes": by_name.predict_by_bytes(content),
        "filename": by_name.predict_by_filename(str(cat)),
        "base64": by_name.predict_by_base64(base64.b64encode(content)),
        "id": by_id.predict_by_filename(str(cat)),
        "today's id": app.models.get("general-image-recognition").predict_by_url(url),
        "public": app.public_models.general_model.predict_by_url(url),
        "several": by_id.predict([Image(filename=str(cat)), Image(url=url)]),
        "few": by_id.predict_by_url(url, max_concepts=2),
        "sure": by_id.predict_by_url(url, min_value=0.2),
        "chosen": by_id.predict_by_url(url, select_concepts=[Concept(concept_id="cat"), Concept(concept_id="dog")]),
        "tags": app.tag_urls([url]),
    }
    embedding = app.models.get("general-image-embedding", model_type="embed").predict_by_url(url)
    return {
        **{name: [_concepts(output) for output in reply["outputs"]] for name, reply in replies.items()},
        "embedding": len(embedding["outputs"][0]["data"]["embeddings"][0]["vector"]),
    }


def _concepts(output: Any) -> list[Any]:
    return [[concept["id"], concept["value"]] for concept in output["data"]["concepts"]]


def refused(call: Any, *arguments: Any) -> list[int]:
    """HTTP status and status code of a refusal."""
    try:
        call(*arguments)
    except ApiError as error:
        return [error.response.status_code, json.loads(error.response.content)["status"]["code"]]
    return []


def main(base: str, folder: str, url: str) -> None:
    app = ClarifaiApp(api_key="any-word", base_url=base)
    cat = pathlib.Path(folder) / "chelsea.png"
    upload(app, pathlib.Path(folder), url)
    report = {
        "image": by_image(app.inputs, cat, url),
        "said": by_what_is_said(app.inputs, url),
        "prediction": by_prediction(app),
        "combined": combined(app.inputs),
        "predictions": predictions(app, cat, url),
        "no model": refused(app.models.get(model_id="no-such-model").predict_by_url, url),
        "no input": refused(app.inputs.search_by_image, "no-such-input"),
        "everything": app.inputs.delete_all().code,
    }
    app.wait_until_inputs_delete_finish()
    report["left"] = ids(app.inputs.get_all())
    report["no models"] = app.models.delete_all()["status"]["code"]
    print(json.dumps(report))


if __name__ == "__main__":
    main(*sys.argv[1:])
