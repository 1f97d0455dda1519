"""Inputs that the model keeps waiting: they become pending, and leave its queue to the worker that finishes them."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from postil.core import adding
from postil.core.adding import Adding
from postil.core.hosting import Hosting
from postil.core.intake import Intake
from postil.embed.base import Matrix, Spec
from postil.embed.queue import BatchingQueue
from postil.v1.input_service_pb2 import MultiInputResponse, PostInputsRequest
from postil.v1.status_code_pb2 import StatusCode
from support import nouns

SPEC = Spec("slow", "0" * 32, "text", 2, "slow")
TEXTS = ("at work when the time is up", "still in the queue", "there as well")


class Slow:
    """A model that takes one text at a time, and until it is let go."""

    spec = SPEC
    batch = 1

    def __init__(self) -> None:
        self.go = threading.Event()
        self.begun: list[str] = []

    def prepare(self, content: Any) -> Any:
        self.begun.append(content)
        return content

    def embed(self, prepared: Sequence[Any]) -> Matrix:
        assert self.go.wait(30)
        return np.ones((len(prepared), 2), np.float32)


class Embedders:
    """Its queue, for texts."""

    def __init__(self, queue: BatchingQueue) -> None:
        self._queue = queue

    def default(self, _kind: str) -> BatchingQueue:
        return self._queue


def test_what_became_pending_is_embedded_by_its_worker_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adding, "SYNC_SECONDS", 0.2)
    model = Slow()
    queue = BatchingQueue(SPEC, lambda: model, workers=1)
    request = PostInputsRequest()
    for text in TEXTS:
        request.inputs.add().data.text.raw = text
    woken: list[bool] = []
    with nouns.opened(tmp_path / "data") as store:
        intake = Intake(store.blobs, cast(Any, Embedders(queue)), Hosting("http://here"), cast(Any, None))
        try:
            inputs = Adding(store, intake, lambda: woken.append(True), lambda _seconds: None)
            answer = MultiInputResponse.FromString(inputs.post(nouns.call(nouns.app(store)), request))
        finally:
            model.go.set()
            queue.close()  # works off what is left in it
            intake.close()
    assert [one.status.code for one in answer.inputs] == [StatusCode.INPUT_PENDING] * len(TEXTS)
    assert woken
    assert model.begun == [TEXTS[0]]
