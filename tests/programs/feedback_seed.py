"""A user's program for PyPI clarifai 2.6.2: each sample of the page on feedback. Only the host differs.

    feedback_seed.py BASE_URL INPUT_ID OUTPUT_ID SEARCH_ID END_USER_ID SESSION_ID

Prints one JSON object with the status of each reply and the models that the samples got by name.
"""

import json
import sys
from typing import Any

from clarifai.rest import BoundingBox, ClarifaiApp, Concept, FeedbackInfo, Region, RegionInfo


def main(base: str, input_id: str, output_id: str, search_id: str, end_user_id: str, session_id: str) -> None:
    app = ClarifaiApp(api_key="YOUR_API_KEY", base_url=base)
    report: dict[str, Any] = {}

    model = app.models.get("general-v1.3")
    report["general"] = [model.model_id, model.model_name]
    report["concepts"] = model.send_concept_feedback(
        input_id=input_id,
        url="https://samples.clarifai.com/dog.tiff",
        concepts=["ai_8S2Vq3cR"],
        not_concepts=["ai_mFqxrph2"],
        feedback_info=FeedbackInfo(
            event_type="annotation", output_id=output_id, end_user_id=end_user_id, session_id=session_id
        ),
    )["status"]

    model = app.models.get("logo")
    report["logo"] = [model.model_id, model.model_name]
    report["regions"] = model.send_region_feedback(
        input_id=input_id,
        url="https://clarifai.com/images/model-samples/logo-002.jpg",
        regions=[
            Region(
                region_info=RegionInfo(
                    bbox=BoundingBox(top_row=0.3, left_col=0.2, bottom_row=0.7, right_col=0.8),
                    feedback_type="accurate",
                ),
                concepts=[Concept(concept_id="ai_TG4GHlnf", value=True)],
            )
        ],
        feedback_info=FeedbackInfo(
            event_type="annotation", output_id=output_id, end_user_id=end_user_id, session_id=session_id
        ),
    )["status"]

    report["search"] = app.inputs.send_search_feedback(
        input_id, FeedbackInfo(end_user_id, session_id, "search_click", search_id=search_id)
    )["status"]
    print(json.dumps(report))


if __name__ == "__main__":
    main(*sys.argv[1:])
