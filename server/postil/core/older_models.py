"""Public models as clients of 2016 to 2020 name them: by an id that they carry, by a name with a version, by a kind.

This server has the weights of one, the general model, and an embedder in place of another. The rest are known by name
only: they can be looked up, and what people say of what they predicted elsewhere is kept; they predict nothing here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from google.protobuf.timestamp_pb2 import Timestamp

from postil.core import model_cards, statuses
from postil.core.call import PUBLIC_APP, PUBLIC_USER
from postil.embed import general, picture
from postil.v1.common_pb2 import Visibility
from postil.v1.model_pb2 import Model, ModelVersion, OutputInfo
from postil.v1.status_code_pb2 import StatusCode

DEFAULT_KIND = "concept"

_KINDS = {
    "visual-embedder": "embed",
    "text-embedder": "embed",
    "client-embedder": "embed",
    "clusterer": "cluster",
    "visual-detector": "detection",
}
_DETECTOR = "visual-detector"
_PUBLISHED = Timestamp(seconds=1_451_606_400)  # 2016, roughly


class Absent(NamedTuple):
    """A model that is known by name only.

    Attributes:
        id: As clients carry it.
        name: As they ask for it.
        gives: What it predicts.
        kind: As they tell models apart.
        type: Its `model_type_id`.
    """

    id: str
    name: str
    gives: str
    kind: str = DEFAULT_KIND
    type: str = model_cards.GENERAL_TYPE


_ABSENT = (
    Absent("bd367be194cf45149e75f01d59f77ba7", "food-items-v1.0", "food"),
    Absent("eee28c313d69466f836ab83287a54ed9", "travel-v1.0", "travel"),
    Absent("e9576d86d2004ed1a38ba0cf39ecb4b1", "nsfw-v1.0", "not safe for work"),
    Absent("c386b7a870114f4a87477c0824499348", "weddings-v1.0", "weddings"),
    Absent("eeed0b6733a644cea07cf4c60f87ebb7", "color", "colours", "color"),
    Absent("cccbe437d6e54e2bb911c6aa292fb072", "general-cluster", "clusters", "cluster", "clusterer"),
    Absent("a403429f2ddf4b49b307e318f00e528b", "face", "face detection", "facedetect", _DETECTOR),
    Absent("c2cf7cecd8a6427da375b9f35fcd2381", "focus", "focus", "focus", _DETECTOR),
    Absent("c443119bf2ed4da98487520d01a0b1e3", "logo", "logos", "detection", _DETECTOR),
    Absent("c0c0ac362b03416da06ab3fa36fb58e3", "demographics", "demographics", "facedetect-demographics", _DETECTOR),
    Absent("e0be3b9d6a454f0493ac3a30784001ff", "apparel", "apparel"),
    Absent("d16f390eb32cad478c7ae150069bd2c6", "moderation", "moderation"),
    Absent("e466caa0619f444ab97497640cefc4dc", "celeb-v1.3", "celebrities", "facedetect-identity", _DETECTOR),
    Absent("fbefb47f9fdb410e8ce14f24f54b47ff", "textures-and-patterns", "textures and patterns"),
    Absent("bec14810deb94c40a05f1f0eb3c91403", "landscape-quality", "quality of landscapes"),
    Absent("de9bd05cfdbf4534af151beb2a5d0953", "portrait-quality", "quality of portraits"),
    Absent("d02b4508df58432fbb84e800597b8959", "face", "face embedding", "embed", "visual-embedder"),
)
_BY_ID = {model.id: model for model in _ABSENT}
# Names that models of this server had; clients tell those that share one apart by kind.
_NAMES = {general.MODEL_ID: "general-v1.3", picture.SPEC.model_id: "general-v1.3"}


def absent(model_id: str) -> Absent | None:
    """The model of this id, if it is known, but not here."""
    return _BY_ID.get(model_id)


def kind(model_id: str, model_type_id: str) -> str:
    """What older clients call the kind of a model: "concept", "embed", "cluster"…"""
    known = _BY_ID.get(model_id)
    return known.kind if known else _KINDS.get(model_type_id, DEFAULT_KIND)


def matching(models: Iterable[Model], name: str, wanted: str) -> Sequence[Model]:
    """The models of a kind ("" any), each under the name it had where that is what is asked for.

    What predicts concepts comes first: the JavaScript client predicts with the first model of a name.
    """
    found = [(kind(model.id, model.model_type_id), model) for model in models]
    found.sort(key=lambda pair: pair[0] != DEFAULT_KIND)
    return [_named(model, name) for known, model in found if wanted in {"", known}]


def _named(model: Model, asked: str) -> Model:
    if _NAMES.get(model.id, "") != asked.casefold() or not asked:
        return model
    older = Model()
    older.CopyFrom(model)
    older.name = _NAMES[model.id]
    return older


def cards() -> Iterator[Model]:
    """The models that are known by name only."""
    return map(card, _ABSENT)


def card(known: Absent) -> Model:
    """What clients see of such a model. Its version says that it is not here; any version of it may be spoken of."""
    missing = statuses.status(StatusCode.MODEL_DOES_NOT_EXIST, f"Model {known.id!r} is not on this server.")
    return Model(
        id=known.id,
        name=known.name,
        model_type_id=known.type,
        model_version=ModelVersion(id=known.id, status=missing, app_id=PUBLIC_APP, user_id=PUBLIC_USER),
        output_info=OutputInfo(message="This model is not on this server, and predicts nothing here."),
        version_count=1,
        description=f"The public model for {known.gives}. It is not on this server; feedback on it is taken.",
        app_id=PUBLIC_APP,
        user_id=PUBLIC_USER,
        created_at=_PUBLISHED,
        modified_at=_PUBLISHED,
        visibility=Visibility(gettable=Visibility.PUBLIC),
    )
