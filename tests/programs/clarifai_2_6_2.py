"""A user's program for the REST client of 2019 (PyPI clarifai 2.6.2), run by its own Python.

    clarifai_2_6_2.py BASE_URL FOLDER URL

Uploads the pictures of FOLDER and the one at URL, labels, lists, counts, patches and deletes them; makes and finds
concepts; reads models. Prints one JSON object with what it saw.
"""

import json
import pathlib
import sys
from typing import Any

from clarifai.rest import ClarifaiApp, Geo, GeoPoint, Image
from clarifai.rest.client import ApiError


def seen(image: Any) -> dict[str, Any]:
    """What the client made of a reply about an input."""
    return {
        "id": image.input_id,
        "url": image.url,
        "concepts": image.concepts,
        "not_concepts": image.not_concepts,
        "metadata": image.metadata,
        "status": image.status.code,
    }


def refused(call: Any, *arguments: Any) -> list[int]:
    """HTTP status and status code of a refusal."""
    try:
        call(*arguments)
    except ApiError as error:
        return [error.response.status_code, json.loads(error.response.content)["status"]["code"]]
    return []


def main(base: str, folder: str, url: str) -> None:
    app = ClarifaiApp(api_key="any-word", base_url=base)
    report: dict[str, Any] = {}
    first, *others = sorted(pathlib.Path(folder).iterdir())
    geo = Geo(GeoPoint(-73.0, 40.5))
    upload = app.inputs.create_image_from_filename(
        str(first), image_id="first", concepts=["cat"], not_concepts=["dog"], metadata={"a": {"b": [1, 2]}}, geo=geo
    )
    report["upload"] = seen(upload)
    report["by_url"] = seen(app.inputs.create_image_from_url(url, image_id="by url", concepts=["cat"]))
    bulk = [Image(filename=str(path), image_id=path.stem) for path in others]
    report["bulk"] = [seen(image) for image in app.inputs.bulk_create_images(bulk)]
    app.wait_until_inputs_upload_finish(max_wait=30)
    report["counts"] = app.inputs.check_status().processed
    report["got"] = seen(app.inputs.get("first"))
    report["geo"] = [app.inputs.get("first").geo.geo_point.longitude, app.inputs.get("first").geo.geo_point.latitude]
    report["page"] = [image.input_id for image in app.inputs.get_by_page(1, 2)]
    report["all"] = sorted(image.input_id for image in app.inputs.get_all())
    report["merged"] = seen(app.inputs.merge_concepts("first", ["whiskers"], ["car"]))
    report["removed"] = seen(app.inputs.delete_concepts("first", ["whiskers", "car"]))
    report["overwritten"] = seen(app.inputs.bulk_update([Image(image_id="first", concepts=["lion"])], "overwrite")[0])
    report["metadata"] = seen(app.inputs.merge_metadata("first", {"c": 3.5}))
    report["duplicate"] = refused(app.inputs.create_image_from_filename, str(first), "first")
    report["concept"] = [app.concepts.create("tree", "A tree").concept_name, app.concepts.get("tree").concept_name]
    report["concepts"] = sorted(concept.concept_id for concept in app.concepts.get_all())
    report["found"] = sorted(concept.concept_id for concept in app.concepts.search("wh*"))
    report["renamed"] = app.concepts.update("tree", "Two trees").concept_name
    report["no concept"] = refused(app.concepts.get, "no/such thing")
    report["models"] = [[model.model_id, model.model_status_code] for model in app.models.get_all()]
    report["no model"] = refused(app.models.delete, "no such model")
    app.inputs.delete("by url")
    report["gone"] = refused(app.inputs.get, "by url")
    report["deleted"] = app.inputs.delete([path.stem for path in others]).code
    report["everything"] = refused(app.inputs.delete_all)
    report["left"] = [image.input_id for image in app.inputs.get_all()]
    print(json.dumps(report))


if __name__ == "__main__":
    main(*sys.argv[1:])
