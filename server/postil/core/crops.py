"""Vectors of regions: the embedding of a picture's crop, or of the characters a span covers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from postil.core import regions
from postil.core.hosting import digest_of
from postil.core.opening import Opening
from postil.core.vectors import SpaceVector
from postil.embed.base import Embedders, EmbedQueue
from postil.errors import Failure
from postil.media.pictures import Picture, crop
from postil.store.base import Blobs, InputRecord
from postil.v1.data_pb2 import BoundingBox, RegionInfo
from postil.v1.input_pb2 import Input

_TIMEOUT_SECONDS = 600.0


@dataclass(slots=True)
class Wanted:
    """A region to embed.

    Args:
        input: The input it lies on.
        info: Where it lies.
        box: The box to crop, where the info does not say (a mask).
        embedder: Version id of the embedder to use; "" for the default one.
        vector: The answer; stays None when there are no pixels or characters to embed.
    """

    input: InputRecord
    info: RegionInfo
    box: BoundingBox | None = None
    embedder: str = ""
    vector: SpaceVector | None = field(default=None)


class Crops:
    """Embeds regions, many at a time."""

    def __init__(self, blobs: Blobs, embedders: Embedders, opening: Opening) -> None:
        self._blobs = blobs
        self._embedders = embedders
        self._opening = opening

    def embed(self, wanted: Sequence[Wanted]) -> None:
        """Fills in the vectors. A picture is opened once however many regions lie on it."""
        by_input: dict[int, list[Wanted]] = {}
        for one in wanted:
            by_input.setdefault(one.input.row, []).append(one)
        running = []
        for group in by_input.values():
            message = Input.FromString(group[0].input.message)
            source = self._source(message)
            if source is None:
                continue
            for one in group:
                content = _content(source, one)
                queue = self._queue("text" if isinstance(source, str) else "picture", one.embedder)
                if content is not None and queue is not None:
                    running.append((one, queue.spec, queue.submit([content])))
        for one, spec, future in running:
            matrix = future.result(timeout=_TIMEOUT_SECONDS)
            one.vector = SpaceVector(spec.version_id, spec.model_id, spec.kind, matrix[0])

    def _source(self, message: Input) -> Picture | str | None:
        if message.data.HasField("text"):
            return message.data.text.raw or None
        if not message.data.HasField("image"):
            return None
        digest = digest_of(message.data.image.hosted)
        content = self._blobs.get(digest) if digest else None
        if content is None:
            return None
        try:
            return self._opening.whole(content)
        except Failure:  # opened when it was posted, so only a changed limit gets here: the input's vector stands in
            return None

    def _queue(self, kind: str, version: str) -> EmbedQueue | None:
        queue = self._embedders.by_version(version) if version else self._embedders.default(kind)
        return queue if queue is not None and queue.spec.kind == kind else None


def _content(source: Picture | str, wanted: Wanted) -> object | None:
    if isinstance(source, str):
        return regions.text_of(wanted.info, source)
    box = wanted.box or regions.box_of(wanted.info)
    return crop(source.image, box) if box is not None else None
