"""Query pictures and texts to vectors, by the same embedders that embedded what is searched."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from postil.core import base_workflow, ids
from postil.core.call import Call, Gone
from postil.core.downloads import Downloads
from postil.core.opening import Opening
from postil.core.ranks import ByPicture, ByText, Rank, invalid
from postil.core.scopes import PREDICT
from postil.core.turns import Turns
from postil.embed.base import Embedders, EmbedQueue, Spec
from postil.errors import Failure
from postil.v1.status_code_pb2 import StatusCode

MAX_TEXT = 100_000  # characters of a query


class QueryVectors:
    """Embeds what a rank shows or says.

    Args:
        embedders: The rank's `embed_model_version_id` picks one; else the default of the kind.
        downloads: Fetches pictures given by URL.
        opening: Opens pictures.
    """

    def __init__(self, embedders: Embedders, downloads: Downloads, opening: Opening) -> None:
        self._embedders = embedders
        self._downloads = downloads
        self._opening = opening
        self._turns = Turns()

    def space_of(self, embedder: str) -> str | None:
        """The space that an embedder's vectors are in, by any of its names; None when there is no such embedder."""
        queue = self._embedders.by_version(embedder)
        return queue.spec.version_id if queue else None

    def picture(self, subject: ByPicture, rank: Rank, call: Call) -> tuple[Spec, NDArray[np.float32]]:
        """Which embedder, and float32 [dim]."""
        call.caller.require(PREDICT, "a query by picture needs")
        queue = self._queue("picture", rank, call)
        content = subject.image.base64 or self._download(subject.image.url, rank, call)
        call.check()
        with self._turns.taken(call):
            try:
                seen = self._opening.to_embed(content, [queue.spec])
            except Failure as failure:
                raise Failure(failure.code, f"{rank.where}: {failure.details}", failure.notes) from failure
            return queue.spec, call.wait(queue.submit([seen.content]))[0]

    def text(self, subject: ByText, rank: Rank, call: Call) -> tuple[Spec, NDArray[np.float32]]:
        """Which embedder, and float32 [dim]."""
        call.caller.require(PREDICT, "a query by text needs")
        queue = self._queue("text", rank, call)
        if len(subject.raw) > MAX_TEXT:
            raise invalid(f"{rank.where}: the text has {len(subject.raw)} characters; at most {MAX_TEXT} are taken")
        return queue.spec, call.wait(queue.submit([subject.raw]))[0]

    def _queue(self, kind: str, rank: Rank, call: Call) -> EmbedQueue:
        if not rank.space:
            workflow = base_workflow.refuses(call.app, kind)
            if workflow:
                raise Failure(
                    StatusCode.SEARCH_PREDICTION_FAILURE,
                    f"{rank.where}: the app's base workflow {workflow!r} gives a {kind} no vector, so there is nothing "
                    "to search by looks or meaning; patch its default_workflow to 'General' and post inputs then.",
                )
            queue = self._embedders.default(kind)
            if queue is None:
                raise Failure(
                    StatusCode.SEARCH_PREDICTION_FAILURE,
                    f"{rank.where}: this server has no {kind} embedder; rank by data.embeddings or input_id instead",
                )
            return queue
        queue = self._embedders.by_version(rank.space)
        if queue is None or queue.spec.kind != kind:
            raise invalid(
                f"{rank.where}: embed_model_version_id {ids.shown(rank.space)} is no {kind} embedder here; "
                "list them with ListModels, or leave it out"
            )
        return queue

    def _download(self, url: str, rank: Rank, call: Call) -> bytes:
        try:
            return self._downloads.get(url, call)
        except Gone:
            raise
        except Failure as failure:
            # one code for whatever keeps a query's picture from arriving: clients look for it
            raise Failure(StatusCode.INPUT_FAILED, f"{rank.where}: {failure.details}", failure.notes) from failure
