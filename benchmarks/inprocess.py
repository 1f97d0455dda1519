"""What the parts do alone, without a server: hnswlib on the load, onnxruntime on pictures. Each in its own process."""

from __future__ import annotations

import io
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

import hnswlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks import load
from benchmarks.clients import Calls, Run, in_threads

M, EF_CONSTRUCTION = 16, 200
EFS = (32, 48, 64, 80, 96, 128, 192, 256)
RECALL = 0.99  # what the product promises, so that floor, library and product search equally well
_PHOTO = (640, 480)


class Library(NamedTuple):
    """hnswlib alone."""

    rows_per_second: float
    ef: int  # the smallest tried with recall@10 of at least RECALL
    recall: float
    one: Run
    eight: Run


def hnswlib_alone(
    vectors_path: str, queries: load.Matrix, exact: NDArray[np.int64], graph: str, seconds: float
) -> Library:
    """Builds the graph with all cores, saves it for the floor, and searches it in process."""
    vectors = np.load(vectors_path)
    index = hnswlib.Index(space="l2", dim=vectors.shape[1])
    index.init_index(len(vectors), M=M, ef_construction=EF_CONSTRUCTION, random_seed=load.SEED)
    began = time.perf_counter()
    index.add_items(vectors)
    rate = len(vectors) / (time.perf_counter() - began)
    index.save_index(graph)
    ef, recall = _tuned(index, queries, exact)
    return Library(rate, ef, recall, _query(index, queries, seconds, 1), _query(index, queries, seconds, 8))


def _tuned(index: Any, queries: load.Matrix, exact: NDArray[np.int64]) -> tuple[int, float]:
    for ef in EFS:
        index.set_ef(ef)
        found, _ = index.knn_query(queries, load.HITS, num_threads=1)
        recall = load.recall(found.astype(np.int64), exact)
        if recall >= RECALL:
            return ef, recall
    raise RuntimeError(f"hnswlib does not reach a recall of {RECALL} at ef={EFS[-1]}")


def _query(index: Any, queries: load.Matrix, seconds: float, threads: int) -> Run:
    calls = Calls()
    deadline = time.perf_counter() + seconds

    def nearest(query: load.Matrix) -> Any:
        return index.knn_query(query, load.HITS, num_threads=1)

    def work(number: int) -> None:
        at = number * 37
        while time.perf_counter() < deadline:
            calls.timed(nearest, queries[at % len(queries)])
            at += 1

    in_threads(work, threads)
    return calls.run()


def photos(count: int) -> list[bytes]:
    """JPEGs of 640 × 480, cut from the photographs that scikit-image ships; without it, from coloured noise."""
    rng = np.random.default_rng(load.SEED)
    sources = _sources(rng)
    made = []
    for number in range(count):
        source = sources[number % len(sources)]
        left, top = (int(rng.integers(0, max(1, edge // 4))) for edge in source.size)
        box = (left, top, source.width - left // 2, source.height - top // 2)
        out = io.BytesIO()
        source.resize(_PHOTO, Image.Resampling.BILINEAR, box=box).save(out, "JPEG", quality=87)
        made.append(out.getvalue())
    return made


def _sources(rng: np.random.Generator) -> list[Image.Image]:
    try:
        from skimage import data
    except ModuleNotFoundError:
        small = rng.integers(0, 255, (8, 48, 64, 3), dtype=np.uint8)
        return [Image.fromarray(one).resize(_PHOTO) for one in small]
    names = ("astronaut", "coffee", "chelsea", "rocket")
    return [Image.fromarray(getattr(data, name)()).convert("RGB") for name in names]


def onnxruntime_alone(pictures: list[bytes], threads: int) -> float:
    """Pictures embedded a second by the packaged model: decoded and scaled beforehand, all cores at work."""
    from postil.embed.picture import PictureModel

    with tempfile.TemporaryDirectory() as folder:
        model = PictureModel(Path(folder), 1)
        prepared = [model.prepare(Image.open(io.BytesIO(one)).convert("RGB")) for one in pictures]
        model.embed(prepared[:2])
        return max(_rate(model, prepared, threads), _rate(PictureModel(Path(folder), threads), prepared, 1))


def _rate(model: Any, prepared: list[Any], threads: int) -> float:
    """The faster way is the baseline: several runs side by side, or one run with several threads."""
    left = iter(range(0, len(prepared), model.batch))
    lock = threading.Lock()

    def work(_: int) -> None:
        while True:
            with lock:
                start = next(left, None)
            if start is None:
                return
            model.embed(prepared[start : start + model.batch])

    began = time.perf_counter()
    in_threads(work, threads)
    return len(prepared) / (time.perf_counter() - began)
