"""Vectors of regions: the embedding of a picture's crop, or of the characters a span covers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from postil.core import regions
from postil.core.call import Call, Gone
from postil.core.hosting import digest_of
from postil.core.opening import Opening
from postil.core.vectors import SpaceVector
from postil.embed.base import Embedders, EmbedQueue, Matrix, Spec
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


_Running = tuple[Wanted, Spec, Future[Matrix]]


class Crops:
    """Embeds regions, many at a time."""

    def __init__(self, blobs: Blobs, embedders: Embedders, opening: Opening) -> None:
        self._blobs = blobs
        self._embedders = embedders
        self._opening = opening

    def embed(self, call: Call, wanted: Sequence[Wanted]) -> None:
        """Fills in the vectors. A picture is opened once however many regions lie on it. Raises Gone."""
        by_input: dict[int, list[Wanted]] = {}
        for one in wanted:
            by_input.setdefault(one.input.row, []).append(one)
        running: list[_Running] = []
        try:
            for group in by_input.values():
                call.check()
                running += self._begun(group)
            for one, spec, future in running:
                one.vector = SpaceVector(
                    spec.version_id, spec.model_id, spec.kind, call.wait(future, _TIMEOUT_SECONDS)[0]
                )
        except Gone:
            for _, _, future in running:
                future.cancel()
            raise

    def _begun(self, group: Sequence[Wanted]) -> Iterator[_Running]:
        """Opens the input that regions lie on, and hands them to their embedders."""
        source = self._source(Input.FromString(group[0].input.message))
        if source is None:
            return
        for one in group:
            content = _content(source, one)
            queue = self._queue("text" if isinstance(source, str) else "picture", one.embedder)
            if content is not None and queue is not None:
                yield one, queue.spec, queue.submit([content])

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
