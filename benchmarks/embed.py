"""What embedding alone does, without RPC and store, beside onnxruntime alone on the same cores in the same run.

    python benchmarks/embed.py [--pictures 192] [--rounds 5] [--json]

Rounds of all measurements take turns, so that a busy machine slows them alike; medians are shown. The baseline gets
tensors that are ready made, and is the better of two ways to use the cores: one run after the other with all cores,
or one run for each core side by side. Ours starts from JPEG bytes: decode, prepare, embed, normalise. On a machine
with other work the share by time flatters whoever has more threads; the share by processor time does not.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import skimage.data
from numpy.typing import NDArray
from PIL import Image

from postil.embed.picture import SPEC, PictureModel
from postil.embed.queue import BatchingQueue
from postil.embed.registry import ModelRegistry
from postil.media.pictures import EMBED_SIDE, PictureReader

CORES = os.cpu_count() or 1
CALLERS = 8
PHOTOGRAPHS = ("coffee", "chelsea", "rocket", "astronaut")
TEXT = "A photograph of {} beside the river, taken early in the morning of day {}."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=192, help="per round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print figures as JSON")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="postil-bench-") as folder:
        figures = measure(Path(folder), args.pictures, args.rounds)
    print(json.dumps(figures, indent=2) if args.json else table(figures))


def measure(folder: Path, pictures: int, rounds: int) -> dict[str, float]:
    """Figures by name; times in milliseconds, rates per second, memory in MiB."""
    figures = memory(folder)
    registry = ModelRegistry(folder, CORES)
    queue, texts = registry.default("picture"), registry.default("text")
    assert queue is not None and texts is not None  # noqa: S101, PT018 both are built in
    model = queue.embedder()
    assert isinstance(model, PictureModel)  # noqa: S101 the built-in one
    files = [jpeg(name, (400, 300), shift) for name in PHOTOGRAPHS for shift in range(8)]
    tensors = np.stack([model.prepare(Image.open(io.BytesIO(file)).convert("RGB")) for file in files])
    sentences = [TEXT.format("a cat" if number % 2 else "an old boat", number) for number in range(20_000)]
    path = folder / "models" / f"{SPEC.model_id}-{SPEC.version_id}.onnx"
    figures |= take_turns(
        {
            "onnxruntime_in_turn": (pictures, in_turn(path, tensors, pictures)),
            "onnxruntime_side_by_side": (pictures, side_by_side(path, tensors, pictures)),
            "pictures": (pictures, lambda: from_bytes(queue, files, pictures)),
            "prepared": (pictures, from_images(queue, files, pictures)),
            "texts": (len(sentences), lambda: texts.submit(sentences).result()),
        },
        rounds,
    )
    figures |= decoding() | alone(queue, model, tensors)
    ways = ("onnxruntime_in_turn", "onnxruntime_side_by_side")
    figures["share_of_onnxruntime"] = figures["pictures_per_s"] / max(figures[f"{way}_per_s"] for way in ways)
    figures["share_by_cpu_time"] = min(figures[f"{way}_cpu_ms"] for way in ways) / figures["pictures_cpu_ms"]
    registry.close()
    return figures


def memory(folder: Path) -> dict[str, float]:
    """Resident memory that the models add once loaded and used."""
    figures: dict[str, float] = {}
    ModelRegistry(folder, CORES).warm().join()  # converts, and brings the libraries in
    registry = ModelRegistry(folder, CORES)
    for kind, content in (("picture", Image.new("RGB", (400, 300))), ("text", "a cat")):
        queue = registry.default(kind)
        assert queue is not None  # noqa: S101 both are built in
        before = resident()
        queue.submit([content] * 16).result()
        figures[f"{kind}_model_mib"] = resident() - before
    registry.close()
    return figures


def resident() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def jpeg(name: str, size: tuple[int, int], shift: int = 0) -> bytes:
    picture = np.roll(getattr(skimage.data, name)(), shift * 7, axis=1)
    out = io.BytesIO()
    Image.fromarray(picture).convert("RGB").resize(size).save(out, "JPEG", quality=90)
    return out.getvalue()


def take_turns(measurements: dict[str, tuple[int, Callable[[], object]]], rounds: int) -> dict[str, float]:
    """Medians over the rounds: items a second, and milliseconds of processor time for an item."""
    found: dict[str, list[float]] = {}
    for _ in range(rounds):
        for name, (count, work) in measurements.items():
            busy = time.process_time()
            found.setdefault(f"{name}_per_s", []).append(per_second(count, work))
            found.setdefault(f"{name}_cpu_ms", []).append((time.process_time() - busy) * 1000 / count)
    return {name: statistics.median(values) for name, values in found.items()}


def per_second(count: int, work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return count / (time.perf_counter() - start)


def session(path: Path, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def in_turn(path: Path, tensors: NDArray[np.uint8], pictures: int) -> Callable[[], object]:
    """One run after the other, each on all cores, four pictures a run."""
    model = session(path, CORES)

    def work() -> None:
        for start in range(0, pictures, 4):
            model.run(None, {"pictures": tensors[np.arange(start, start + 4) % len(tensors)]})

    return work


def side_by_side(path: Path, tensors: NDArray[np.uint8], pictures: int) -> Callable[[], object]:
    """A run for each core at a time, two pictures a run."""
    model = session(path, 1)

    def work(first: int) -> None:
        for start in range(first * 2, pictures, CORES * 2):
            model.run(None, {"pictures": tensors[np.arange(start, start + 2) % len(tensors)]})

    def crowd() -> None:
        threads = [threading.Thread(target=work, args=(number,)) for number in range(CORES)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    return crowd


def from_bytes(queue: BatchingQueue, files: Sequence[bytes], pictures: int) -> None:
    """Callers that each open a file and wait for its vector."""
    reader = PictureReader()

    def one(number: int) -> None:
        picture = reader.open(files[number % len(files)], side=EMBED_SIDE)
        queue.submit([picture.image]).result()

    with ThreadPoolExecutor(CALLERS) as callers:
        list(callers.map(one, range(pictures)))


def from_images(queue: BatchingQueue, files: Sequence[bytes], pictures: int) -> Callable[[], object]:
    """One request with many pictures that are decoded already."""
    reader = PictureReader()
    images = [reader.open(files[number % len(files)]).image for number in range(pictures)]
    return lambda: queue.submit(images).result()


def decoding() -> dict[str, float]:
    """Opening JPEGs, whole and as far as an embedder needs them."""
    reader = PictureReader()
    small, large = jpeg("coffee", (400, 300)), jpeg("coffee", (4000, 3000))
    cases = {"open_400x300_ms": (small, None), "open_12mp_whole_ms": (large, None), "open_12mp_ms": (large, EMBED_SIDE)}
    return {name: best_ms(partial(reader.open, file, side=side)) for name, (file, side) in cases.items()}


def alone(queue: BatchingQueue, model: PictureModel, tensors: NDArray[np.uint8]) -> dict[str, float]:
    """One caller with one picture."""
    image = Image.open(io.BytesIO(jpeg("coffee", (400, 300)))).convert("RGB")
    return {
        "prepare_ms": best_ms(lambda: model.prepare(image)),
        "run_ms": best_ms(lambda: model.run(tensors[:1])),
        "queue_one_ms": best_ms(lambda: queue.submit([image]).result()),
    }


def best_ms(work: Callable[[], object], times: int = 15) -> float:
    """The median of several, in milliseconds."""
    return statistics.median(1000 / per_second(1, work) for _ in range(times))


def table(figures: dict[str, float]) -> str:
    width = max(map(len, figures))
    return "\n".join(f"{name:<{width}}  {value:>12,.2f}" for name, value in figures.items())


if __name__ == "__main__":
    main()
