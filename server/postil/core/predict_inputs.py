"""What a prediction is asked about: an input's picture or text, from wherever it is."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from postil.core import ids
from postil.core.call import Call, Gone
from postil.core.downloads import Downloads
from postil.core.hosting import digest_of
from postil.core.opening import Opening
from postil.core.runnables import PICTURE, VECTOR, Runnable
from postil.core.vectors import BadVector, read_vector
from postil.embed.base import Embedders, Outputs, Spec
from postil.errors import Failure
from postil.store.base import Store
from postil.v1.data_pb2 import Data
from postil.v1.input_pb2 import Input
from postil.v1.status_code_pb2 import StatusCode

MAX_TEXT = 100_000  # characters
THREADS = 4  # fetches wait on the network, so more than decoding alone would need

_PROBE = "_method_name"  # newer clients ask for a model's signatures in an input's metadata before they predict


@dataclass(slots=True)
class Asked:
    """One input of a request.

    Args:
        where: "inputs[3]", to begin sentences about it with.
        echo: It, as the answer shows it: without bytes.
        kind: "picture", "text", "vector" or "concepts"; "" while it could not be opened.
        content: A picture as embedders take it, a str, a vector, an input's row of vectors, or concepts, until the
            models have it.
        running: What the models will say, by the version of the weights that are run.
        failure: Why nothing can be said of it.
    """

    where: str
    echo: Input = field(default_factory=Input)
    kind: str = ""
    content: Any = None
    running: dict[str, Future[Outputs]] = field(default_factory=dict)
    failure: Failure | None = None


class PredictInputs:
    """Opens inputs, several at a time, and asks models about each as soon as it is open. Thread-safe.

    Args:
        store: Inputs named by id are looked up here, and their media are read from its blobs.
        embedders: Whose weights models run.
        downloads: Fetches what is given by URL.
        opening: Opens pictures.
    """

    def __init__(self, store: Store, embedders: Embedders, downloads: Downloads, opening: Opening) -> None:
        self._store = store
        self._embedders = embedders
        self._downloads = downloads
        self._opening = opening
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="predict")

    def close(self) -> None:
        """Ends the threads."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def ask(self, call: Call, items: Sequence[Input], models: Sequence[Runnable]) -> list[Asked]:
        """The inputs in order, each with the models that take it at work on it, or with its failure. Raises Gone."""
        every = [Asked(ids.at("inputs", position)) for position in range(len(items))]
        open_one = partial(self._one, call, models)
        try:
            if len(items) == 1:
                open_one(items[0], every[0])
            else:
                list(self._pool.map(open_one, items, every))
        except Gone:
            forget(every)
            raise
        return every

    def _one(self, call: Call, models: Sequence[Runnable], item: Input, asked: Asked) -> None:
        call.check()
        try:
            self._open(call, item, asked, models)
            call.check()
            for model in models:
                if model.takes == asked.kind and model.weights not in asked.running:
                    asked.running[model.weights] = model.run(asked.content)
            asked.content = None
        except Gone:
            raise
        except Failure as failure:
            asked.failure = Failure(failure.code, f"{asked.where}: {failure.details}", failure.notes)

    def _open(self, call: Call, item: Input, asked: Asked, models: Sequence[Runnable]) -> None:
        asked.echo.id = item.id or ids.new_id()
        data = item.data
        if _PROBE in data.metadata.fields:
            raise Failure(
                StatusCode.INPUT_UNSUPPORTED_FORMAT, "models here have no signatures; send data.image or data.text"
            )
        if data.image.url or data.image.base64:
            self._picture(call, data, asked, models)
        elif data.text.raw:
            asked.echo.data.text.raw = data.text.raw
            self._text(data.text.raw, asked)
        elif data.embeddings:
            self._vector(data, asked)
        elif data.concepts:
            asked.echo.data.concepts.extend(data.concepts)
            asked.content, asked.kind = list(data.concepts), "concepts"
        elif item.id and not data.ListFields():
            self._stored(call, item.id, asked, models)
        else:
            raise _invalid("it is empty; give data.image, data.text.raw, or the id of an input of the app")

    def _picture(self, call: Call, data: Data, asked: Asked, models: Sequence[Runnable]) -> None:
        url = data.image.url.strip()
        asked.echo.data.image.url = url
        if url and data.image.base64:
            raise _invalid("its image has both a url and bytes; send one of them")
        if not url:
            self._decode(data.image.base64, asked, models)
            return
        try:
            content = self._downloads.get(url, call)
        except Gone:
            raise
        except Failure as failure:
            # One code for whatever keeps the picture from arriving: clients look for it.
            raise Failure(StatusCode.INPUT_FAILED, failure.details, failure.notes) from failure
        self._decode(content, asked, models)

    def _decode(self, content: bytes, asked: Asked, models: Sequence[Runnable]) -> None:
        takers = [self._spec(model.weights) for model in models if model.takes == PICTURE]
        asked.content, asked.kind = self._opening.to_embed(content, takers).content, PICTURE

    def _spec(self, weights: str) -> Spec | None:
        queue = self._embedders.by_version(weights)
        return queue.spec if queue is not None else None

    @staticmethod
    def _text(raw: str, asked: Asked) -> None:
        if len(raw) > MAX_TEXT:
            raise Failure(
                StatusCode.INPUT_OVER_LIMIT, f"its text has {len(raw)} characters; at most {MAX_TEXT} are taken"
            )
        asked.content, asked.kind = raw, "text"

    @staticmethod
    def _vector(data: Data, asked: Asked) -> None:
        try:
            asked.content, asked.kind = read_vector(data.embeddings[0]), "vector"
        except BadVector as problem:
            raise _invalid(f"its embeddings[0] is no vector: {problem}") from problem

    def _stored(self, call: Call, input_id: str, asked: Asked, models: Sequence[Runnable]) -> None:
        record = self._store.read().input(call.app.row, input_id)
        if record is None:
            raise Failure(
                StatusCode.INPUT_DOES_NOT_EXIST, f"the app {call.app.id!r} has no input {ids.shown(input_id)}"
            )
        message = Input.FromString(record.message)
        asked.echo.CopyFrom(message)
        asked.echo.ClearField("status")
        data = message.data
        if {model.takes for model in models} == {VECTOR}:
            asked.content, asked.kind = record.anchor, "vector"
            return
        if data.text.raw:
            self._text(data.text.raw, asked)
            return
        digest = digest_of(data.image.hosted)
        content = self._store.blobs.get(digest) if digest else None
        if content is not None:
            self._decode(content, asked, models)
        elif data.image.url:
            self._picture(call, data, asked, models)
        else:
            raise _invalid("it is neither a picture nor a text; models here take those")


def forget(every: Sequence[Asked]) -> None:
    """Takes out of the queues what has not begun."""
    for asked in every:
        for future in asked.running.values():
            future.cancel()


def _invalid(details: str) -> Failure:
    return Failure(StatusCode.INPUT_INVALID_ARGUMENT, details)
