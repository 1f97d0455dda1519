"""What predicting and adding pictures costs over gRPC, beside onnxruntime alone on the same cores in the same run.

    python -m benchmarks.models [--pictures 128] [--rounds 5] [--json]

Rounds take turns, so that a busy machine slows all alike; medians are shown. onnxruntime gets tensors that are ready
made; a batch of one is one run at a time on all cores, a batch of 32 the better of two ways to use them
(benchmarks/embed.py). The server starts from JPEG bytes: receive, decode, prepare, run, answer. Shares are of
throughput, by time and by processor time; on a machine with other work the second is the one to trust.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from PIL import Image

from benchmarks.embed import CORES, PHOTOGRAPHS, in_turn, jpeg, session, side_by_side
from benchmarks.processes import Postil
from postil.embed.picture import SPEC, PictureModel
from postil.v1 import input_service_pb2_grpc, model_service_pb2_grpc
from postil.v1.common_pb2 import UserAppIDSet
from postil.v1.input_pb2 import Input
from postil.v1.input_service_pb2 import PostInputsRequest
from postil.v1.model_service_pb2 import PostModelOutputsRequest
from postil.v1.status_code_pb2 import StatusCode

BATCH = 32
TARGET = 0.7
_APP = UserAppIDSet(user_id="me", app_id="bench-models")

Work = Callable[[], object]
Clock = Callable[[], float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=128, help="per round; a multiple of 32")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print figures as JSON")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="postil-bench-") as folder:
        server = Postil(Path(folder) / "data")
        try:
            figures = measure(server, Path(folder) / "data" / "models", args.pictures, args.rounds)
        finally:
            server.end()
    print(json.dumps(figures, indent=2) if args.json else table(figures))


def measure(server: Postil, models: Path, pictures: int, rounds: int) -> dict[str, float]:
    """Figures by name: pictures a second, milliseconds of processor time a picture, and shares."""
    files = [jpeg(name, (400, 300), shift) for name in PHOTOGRAPHS for shift in range(8)]
    channel = grpc.insecure_channel(server.address, options=[("grpc.max_receive_message_length", -1)])
    client = Client(channel, files)
    client.predict(BATCH, BATCH)  # converts and loads the model
    path = models / f"{SPEC.model_id}-{SPEC.version_id}.onnx"
    model = PictureModel(models, CORES)
    tensors = np.stack([model.prepare(Image.open(io.BytesIO(file)).convert("RGB")) for file in files])
    own, theirs = time.process_time, server.cpu_seconds
    figures = take_turns(
        {
            "onnxruntime_batch_1": (own, one_by_one(path, tensors, pictures)),
            "onnxruntime_in_turn": (own, in_turn(path, tensors, pictures)),
            "onnxruntime_side_by_side": (own, side_by_side(path, tensors, pictures)),
            "predict_batch_1": (theirs, lambda: client.predict(pictures, 1)),
            "predict_batch_32": (theirs, lambda: client.predict(pictures, BATCH)),
            "add_batch_32": (theirs, lambda: client.add(pictures, BATCH)),
        },
        pictures,
        rounds,
    )
    channel.close()
    return figures | shares(figures)


def shares(figures: dict[str, float]) -> dict[str, float]:
    """How near the server comes to onnxruntime alone."""
    ways = ("onnxruntime_in_turn", "onnxruntime_side_by_side")
    rate = max(figures[f"{way}_per_s"] for way in ways)
    cost = min(figures[f"{way}_cpu_ms"] for way in ways)
    found = {
        "predict_batch_1_share": figures["predict_batch_1_per_s"] / figures["onnxruntime_batch_1_per_s"],
        "predict_batch_1_share_by_cpu": figures["onnxruntime_batch_1_cpu_ms"] / figures["predict_batch_1_cpu_ms"],
    }
    for name in ("predict_batch_32", "add_batch_32"):
        found[f"{name}_share"] = figures[f"{name}_per_s"] / rate
        found[f"{name}_share_by_cpu"] = cost / figures[f"{name}_cpu_ms"]
    return found


class Client:
    """Calls the server as any gRPC client does."""

    def __init__(self, channel: grpc.Channel, files: Sequence[bytes]) -> None:
        self._files = files
        self._models = model_service_pb2_grpc.ModelsStub(channel)
        self._inputs = input_service_pb2_grpc.InputsStub(channel)

    def _items(self, start: int, count: int) -> list[Input]:
        items = [Input() for _ in range(count)]
        for number, item in enumerate(items, start):
            item.data.image.base64 = self._files[number % len(self._files)]
        return items

    def predict(self, pictures: int, batch: int) -> None:
        """Predictions for so many pictures, one call after the other."""
        for start in range(0, pictures, batch):
            request = PostModelOutputsRequest(
                user_app_id=_APP, model_id="general-image-recognition", inputs=self._items(start, batch)
            )
            _check(self._models.PostModelOutputs(request), len(request.inputs))

    def add(self, pictures: int, batch: int) -> None:
        """Adds so many pictures, which are embedded and predicted."""
        for start in range(0, pictures, batch):
            answer = self._inputs.PostInputs(PostInputsRequest(user_app_id=_APP, inputs=self._items(start, batch)))
            if answer.status.code != StatusCode.SUCCESS:
                raise RuntimeError(answer.status)


def _check(answer: Any, count: int) -> None:
    if answer.status.code != StatusCode.SUCCESS or len(answer.outputs) != count:
        raise RuntimeError(answer.status)


def one_by_one(path: Path, tensors: Any, pictures: int) -> Work:
    """One picture a run, one run after the other, each on all cores."""
    model = session(path, CORES)

    def work() -> None:
        for number in range(pictures):
            place = number % len(tensors)
            model.run(None, {"pictures": tensors[place : place + 1]})

    return work


def take_turns(measurements: dict[str, tuple[Clock, Work]], pictures: int, rounds: int) -> dict[str, float]:
    """Medians over the rounds: pictures a second, and milliseconds of processor time for a picture."""
    found: dict[str, list[float]] = {}
    for _ in range(rounds):
        for name, (clock, work) in measurements.items():
            busy, start = clock(), time.perf_counter()
            work()
            seconds = time.perf_counter() - start
            found.setdefault(f"{name}_per_s", []).append(pictures / seconds)
            found.setdefault(f"{name}_cpu_ms", []).append((clock() - busy) * 1000 / pictures)
    return {name: statistics.median(values) for name, values in found.items()}


def table(figures: dict[str, float]) -> str:
    """Figures a line each; shares with the target they are held to."""
    width = max(map(len, figures))
    lines = []
    for name, value in figures.items():
        note = f"   (at least {TARGET})" if "share" in name else ""
        lines.append(f"{name:<{width}}  {value:>10,.2f}{note}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
