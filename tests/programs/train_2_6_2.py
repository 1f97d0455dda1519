"""A user's program for the REST client of 2019 (PyPI clarifai 2.6.2), run by its own Python: labels to ranks.

    train_2_6_2.py BASE_URL FOLDER

Prints one JSON object.
"""

import json
import pathlib
import sys
import time

from clarifai.rest import ClarifaiApp, Image


def main(base: str, folder: str) -> None:
    app = ClarifaiApp(api_key="any-word", base_url=base)
    pictures = sorted(pathlib.Path(folder).iterdir())
    for path in pictures:
        app.inputs.create_image_from_filename(str(path), image_id=path.stem, concepts=[f"my {path.stem}"])
    while app.inputs.check_status().to_process:
        time.sleep(0.1)
    model = app.models.create("mine", concepts=[f"my {path.stem}" for path in pictures])
    before = model.model_status_code
    trained = model.train(timeout=100)
    reply = trained.predict([Image(filename=str(path)) for path in pictures])
    said = [output["data"]["concepts"][0]["id"] for output in reply["outputs"]]
    found = app.inputs.search_by_predicted_concepts(concept_id="my chelsea")
    report = {
        "states": [before, trained.model_status_code],
        "said": dict(zip([path.stem for path in pictures], said, strict=True)),
        "rank": [image.input_id for image in found],
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main(*sys.argv[1:])
