"""What the clients of an overload run ask for: requests made beforehand, so that sending one costs next to nothing."""

from __future__ import annotations

import io
from itertools import cycle
from typing import NamedTuple

import numpy as np
from PIL import Image

from postil.v1.annotation_pb2 import Annotation
from postil.v1.annotation_service_pb2 import PostAnnotationsRequest
from postil.v1.data_pb2 import Data
from postil.v1.input_pb2 import Input
from postil.v1.input_service_pb2 import ListInputsRequest, PostInputsRequest
from postil.v1.model_service_pb2 import PostModelOutputsRequest
from postil.v1.search_pb2 import Query, Rank, Search
from postil.v1.search_service_pb2 import PostInputsSearchesRequest
from support.doors import METHODS

DIM = 128
INPUTS = 2000
BY_PICTURE, BY_TEXT, PREDICTIONS = "searches by picture", "searches by text", "predictions"
ALONE = (BY_PICTURE, PREDICTIONS, BY_TEXT)  # what a crowd may want and nothing else
_SEED = 6


class Request(NamedTuple):
    """A call, ready to be sent."""

    path: str
    body: bytes
    kind: str


def _rng() -> np.random.Generator:
    return np.random.default_rng(_SEED)


def stock() -> list[PostInputsRequest]:
    """What is there before the load begins: `INPUTS` vectors, and some texts."""
    vectors = _rng().standard_normal((INPUTS, DIM)).astype(np.float32)
    made = []
    for start in range(0, INPUTS, 100):
        request = PostInputsRequest()
        for number in range(start, start + 100):
            item = request.inputs.add(id=f"stock-{number}")
            item.data.embeddings.add(vector=vectors[number].tolist())
            item.data.concepts.add(id=f"kind-{number % 20}", value=1)
        made.append(request)
    words = PostInputsRequest()
    for number in range(100):
        words.inputs.add(id=f"words-{number}").data.text.raw = f"{number} things that were seen, and said of them"
    return [*made, words]


def pictures(count: int = 24) -> list[bytes]:
    """JPEGs of 640 × 480, some 40 kB each."""
    rng, made = _rng(), []
    for _ in range(count):
        small = Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8))
        out = io.BytesIO()
        small.resize((640, 480), Image.Resampling.BICUBIC).save(out, "JPEG", quality=90)
        made.append(out.getvalue())
    return made


def mixture(count: int = 240) -> list[Request]:
    """A fixed round of calls: of twelve, five search by vector, three by a picture, two annotate, one lists a page, and
    one posts a picture."""
    rng, photos = _rng(), pictures()
    looked_for, posted = cycle(photos), cycle(photos)  # each by itself, so that none is posted or asked for more often
    made = []
    for number in range(count):
        turn = number % 12
        if turn < 5:
            data = Data()
            data.embeddings.add(vector=rng.standard_normal(DIM).tolist())
            made.append(_request("PostInputsSearches", _search(data), "searches by vector"))
        elif turn < 8:
            data = Data()
            data.image.base64 = next(looked_for)
            made.append(_request("PostInputsSearches", _search(data), BY_PICTURE))
        elif turn < 10:
            note = Annotation(input_id=f"stock-{number % INPUTS}")
            note.data.concepts.add(id=f"label-{number % 10}", value=1)
            made.append(_request("PostAnnotations", PostAnnotationsRequest(annotations=[note]), "labels"))
        elif turn == 10:
            made.append(_request("ListInputs", ListInputsRequest(per_page=20), "lists"))
        else:
            item = Input()
            item.data.image.base64 = next(posted)
            made.append(_request("PostInputs", PostInputsRequest(inputs=[item]), "pictures posted"))
    return made


def alone(kind: str, count: int = 24) -> list[Request]:
    """A round of nothing but calls of one of the kinds in `ALONE`."""
    photos, made = pictures(count), []
    for number, photo in enumerate(photos):
        data = Data()
        if kind == BY_TEXT:
            data.text.raw = f"a photograph of something, number {number}"
        else:
            data.image.base64 = photo
        if kind == PREDICTIONS:
            wanted = PostModelOutputsRequest(model_id="general-image-recognition", inputs=[Input(data=data)])
            made.append(_request("PostModelOutputs", wanted, kind))
        else:
            made.append(_request("PostInputsSearches", _search(data), kind))
    return made


def _search(data: Data) -> PostInputsSearchesRequest:
    search = Search(query=Query(ranks=[Rank(annotation=Annotation(data=data))]))
    return PostInputsSearchesRequest(searches=[search])


def _request(rpc: str, message: object, kind: str) -> Request:
    return Request(METHODS[rpc].path, message.SerializeToString(), kind)  # type: ignore[attr-defined]
