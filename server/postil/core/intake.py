"""Taking media in: bytes become a blob, a described picture or text, and a vector to come.

Pictures are opened on a few threads of their own, so that decoding one overlaps with embedding another, and no more
than those few are ever held decoded at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from postil.core.drafts import Draft
from postil.core.hosting import Hosting
from postil.core.opening import Opening
from postil.embed.base import Embedders
from postil.errors import Failure
from postil.media.sniff import video_format
from postil.store.base import Blobs
from postil.v1.status_code_pb2 import StatusCode


class Intake:
    """Fills drafts in; a draft whose medium is no good carries the failure.

    Args:
        blobs: Where media is kept.
        embedders: The default ones are used.
        hosting: Where media is served.
        opening: Opens pictures.
        threads: Pictures decoded at once.
    """

    def __init__(
        self, blobs: Blobs, embedders: Embedders, hosting: Hosting, opening: Opening, threads: int = 2
    ) -> None:
        self._blobs = blobs
        self._embedders = embedders
        self._hosting = hosting
        self._opening = opening
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="intake")

    def close(self) -> None:
        """Ends the threads."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def blob(self, digest: str) -> bytes | None:
        """A medium that was taken in before."""
        return self._blobs.get(digest)

    def take(self, drafts: Sequence[Draft]) -> None:
        """Takes in all drafts that have content; those with only a URL stay pending."""
        ready = [made for made in drafts if made.content]
        texts = [made for made in ready if made.medium == "text"]
        others = [made for made in ready if made.medium != "text"]
        if texts:
            self._texts(texts)
        if len(others) == 1:
            self._file(others[0])
        elif others:
            list(self._pool.map(self._file, others))

    def _texts(self, drafts: Sequence[Draft]) -> None:
        sound = []
        for made in drafts:
            text = made.message.data.text
            try:
                text.raw = made.content.decode()
            except UnicodeDecodeError as error:
                made.failure = Failure(
                    StatusCode.INPUT_UNSUPPORTED_FORMAT, f"{made.where}: its text is not UTF-8 ({error.reason})"
                )
                continue
            text.text_info.char_count = len(text.raw)
            text.text_info.encoding = "UTF-8"
            made.content = b""
            sound.append(made)
        queue = self._embedders.default("text")
        if queue is None:
            return
        for made in sound:  # one by one, so that a text the model cannot take fails alone; the queue batches them
            made.embedding = (queue.spec, queue.submit([made.message.data.text.raw]), 0)

    def _file(self, made: Draft) -> None:
        try:
            if made.medium == "image":
                self._picture(made)
            else:
                self._opaque(made)
        except Failure as failure:
            made.failure = Failure(failure.code, f"{made.where}: {failure.details}", failure.notes)

    def _picture(self, made: Draft) -> None:
        picture = self._opening.to_embed(made.content)
        image = made.message.data.image
        self._host(made)
        image.image_info.width, image.image_info.height = picture.width, picture.height
        image.image_info.format = picture.format
        image.image_info.color_mode = "RGB"
        queue = self._embedders.default("picture")
        if queue is not None:
            made.embedding = (queue.spec, queue.submit([picture.image]), 0)

    def _opaque(self, made: Draft) -> None:
        """Videos are kept and served; nothing here looks inside them."""
        made.message.data.video.video_info.video_format = video_format(made.content)
        self._host(made)

    def _host(self, made: Draft) -> None:
        digest = self._blobs.put(made.content)
        medium = getattr(made.message.data, made.medium)
        medium.hosted.CopyFrom(self._hosting.hosted(digest, picture=made.medium == "image"))
        if not medium.url:
            medium.url = self._hosting.url(digest)
        made.blobs.append(digest)
        made.content = b""
