"""PostModelOutputs: asks a model about pictures and texts, one output each, and remembers what was answered."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass

from postil.core import ids, output_config, records, statuses, wire
from postil.core.call import Call, Gone
from postil.core.output_config import Wanted
from postil.core.outputs import PUBLIC, OutputLog
from postil.core.predict_inputs import Asked, PredictInputs, forget
from postil.core.runnables import Runnable, Runnables
from postil.errors import Failure
from postil.v1.model_service_pb2 import MultiOutputResponse, PostModelOutputsRequest
from postil.v1.output_pb2 import Output
from postil.v1.status_code_pb2 import StatusCode
from postil.v1.status_pb2 import Status

MAX_INPUTS = 128
SECONDS = 120.0  # that a prediction may take, whatever deadline the caller sets

_ID = wire.key(Output.DESCRIPTOR, "id")
_STATUS = wire.key(Output.DESCRIPTOR, "status")
_CREATED = wire.key(Output.DESCRIPTOR, "created_at")
_MODEL = wire.key(Output.DESCRIPTOR, "model")
_INPUT = wire.key(Output.DESCRIPTOR, "input")
_DATA = wire.key(Output.DESCRIPTOR, "data")
_RESPONSE_STATUS = wire.key(MultiOutputResponse.DESCRIPTOR, "status")
_RESPONSE_OUTPUTS = wire.key(MultiOutputResponse.DESCRIPTOR, "outputs")
_TAKES = {
    "picture": "a picture: give data.image",
    "text": "a text: give data.text.raw",
    "vector": "a vector: give data.embeddings[0].vector, or the id of an input that has one",
    "concepts": "concepts: give data.concepts, or put it behind another model in a workflow",
}


@dataclass(slots=True)
class Answer:
    """One output on its way out."""

    status: Status
    message: bytes  # serialized Output
    id: str
    kept: bytes | None  # what is remembered of it; None for a failure


class Predicting:
    """Runs models for clients. Thread-safe.

    Args:
        models: Which there are.
        inputs: Opens what they are asked about.
        log: Remembers the outputs.
    """

    def __init__(self, models: Runnables, inputs: PredictInputs, log: OutputLog) -> None:
        self._models = models
        self._inputs = inputs
        self._log = log

    def outputs(self, call: Call, request: PostModelOutputsRequest) -> bytes:
        """A serialized MultiOutputResponse.

        Raises:
            Failure: MODEL_DOES_NOT_EXIST; MODEL_UNTRAINED; PREDICT_INVALID_REQUEST for a number of inputs or an output
                config that is out of range; MODEL_INVALID_ARGUMENT when none of the selected concepts is known.
        """
        check_count(len(request.inputs), MAX_INPUTS)
        model = self._models.get(call, request.model_id, request.version_id)
        wanted = output_config.read(output_config.of_model(request.model), model.number_of)
        asked = self._inputs.ask(call, request.inputs, [model])
        answers = self.answers(call, model, wanted, asked)
        self.remember(call, answers)
        top = summary([answer.status for answer in answers], wanted)
        top.req_id = call.request_id
        return wire.framed(_RESPONSE_STATUS, top.SerializeToString()) + wire.repeated(
            _RESPONSE_OUTPUTS, [answer.message for answer in answers]
        )

    @staticmethod
    def answers(call: Call, model: Runnable, wanted: Wanted, asked: Sequence[Asked]) -> list[Answer]:
        """Waits for what the model says of each input; an output each, in order. Raises Failure when time is up."""
        deadline = time.monotonic() + SECONDS
        tail = wire.framed(_MODEL, model.card.SerializeToString())
        made = []
        for one in asked:
            data, failure, future = b"", one.failure, one.running.get(model.weights)
            if failure is None and future is None:
                failure = Failure(
                    StatusCode.INPUT_UNSUPPORTED_FORMAT,
                    f"{one.where}: the model {model.card.id!r} takes {_TAKES[model.takes]}",
                )
            elif failure is None and future is not None:
                try:
                    data = model.data(wanted, call.wait(future, deadline - time.monotonic()))
                except FutureTimeout as error:
                    forget(asked)
                    raise _late() from error
                except Gone:
                    forget(asked)
                    raise
                except Failure as refused:
                    failure = Failure(refused.code, f"{one.where}: {refused.details}", refused.notes)
            made.append(_answer(one, model, tail, data, failure))
        return made

    def remember(self, call: Call, answers: Sequence[Answer]) -> None:
        """Keeps the outputs that say something, for feedback."""
        app = PUBLIC if call.app_record is None else call.app_record.row
        self._log.record(app, [(answer.id, answer.kept) for answer in answers if answer.kept is not None])


def check_count(count: int, most: int) -> None:
    """Raises Failure PREDICT_INVALID_REQUEST for another number of inputs than 1 to `most`."""
    if not 1 <= count <= most:
        raise Failure(
            StatusCode.PREDICT_INVALID_REQUEST, f"inputs holds {count} items; send 1 to {most} of them in one call."
        )


def summary(items: Sequence[Status], wanted: Wanted) -> Status:
    """The status of a prediction: when all inputs fail for one reason, that reason; MIXED_STATUS when some fail, or
    when some of the selected concepts are unknown."""
    codes = {item.code for item in items}
    if len(codes) == 1 and not statuses.good(items[0].code):
        return statuses.status(items[0].code, items[0].details, items[0].developer_notes)
    top = statuses.summary(items)
    if wanted.unknown and top.code == StatusCode.SUCCESS:
        named = ", ".join(wanted.unknown[:10])
        top = statuses.status(StatusCode.MIXED_STATUS, f"select_concepts: the model does not know {named}.")
    return top


def _answer(asked: Asked, model: Runnable, tail: bytes, data: bytes, failure: Failure | None) -> Answer:
    output_id = ids.new_id()
    status = statuses.of_failure(failure) if failure else statuses.status(StatusCode.SUCCESS)
    head = (
        wire.framed(_ID, output_id.encode())
        + wire.framed(
            _STATUS, records.status_bytes(StatusCode.SUCCESS) if failure is None else status.SerializeToString()
        )
        + wire.framed(_CREATED, wire.timestamp(time.time_ns() // 1000))
        + tail
        + wire.framed(_INPUT, asked.echo.SerializeToString())
    )
    said = wire.framed(_DATA, data) if data else b""
    kept = None if failure else head + (said if model.concepts else b"")  # vectors can be had again
    return Answer(status, head + said, output_id, kept)


def _late() -> Failure:
    details = f"The prediction was not done within {SECONDS:.0f} seconds; ask about fewer inputs at once."
    return Failure(StatusCode.RPC_REQUEST_TIMEOUT, details)
