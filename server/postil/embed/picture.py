"""The default picture model: EfficientNet-Lite0, trained on ImageNet, from packaged weights.

Gives 1280 numbers that stand for a picture's looks, and 1000 logits, one for each ImageNet class.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from postil.embed import convert
from postil.embed.base import Matrix, Outputs, Spec
from postil.embed.packaged import version_id
from postil.embed.session import open_session
from postil.embed.vectors import unit_rows
from postil.media.squares import Square, as_square

SIDE = 224  # pixels of the square that the model sees (embed/efficientnet.py)
SQUARE = Square(SIDE, 256)  # of the middle, less a margin of one sixteenth
CLASSES = 1000

# Raise it when the graph or `prepare` changes in a way that changes vectors: the version id follows.
_REVISION = "1"

SPEC = Spec(
    model_id="general-image-embedding",
    version_id=version_id("efficientnet-lite0", convert.WEIGHTS_SHA256, _REVISION),
    kind="picture",
    dim=1280,
    description="General looks of a picture: EfficientNet-Lite0, trained on ImageNet (Apache-2.0).",
    classes=CLASSES,
    square=SQUARE,
)
# Larger batches are no faster, each picture being a run of convolutions by itself. onnxruntime keeps what the most that
# ever ran at once took: 19 MiB for two runs of one picture, 41 MiB for two of two, which would come as a step whenever
# two batches first meet.
BATCH = 1


class PictureModel:
    """Thread-safe. `embed` and `run` give the same bits for a picture whatever else is in its batch.

    Args:
        folder: Where converted models are kept; the model is converted into it when it is not there.
        threads: Threads that one run may use.

    Raises:
        Unusable: The weights are missing or damaged.
    """

    spec = SPEC
    batch = BATCH

    def __init__(self, folder: Path, threads: int) -> None:
        path = folder / f"{SPEC.model_id}-{SPEC.version_id}.onnx"
        convert.ensure(path)
        self._session = open_session(path, threads)

    def prepare(self, content: Image.Image | NDArray[np.uint8]) -> NDArray[np.uint8]:
        """An RGB picture of any size, or its SQUARE, to uint8 [SIDE, SIDE, 3]."""
        return as_square(content, SQUARE)

    def embed(self, prepared: Sequence[Any]) -> Matrix:
        return self.run(np.stack(prepared))[0]

    def infer(self, prepared: Sequence[Any]) -> Outputs:
        """Embeddings, and the logits of the ImageNet classes, in one pass."""
        return Outputs(*self.run(np.stack(prepared)))

    def run(self, pictures: NDArray[np.uint8]) -> tuple[Matrix, Matrix]:
        """uint8 [n, SIDE, SIDE, 3] to unit embeddings, float32 [n, 1280], and logits, float32 [n, CLASSES]."""
        embeddings, logits = self._session.run(["embeddings", "logits"], {"pictures": pictures})
        return unit_rows(embeddings), logits
