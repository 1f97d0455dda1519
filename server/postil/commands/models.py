"""`postil models`: how good a trained model is, what to label next, and which labels to look at again."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import grpc
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from postil.commands import evaluation_picture
from postil.v1.evaluation_pb2 import EvalMetrics
from postil.v1.evaluation_service_pb2 import GetModelVersionMetricsRequest, PostModelVersionMetricsRequest
from postil.v1.evaluation_service_pb2_grpc import EvaluationsStub
from postil.v1.status_code_pb2 import StatusCode
from postil.v1.suggestion_service_pb2 import FindLabelErrorsRequest, SuggestInputsToLabelRequest
from postil.v1.suggestion_service_pb2_grpc import SuggestionsStub
from postil_client import Client, PostilError

_WIDTH = 130  # of the tables in a file or a pipe
_LOOK_SECONDS = 0.2
_CASES_SHOWN = 10
_UNDER_WAY = (StatusCode.MODEL_QUEUED_FOR_EVALUATION, StatusCode.MODEL_EVALUATING)


def evaluate(client: Client, model: str, version: str, folds: int, png: Path | None) -> int:
    """Evaluates a version, waits, prints the figures and draws them; gives the exit code."""
    return _told(lambda: _evaluate(client, model, version, folds, png))


def suggest(client: Client, concepts: Sequence[str], count: int, *, exclusive: bool) -> int:
    """Prints the inputs whose labels would teach most; gives the exit code."""
    request = SuggestInputsToLabelRequest(concept_ids=concepts, concepts_mutually_exclusive=exclusive, count=count)

    def show() -> None:
        found = client.call(SuggestionsStub(client.channel).SuggestInputsToLabel, request)
        table = _table("input", "unsure", "new", "why")
        for one in found.suggestions:
            table.add_row(escape(one.input.id), f"{one.uncertainty:.2f}", f"{one.novelty:.2f}", escape(one.reason))
        _console().print(table)

    return _told(show)


def label_errors(client: Client, concepts: Sequence[str], count: int, *, exclusive: bool) -> int:
    """Prints the labels that the others disagree with; gives the exit code."""
    request = FindLabelErrorsRequest(concept_ids=concepts, concepts_mutually_exclusive=exclusive, count=count)

    def show() -> None:
        found = client.call(SuggestionsStub(client.channel).FindLabelErrors, request)
        table = _table("input", "annotation", "wrong", "label", "rather", "why")
        for one in found.label_errors:
            label = f"{'' if one.label.value else 'not '}{one.label.name}"
            rather = ", ".join(f"{other.name} {other.value:.2f}" for other in one.concepts[:1])
            row = (one.annotation.input_id, one.annotation.id, f"{one.score:.2f}", label, rather, one.reason)
            table.add_row(*map(escape, row))
        console = _console()
        console.print(table)
        console.print(f"{found.examined} labels looked at; about {found.estimated} inputs bear a wrong one")

    return _told(show)


def _evaluate(client: Client, model: str, version: str, folds: int, png: Path | None) -> None:
    stub = EvaluationsStub(client.channel)
    request = PostModelVersionMetricsRequest(model_id=model, version_id=version)
    if folds:
        request.eval_info.params.update({"folds": folds})
    version = client.call(stub.PostModelVersionMetrics, request).model_version.id
    asked = GetModelVersionMetricsRequest(model_id=model, version_id=version)
    with Console(stderr=True).status(f"evaluating {model}"):
        while (
            found := client.call(stub.GetModelVersionMetrics, asked).model_version.metrics
        ).status.code in _UNDER_WAY:
            time.sleep(_LOOK_SECONDS)
    if found.status.code != StatusCode.MODEL_EVALUATED:
        raise click.ClickException(f"{found.status.description}: {found.status.details}")
    _print(found)
    if png is not None:
        evaluation_picture.draw(found, png)
        click.echo(f"drawn to {png}")


def _print(found: EvalMetrics) -> None:
    console = _console()
    concepts = _table("concept", "labels", "precision", "recall", "F1", "ROC AUC", "average precision")
    for one in found.binary_metrics:
        figures = (one.precision, one.recall, one.f1, one.roc_auc, one.avg_precision)
        concepts.add_row(escape(one.concept.name), str(one.num_pos), *(f"{figure:.3f}" for figure in figures))
    console.print(concepts)
    wrong = _table("labelled", "likeliest", "inputs")
    mistakes = [cell for cell in found.confusion_matrix.matrix if cell.actual != cell.predicted]
    for cell in sorted(mistakes, key=lambda cell: -cell.value)[:_CASES_SHOWN]:
        wrong.add_row(escape(cell.actual_concept.name), escape(cell.predicted_concept.name), f"{cell.value:g}")
    if mistakes:
        console.print(wrong)
    cases = _table("got wrong", "labelled", "said")
    for case in found.test_set[:_CASES_SHOWN]:
        labelled = ", ".join(one.name for one in case.ground_truth_concepts if one.value)
        said = ", ".join(f"{one.name} {one.value:.2f}" for one in case.predicted_concepts[:2])
        cases.add_row(escape(case.input.id), escape(labelled), escape(said))
    if found.test_set:
        console.print(cases)
    more: Any = found.extended_metrics.user_metrics
    reliability = _table("score", "labels", "mean score", "share right")
    for row in more["reliability"]:
        shares = (f"{row['score']:.3f}", f"{row['share']:.3f}")
        reliability.add_row(f"{row['low']:.1f} to {row['high']:.1f}", f"{row['labels']:.0f}", *shares)
    console.print(reliability)
    console.print(
        f"accuracy {found.summary.top1_accuracy:.3f} over {more['examples']:.0f} examples in {more['folds']:.0f} "
        f"folds; mean F1 {found.summary.macro_avg_f1_score:.3f}, ROC AUC {found.summary.macro_avg_roc_auc:.3f}, "
        f"calibration error {more['calibration_error']:.4f}"
    )


def _told(work: Callable[[], None]) -> int:
    """Runs it; what the server refuses becomes a line on stderr and exit code 1."""
    try:
        work()
    except PostilError as error:
        return _refuse(f"{error.code} {error.description}: {error.details}")
    except click.ClickException as error:
        return _refuse(error.message)
    except OSError as error:
        return _refuse(f"{error.strerror or error}: {error.filename}")
    except grpc.RpcError as error:
        return _refuse(f"the server cannot be reached: {error.details() if hasattr(error, 'details') else error}")
    return 0


def _refuse(text: str) -> int:
    click.echo(f"postil: {text}", err=True)
    return 1


def _table(*columns: str) -> Table:
    table = Table(*columns)
    for column in table.columns[1:]:
        column.overflow = "fold"
    return table


def _console() -> Console:
    console = Console()
    return console if console.is_terminal else Console(width=_WIDTH)
