"""Taking media in: bytes become a blob, a described picture or text, and a vector to come.

Pictures are opened on a few threads of their own, so that decoding one overlaps with embedding another, and no more
than those few are ever held decoded at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from functools import partial

from postil.core import predictions
from postil.core.base_workflow import BaseWorkflow
from postil.core.drafts import Draft
from postil.core.hosting import Hosting
from postil.core.opening import Opening
from postil.core.vectors import SpaceVector
from postil.embed import general
from postil.embed.base import Embedders, EmbedQueue
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

    def take(self, drafts: Sequence[Draft], workflow: BaseWorkflow, check: Callable[[], None] = lambda: None) -> None:
        """Takes in all drafts that have content; those with only a URL stay pending.

        Args:
            drafts: Of one app.
            workflow: Which models run on them.
            check: Asked before each picture; what it raises ends the work.
        """
        ready = [made for made in drafts if made.content]
        texts = [made for made in ready if made.medium == "text"]
        others = [made for made in ready if made.medium != "text"]
        if texts:
            self._texts(texts, workflow)
        if len(others) == 1:
            self._file(others[0], workflow, check)
        elif others:
            list(self._pool.map(partial(self._file, workflow=workflow, check=check), others))

    def _texts(self, drafts: Sequence[Draft], workflow: BaseWorkflow) -> None:
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
        if queue is None or not workflow.texts:
            return
        for made in sound:  # one by one, so that a text the model cannot take fails alone; the queue batches them
            made.embedding = (queue.spec, queue.infer([made.message.data.text.raw]))

    def _file(self, made: Draft, workflow: BaseWorkflow, check: Callable[[], None] = lambda: None) -> None:
        check()
        try:
            if made.medium == "image":
                self._picture(made, workflow)
            else:
                self._opaque(made)
        except Failure as failure:
            made.failure = Failure(failure.code, f"{made.where}: {failure.details}", failure.notes)

    def _picture(self, made: Draft, workflow: BaseWorkflow) -> None:
        takers = self._takers(workflow)
        picture = self._opening.to_embed(made.content, [queue.spec for queue in takers.values()])
        image = made.message.data.image
        self._host(made)
        image.image_info.width, image.image_info.height = picture.width, picture.height
        image.image_info.format = picture.format
        image.image_info.color_mode = "RGB"
        running = {queue: queue.infer([picture.content]) for queue in set(takers.values())}
        if (embedder := takers.get("embedding")) is not None:
            made.embedding = (embedder.spec, running[embedder])
        if (sight := takers.get("sight")) is not None:
            made.sight = running[sight]

    def _takers(self, workflow: BaseWorkflow) -> dict[str, EmbedQueue]:
        """Who looks at pictures: for their embedding and, often in the same pass, for what the general model says."""
        wanted = {
            "embedding": self._embedders.default("picture") if workflow.pictures else None,
            "sight": self._embedders.by_version(general.EMBEDDER) if workflow.concepts else None,
        }
        return {use: queue for use, queue in wanted.items() if queue is not None}

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


def forget(drafts: Sequence[Draft]) -> None:
    """Takes out of the queues what has not begun."""
    for made in drafts:
        for future in (made.embedding and made.embedding[1], made.sight):
            if future is not None:
                future.cancel()


def settle(made: Draft, deadline: float) -> None:
    """Waits for the models and takes their answers into the draft; what is not there by then becomes pending.

    Args:
        made: After `Intake.take`.
        deadline: `time.monotonic()` seconds.
    """
    if made.failure is not None:
        return
    try:
        if made.embedding is not None:
            spec, future = made.embedding
            outputs = future.result(timeout=max(0.0, deadline - time.monotonic()))
            vector = SpaceVector(spec.version_id, spec.model_id, spec.kind, outputs.embeddings[0])
        if made.sight is not None:
            logits = made.sight.result(timeout=max(0.0, deadline - time.monotonic())).logits
            made.values = predictions.to_keep(logits[0]) if logits is not None else ()
    except FutureTimeout:
        made.pending = True
    except Failure as failure:
        made.failure = Failure(failure.code, f"{made.where}: {failure.details}", failure.notes)
    else:
        if made.embedding is not None:
            made.vectors.append(vector)
