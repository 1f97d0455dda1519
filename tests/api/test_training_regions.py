"""Labels of regions teach what the regions show: each is cut out of its picture and embedded by the packaged model."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from postil.v1.annotation_pb2 import Annotation
from postil.v1.annotation_service_pb2 import PostAnnotationsRequest
from postil.v1.common_pb2 import UserAppIDSet
from postil.v1.concept_pb2 import Concept
from postil.v1.data_pb2 import BoundingBox, Data, Region, RegionInfo
from postil.v1.image_pb2 import Image as WireImage
from postil.v1.input_pb2 import Input
from postil.v1.input_service_pb2 import PostInputsRequest
from postil.v1.model_service_pb2 import PostModelOutputsRequest
from postil.v1.status_code_pb2 import StatusCode
from support.learners import create, trained
from support.photos import photo

pytestmark = pytest.mark.timeout(600)  # the first start converts the picture model

Call = Callable[..., Any]
SIDE = 256
PICTURES = {"my cat": "chelsea.png", "my cup": "coffee.png"}


def pixels(name: str) -> Any:
    return np.asarray(Image.open(io.BytesIO(photo(name))).convert("RGB").resize((SIDE, SIDE)))


def encoded(array: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return file.getvalue()


def test_regions_teach_what_is_in_them(call: Call, app: UserAppIDSet) -> None:
    cat, cup = (pixels(name) for name in PICTURES.values())
    halves = {"a": (cat, cup), "b": (cup, cat), "c": (cat[:, ::-1], cup), "d": (cup[:, ::-1], cat)}
    inputs = [
        Input(id=name, data=Data(image=WireImage(base64=encoded(np.concatenate(both, axis=1)))))
        for name, both in halves.items()
    ]
    answer = call("PostInputs", PostInputsRequest(user_app_id=app, inputs=inputs))
    assert answer.status.code == StatusCode.SUCCESS, answer.status
    labels = []
    for name in halves:
        names = ("my cat", "my cup") if name in "ac" else ("my cup", "my cat")
        for left, concept in zip((0.0, 0.5), names, strict=True):
            box = BoundingBox(top_row=0.0, left_col=left, bottom_row=1.0, right_col=left + 0.5)
            region = Region(
                region_info=RegionInfo(bounding_box=box), data=Data(concepts=[Concept(id=concept, value=1)])
            )
            labels.append(Annotation(input_id=name, data=Data(regions=[region])))
    answer = call("PostAnnotations", PostAnnotationsRequest(user_app_id=app, annotations=labels))
    assert answer.status.code == StatusCode.SUCCESS, answer.status
    create(call, app, *PICTURES, exclusive=True)
    version = trained(call, app)
    assert version.total_input_count == len(labels)
    asked = PostModelOutputsRequest(user_app_id=app, model_id="m")
    for name in PICTURES.values():
        asked.inputs.add().data.image.base64 = photo(name)
    said = call("PostModelOutputs", asked)
    assert [output.data.concepts[0].id for output in said.outputs] == list(PICTURES)
