"""How well models of one's own learn, and how much less one labels with suggestions: digits through a real server.

    python -m benchmarks.models_digits [--quick] [--splits 2] [--write]

The 1,797 digits of scikit-learn are posted as vectors of 64 raw pixels and, for one figure, as pictures. Everything but
the training time goes over gRPC: inputs, labels, trainings, predictions, evaluations, suggestions, label errors. The
training time is that of `heads.fit`, choice of the ridge and calibration and all, beside one fit of scikit-learn's
LogisticRegression on the same matrix, by turns in the same process.

--quick is a small form that says whether the figures point the right way; --write puts the table into docs/models.md.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from benchmarks.processes import ROOT, Postil
from postil.core import heads
from postil.v1 import (
    annotation_service_pb2_grpc,
    concept_service_pb2_grpc,
    evaluation_service_pb2_grpc,
    input_service_pb2_grpc,
    model_service_pb2_grpc,
    suggestion_service_pb2_grpc,
)
from postil.v1.annotation_pb2 import Annotation
from postil.v1.annotation_service_pb2 import PostAnnotationsRequest
from postil.v1.common_pb2 import UserAppIDSet
from postil.v1.concept_pb2 import Concept
from postil.v1.concept_service_pb2 import PostConceptsRequest
from postil.v1.data_pb2 import Data, Embedding
from postil.v1.evaluation_service_pb2 import GetModelVersionMetricsRequest, PostModelVersionMetricsRequest
from postil.v1.image_pb2 import Image as WireImage
from postil.v1.input_pb2 import Input
from postil.v1.input_service_pb2 import ListInputsRequest, PostInputsRequest
from postil.v1.model_pb2 import Model
from postil.v1.model_service_pb2 import (
    GetModelVersionRequest,
    PostModelOutputsRequest,
    PostModelsRequest,
    PostModelVersionsRequest,
)
from postil.v1.status_code_pb2 import StatusCode
from postil.v1.suggestion_service_pb2 import FindLabelErrorsRequest, SuggestInputsToLabelRequest

BATCH = 128
NAMES = [f"digit-{n}" for n in range(10)]
WAIT_SECONDS = 600.0
BEGIN, END = "<!-- begin: digits -->", "<!-- end: digits -->"
PAGE = ROOT / "docs" / "models.md"

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured."""

    digits: int = 1797  # that are looked at, evenly drawn
    test: int = 500  # of them, those that accuracy is measured on where labels are counted
    goal: float = 0.95  # the accuracy that they are counted to
    splits: int = 2  # repetitions of everything that is drawn
    folds: int = 5
    step: int = 20  # labels between two looks at the accuracy
    pictures: int = 1797
    fit: tuple[int, int] = (10_000, 1280)  # rows, dimensions
    rounds: int = 3


QUICK = Scale(splits=1, folds=1, step=40, pictures=0, fit=(2_000, 256), rounds=1)


class App:
    """An app of a running server that holds digits: input `i<n>` is the n-th."""

    def __init__(self, channel: grpc.Channel, inputs: Sequence[Input]) -> None:
        self._channel = channel
        self.id = UserAppIDSet(user_id="me", app_id=f"digits-{time.time_ns()}")
        self._inputs = input_service_pb2_grpc.InputsStub(channel)
        self._models = model_service_pb2_grpc.ModelsStub(channel)
        for part in _parts(inputs):
            _check(self._inputs.PostInputs(PostInputsRequest(user_app_id=self.id, inputs=part)))
        concepts = [Concept(id=name) for name in NAMES]
        stub = concept_service_pb2_grpc.ConceptsStub(channel)
        _check(stub.PostConcepts(PostConceptsRequest(user_app_id=self.id, concepts=concepts)))
        model = Model(id="digits", model_type_id="embedding-classifier")
        model.output_info.data.concepts.extend(concepts)
        model.output_info.output_config.concepts_mutually_exclusive = True
        _check(self._models.PostModels(PostModelsRequest(user_app_id=self.id, models=[model])))

    def ready(self, count: int) -> None:
        """Waits until so many inputs have been processed."""
        request = ListInputsRequest(user_app_id=self.id, page=1 + (count - 1) // BATCH, per_page=BATCH)
        _until(
            lambda: all(one.status.code == StatusCode.INPUT_SUCCESS for one in self._inputs.ListInputs(request).inputs)
        )

    def label(self, numbers: Iterable[int], digits: Ints) -> None:
        """Says what these inputs show."""
        stub = annotation_service_pb2_grpc.AnnotationsStub(self._channel)
        items = [
            Annotation(input_id=f"i{n}", id=f"a{n}", data=Data(concepts=[Concept(id=NAMES[digits[n]], value=1.0)]))
            for n in numbers
        ]
        for part in _parts(items):
            _check(stub.PostAnnotations(PostAnnotationsRequest(user_app_id=self.id, annotations=part)))

    def train(self) -> None:
        answer = _check(
            self._models.PostModelVersions(PostModelVersionsRequest(user_app_id=self.id, model_id="digits"))
        )
        version = answer.model.model_version.id
        request = GetModelVersionRequest(user_app_id=self.id, model_id="digits", version_id=version)
        _until(lambda: self._models.GetModelVersion(request).model_version.status.code == StatusCode.MODEL_TRAINED)

    def accuracy(self, numbers: Sequence[int], digits: Ints) -> float:
        """The share of these inputs whose likeliest concept is right."""
        right = 0
        for part in _parts(list(numbers)):
            request = PostModelOutputsRequest(user_app_id=self.id, model_id="digits")
            request.inputs.extend(Input(id=f"i{n}") for n in part)
            answer = _check(self._models.PostModelOutputs(request))
            for n, output in zip(part, answer.outputs, strict=True):
                right += max(output.data.concepts, key=lambda c: c.value).id == NAMES[digits[n]]
        return right / len(numbers)

    def evaluation(self) -> Any:
        """Cross-validation by the server."""
        stub = evaluation_service_pb2_grpc.EvaluationsStub(self._channel)
        _check(stub.PostModelVersionMetrics(PostModelVersionMetricsRequest(user_app_id=self.id, model_id="digits")))
        request = GetModelVersionMetricsRequest(user_app_id=self.id, model_id="digits")

        def found() -> Any:
            return _check(stub.GetModelVersionMetrics(request)).model_version.metrics

        _until(lambda: found().status.code == StatusCode.MODEL_EVALUATED)
        return found()

    def suggested(self, count: int, without: Sequence[int]) -> list[int]:
        request = SuggestInputsToLabelRequest(
            user_app_id=self.id,
            concept_ids=NAMES,
            concepts_mutually_exclusive=True,
            count=count,
            exclude_input_ids=[f"i{n}" for n in without],
        )
        answer = _check(suggestion_service_pb2_grpc.SuggestionsStub(self._channel).SuggestInputsToLabel(request))
        return [int(one.input.id[1:]) for one in answer.suggestions]

    def doubted(self, count: int) -> list[int]:
        request = FindLabelErrorsRequest(
            user_app_id=self.id, concept_ids=NAMES, concepts_mutually_exclusive=True, count=count
        )
        answer = _check(suggestion_service_pb2_grpc.SuggestionsStub(self._channel).FindLabelErrors(request))
        return [int(one.annotation.input_id[1:]) for one in answer.label_errors]


class Study:
    """All figures but the training time.

    Args:
        channel: To a server.
        scale: How much to measure.
    """

    def __init__(self, channel: grpc.Channel, scale: Scale) -> None:
        pixels, digits = load_digits(return_X_y=True)
        some = np.sort(np.random.default_rng(0).permutation(len(digits))[: scale.digits])
        self._pixels, self.digits = pixels[some].astype(np.float32), digits[some]
        self._channel, self._scale = channel, scale
        self._began = time.monotonic()

    def run(self) -> dict[str, Any]:
        figures: dict[str, Any] = {"folds": self._scale.folds, "goal": self._scale.goal}
        drawn: dict[str, Callable[[int], float]] = {
            "cross_validated": self.cross_validated,
            "twenty_each": self.twenty_each,
            "random_labels": partial(self.labels_needed, suggest=False),
            "suggested_labels": partial(self.labels_needed, suggest=True),
            "flipped_found": self.flipped,
        }
        for name, draw in drawn.items():
            figures[name] = [draw(seed) for seed in range(self._scale.splits)]
            self._tell(name, figures[name])
        app = self.app()
        app.label(range(len(self.digits)), self.digits)
        app.train()
        more = app.evaluation().extended_metrics.user_metrics
        figures["calibration_error"] = more["calibration_error"]
        figures["reliability"] = [dict(row) for row in more["reliability"]]
        self._tell("calibration_error", figures["calibration_error"])
        if self._scale.pictures:
            figures["pictures"] = self.pictures()
            self._tell("pictures", figures["pictures"])
        return figures

    def _tell(self, name: str, found: object) -> None:
        print(f"{time.monotonic() - self._began:6.0f} s  {name}: {found}", flush=True)

    def app(self) -> App:
        return App(self._channel, [_vector(n, row) for n, row in enumerate(self._pixels)])

    def cross_validated(self, seed: int) -> float:
        """Mean accuracy over folds that the server has no labels of."""
        found = []
        folds = StratifiedKFold(5, shuffle=True, random_state=seed).split(self._pixels, self.digits)
        for learn, test in itertools.islice(folds, self._scale.folds):
            app = self.app()
            app.label(learn.tolist(), self.digits)
            app.train()
            found.append(app.accuracy(test.tolist(), self.digits))
        return statistics.mean(found)

    def twenty_each(self, seed: int) -> float:
        order = np.random.default_rng(seed).permutation(len(self.digits))
        learn = np.concatenate([order[self.digits[order] == digit][:20] for digit in range(10)])
        app = self.app()
        app.label(learn.tolist(), self.digits)
        app.train()
        return app.accuracy(np.setdiff1d(order, learn).tolist(), self.digits)

    def labels_needed(self, seed: int, *, suggest: bool) -> int:
        """How many labels it takes until the goal is reached on digits that are never labelled."""
        order = np.random.default_rng(seed).permutation(len(self.digits)).tolist()
        test, pool = order[: self._scale.test], order[self._scale.test :]
        app, labelled = self.app(), 0
        while pool:
            chosen = app.suggested(self._scale.step, test) if suggest else pool[: self._scale.step]
            app.label(chosen, self.digits)
            pool = [n for n in pool if n not in set(chosen)]
            labelled += len(chosen)
            app.train()
            if app.accuracy(test, self.digits) >= self._scale.goal:
                break
        return labelled

    def flipped(self, seed: int) -> float:
        """The share of wrong ones among as many doubted labels as are wrong."""
        random = np.random.default_rng(seed)
        wrong = random.choice(len(self.digits), len(self.digits) // 20, replace=False)
        said = self.digits.copy()
        said[wrong] = (said[wrong] + random.integers(1, 10, len(wrong))) % 10
        app = self.app()
        app.label(range(len(said)), said)
        return len(set(app.doubted(len(wrong))) & set(wrong.tolist())) / len(wrong)

    def pictures(self) -> float:
        """Cross-validated accuracy on digits that the packaged picture model looked at."""
        count = self._scale.pictures
        app = App(self._channel, [_picture(n, row) for n, row in enumerate(self._pixels[:count])])
        app.ready(count)
        app.label(range(count), self.digits)
        app.train()
        return float(app.evaluation().summary.top1_accuracy)


def training_time(rows: int, dim: int, rounds: int) -> dict[str, float]:
    """Medians of seconds for ten concepts: ours, softmax and separate; scikit-learn's; and the larger share."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 10, rows)
    mix = random.standard_normal((dim, dim)) / np.sqrt(dim) * np.linspace(2.0, 0.05, dim)
    vectors = 0.25 * random.standard_normal((10, dim))[labels] + random.standard_normal((rows, dim)) @ mix
    vectors = np.maximum(vectors, 0.0)  # as the activations that embeddings are means of
    matrix = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    table = np.eye(10, dtype=np.float32)[labels]
    runs: dict[str, Callable[[], object]] = {
        "softmax": lambda: heads.fit(matrix, table, exclusive=True, seed=1),
        "separate": lambda: heads.fit(matrix, table, exclusive=False, seed=1),
        "scikit_learn": lambda: LogisticRegression().fit(matrix, labels),
    }
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            begin = time.perf_counter()
            run()
            taken[name].append(time.perf_counter() - begin)
    medians = {f"{name}_s": statistics.median(times) for name, times in taken.items()}
    shares = [max(taken["softmax"][n], taken["separate"][n]) / taken["scikit_learn"][n] for n in range(rounds)]
    return {**medians, "ratio": statistics.median(shares)}


def measure(server: str, scale: Scale) -> dict[str, Any]:
    """All figures, by name."""
    with grpc.insecure_channel(server, options=[("grpc.max_receive_message_length", -1)]) as channel:
        figures = Study(channel, scale).run()
    figures["training"] = training_time(*scale.fit, scale.rounds)
    return figures


def table(figures: dict[str, Any]) -> str:
    """The figures in Markdown."""
    random, suggested = figures["random_labels"], figures["suggested_labels"]
    training = figures["training"]
    share = statistics.mean(suggested) / statistics.mean(random)
    goal = f"labels to {figures['goal']:.0%}"
    lines = [
        "| what | measured | target |",
        "|---|---|---|",
        f"| accuracy, {_folds(figures['folds'])}, raw pixels | {_all(figures['cross_validated'])} | ≥ 0.97 |",
        f"| accuracy, 20 labels of each digit | {_all(figures['twenty_each'])} | ≥ 0.90 |",
        f"| {goal}, at random | {', '.join(map(str, random))} | |",
        f"| {goal}, suggested | {', '.join(map(str, suggested))}: {share:.0%} of random | ≤ 50 % |",
        f"| 5 % flipped labels, found at their number | {_all(figures['flipped_found'])} | ≥ 0.9 |",
        f"| calibration error (mean distance of score and share) | {figures['calibration_error']:.4f} | |",
        f"| training 10 concepts, softmax | {training['softmax_s']:.2f} s | |",
        f"| training 10 concepts, each for itself | {training['separate_s']:.2f} s | |",
        f"| scikit-learn's LogisticRegression, one fit | {training['scikit_learn_s']:.2f} s | |",
        f"| the slower of ours next to it | {training['ratio']:.2f} times | ≤ 1.5 |",
    ]
    if "pictures" in figures:
        lines.append(f"| accuracy, digits as pictures through the packaged model | {figures['pictures']:.3f} | |")
    lines += ["", "| score | labels | mean score | share that is right |", "|---|---|---|---|"]
    lines += [
        f"| {row['low']:.1f}–{row['high']:.1f} | {row['labels']:.0f} | {row['score']:.3f} | {row['share']:.3f} |"
        for row in figures["reliability"]
    ]
    return "\n".join(lines)


def _folds(count: int) -> str:
    return "one fold of 5" if count == 1 else f"{count} folds"


def _all(numbers: Sequence[float]) -> str:
    mean = statistics.mean(numbers)
    return f"{mean:.3f} ({', '.join(f'{one:.3f}' for one in numbers)})" if len(numbers) > 1 else f"{mean:.3f}"


def _vector(n: int, pixels: NDArray[np.float32]) -> Input:
    return Input(id=f"i{n}", data=Data(embeddings=[Embedding(vector=pixels)]))


def _picture(n: int, pixels: NDArray[np.float32]) -> Input:
    grey = Image.fromarray((255.0 - pixels.reshape(8, 8) * (255.0 / 16.0)).astype(np.uint8))
    file = io.BytesIO()
    grey.resize((224, 224), Image.Resampling.BICUBIC).convert("RGB").save(file, "PNG")
    return Input(id=f"i{n}", data=Data(image=WireImage(base64=file.getvalue())))


def _parts(items: Sequence[Any]) -> list[Sequence[Any]]:
    return [items[start : start + BATCH] for start in range(0, len(items), BATCH)]


def _check(answer: Any) -> Any:
    if answer.status.code != StatusCode.SUCCESS:
        raise SystemExit(f"{answer.status.code} {answer.status.description}: {answer.status.details}")
    return answer


def _until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT_SECONDS
    while not holds():
        if time.monotonic() > end:
            raise SystemExit("the server did not get done in time")
        time.sleep(0.01)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small form")
    parser.add_argument("--splits", type=int, default=Scale().splits, help="repetitions of what is drawn")
    parser.add_argument("--write", action="store_true", help="put the table into docs/models.md")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="postil-bench-", ignore_cleanup_errors=True) as folder:
        server = Postil(Path(folder) / "data")
        try:
            figures = measure(server.address, QUICK if args.quick else Scale(splits=args.splits))
        finally:
            server.end()
    print(table(figures))
    print(json.dumps(figures))
    if args.write:
        text = PAGE.read_text()
        before, rest = text.split(BEGIN, 1)
        PAGE.write_text(f"{before}{BEGIN}\n{table(figures)}\n{END}{rest.split(END, 1)[1]}")


if __name__ == "__main__":
    main()
