"""SuggestInputsToLabel and FindLabelErrors: help for whoever labels, from the labels of the app alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from postil.core import choosing, doubts, ids, statuses, training_data
from postil.core.call import Call
from postil.core.choosing import Choice, Known
from postil.core.doubts import Opinion
from postil.core.heads import Stopped
from postil.core.training_data import PREFERENCE, Table, Task
from postil.errors import Failure
from postil.store.base import AppRecord, ConceptRecord, LabelColumns, Queries, SpaceRecord, Store
from postil.v1.annotation_pb2 import Annotation
from postil.v1.concept_pb2 import Concept
from postil.v1.input_pb2 import Input
from postil.v1.status_code_pb2 import StatusCode
from postil.v1.suggestion_service_pb2 import (
    FindLabelErrorsRequest,
    FindLabelErrorsResponse,
    LabelError,
    SuggestInputsToLabelRequest,
    SuggestInputsToLabelResponse,
    Suggestion,
)

MAX_CONCEPTS = 50
MAX_SUGGESTIONS = 128
MAX_ERRORS = 1_000
MAX_EXCLUDED = 1_000
FEWEST, MOST, USUAL = 100, 20_000, 5_000  # candidates
EXAMPLES = 5_000  # labelled ones that suggestions rest on; of more, as many are drawn
EXAMINED = 10_000  # labelled ones whose labels are compared; of more, as many are drawn
ENOUGH = 10  # labelled ones, below which nothing can be compared

_SEED = 1
_SHOWN_CONCEPTS = 5
_SHOWN_INSTEAD = 3


class Suggesting:
    """What the calls of the Suggestions service mean. Thread-safe."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def inputs(self, call: Call, request: SuggestInputsToLabelRequest) -> SuggestInputsToLabelResponse:
        """The inputs whose labels would teach most.

        Raises:
            Failure: MODEL_INVALID_ARGUMENT for numbers out of range, concepts that are not there, or an unknown space.
        """
        count = _within("count", request.count or 10, 1, MAX_SUGGESTIONS)
        most = _within("candidates", request.candidates or USUAL, FEWEST, MOST)
        _within("the number of exclude_input_ids", len(request.exclude_input_ids), 0, MAX_EXCLUDED)
        task = _task(request, request.embed_model_version_id)
        queries, app = self._store.read(), call.app
        labels = queries.training_labels(app.row, [int(StatusCode.ANNOTATION_SUCCESS)])
        concepts = _concepts(queries, app, task)
        table = _some(training_data.table(queries, app, task, labels), EXAMPLES)
        space = _space(queries, app, task, table)
        rows, vectors = training_data.read_vectors(queries, space, table.anchors)
        known = Known(vectors, table.labels[np.isin(table.anchors, rows)])
        excluded = [record.anchor for record in queries.inputs(app.row, list(request.exclude_input_ids)).values()]
        free = _free(queries, app, [labels.anchors, np.array(excluded, np.int64)], most)
        free, candidates = training_data.read_vectors(queries, space, free)
        with _timed():
            choice = choosing.choose(known, candidates, count, exclusive=task.exclusive, seed=_SEED, stop=_over(call))
        return SuggestInputsToLabelResponse(
            status=statuses.status(StatusCode.SUCCESS),
            suggestions=_suggestions(_inputs(queries, free[choice.places]), choice, concepts, task),
            labelled=len(rows),
            considered=len(free),
        )

    def errors(self, call: Call, request: FindLabelErrorsRequest) -> FindLabelErrorsResponse:
        """The labels that the others disagree with.

        Raises:
            Failure: MODEL_INVALID_ARGUMENT as above; MODEL_TRAINING_NO_DATA when too little is labelled to compare,
                MODEL_TRAINING_NO_POSITIVES and MODEL_TRAINING_ONE_VS_N_SINGLE_CLASS when it is all alike.
        """
        count = _within("count", request.count or 100, 1, MAX_ERRORS)
        if not 0.0 <= request.min_score <= 1.0:
            raise _invalid("min_score is a chance; use a number from 0 to 1")
        task = _task(request, request.embed_model_version_id)
        queries, app = self._store.read(), call.app
        labels = queries.training_labels(app.row, [int(StatusCode.ANNOTATION_SUCCESS)])
        concepts = _concepts(queries, app, task)
        table = _some(training_data.table(queries, app, task, labels), EXAMINED)
        training_data.check(table, task)
        rows, vectors = training_data.read_vectors(queries, _space(queries, app, task, table), table.anchors)
        kept = table.labels[np.isin(table.anchors, rows)]
        if len(rows) < ENOUGH or not choosing.teaches(kept, exclusive=task.exclusive):
            raise Failure(
                StatusCode.MODEL_TRAINING_NO_DATA,
                f"{len(rows)} labelled inputs have vectors; label {ENOUGH} at least, some with each concept and some "
                "without it, so that labels can be compared.",
            )
        with _timed():
            said = doubts.opinion(vectors, kept, exclusive=task.exclusive, seed=_SEED, stop=_over(call))
        judged = _judged(labels, rows, concepts, said)
        order = np.lexsort((judged.annotations, -judged.wrong))[:count]
        order = order[judged.wrong[order] >= request.min_score]
        return FindLabelErrorsResponse(
            status=statuses.status(StatusCode.SUCCESS),
            label_errors=_errors(queries, judged.take(order), said, concepts),
            examined=len(judged.annotations),
            estimated=doubts.wrongs(said.scores, kept, exclusive=task.exclusive),
        )


class _Judged(NamedTuple):
    """Labels as people gave them, by place."""

    annotations: NDArray[np.int64]  # rows
    examples: NDArray[np.int64]  # places among the examples
    concepts: NDArray[np.int64]  # places among the concepts
    present: NDArray[np.bool_]
    wrong: NDArray[np.float32]  # chance

    def take(self, order: NDArray[np.int64]) -> _Judged:
        return _Judged(
            self.annotations[order], self.examples[order], self.concepts[order], self.present[order], self.wrong[order]
        )


def _judged(labels: LabelColumns, rows: NDArray[np.int64], concepts: Sequence[ConceptRecord], said: Opinion) -> _Judged:
    place = {record.row: at for at, record in enumerate(concepts)}
    meant = np.isin(labels.concepts, list(place)) & np.isin(labels.anchors, rows)
    examples = np.searchsorted(rows, labels.anchors[meant])
    at = np.array([place[row] for row in labels.concepts[meant].tolist()], np.int64)
    present = labels.values[meant] >= 0.5
    chance = said.scores[examples, at]
    return _Judged(labels.annotations[meant], examples, at, present, np.where(present, 1.0 - chance, chance))


def _errors(queries: Queries, judged: _Judged, said: Opinion, concepts: Sequence[ConceptRecord]) -> list[LabelError]:
    records = queries.annotations_by_row(judged.annotations.tolist())
    made = []
    for row, example, at, present, wrong in zip(*(column.tolist() for column in judged), strict=True):
        if row not in records:  # deleted meanwhile
            continue
        full = Annotation.FromString(records[row].message)
        annotation = Annotation(id=full.id, input_id=full.input_id, user_id=full.user_id)
        annotation.data.regions.extend(full.data.regions)
        instead = [place for place in np.argsort(-said.scores[example], kind="stable").tolist() if place != at]
        name = concepts[at].name
        what = f"{name!r} is {'present' if present else 'absent'}"
        reason = (
            f"The label says that {what}; of {said.asked} labelled neighbours {said.votes[example, at]} show it, and "
            f"heads fitted without this label give it {said.held_out[example, at]:.2f}."
        )
        made.append(
            LabelError(
                annotation=annotation,
                label=_concept(concepts[at], 1.0 if present else 0.0),
                score=wrong,
                concepts=[_concept(concepts[p], said.scores[example, p]) for p in instead[:_SHOWN_INSTEAD]],
                reason=reason,
            )
        )
    return made


def _suggestions(
    inputs: Sequence[Input | None], choice: Choice, concepts: Sequence[ConceptRecord], task: Task
) -> list[Suggestion]:
    made = []
    for at, one in enumerate(inputs):
        if one is None:  # deleted meanwhile
            continue
        suggestion = Suggestion(input=one, uncertainty=choice.uncertainty[at], novelty=choice.novelty[at])
        if choice.scores is not None:
            likeliest = np.argsort(-choice.scores[at], kind="stable")[:_SHOWN_CONCEPTS].tolist()
            suggestion.concepts.extend(_concept(concepts[p], choice.scores[at, p]) for p in likeliest)
        suggestion.reason = _reason(
            suggestion, choice.scores[at] if choice.scores is not None else None, concepts, task
        )
        made.append(suggestion)
    return made


def _reason(one: Suggestion, scores: NDArray[np.float32] | None, concepts: Sequence[ConceptRecord], task: Task) -> str:
    new = "unlike anything labelled" if one.novelty > 0.6 else "somewhat like what is labelled"
    if scores is None:
        return f"Stands for many inputs like it, and is {new}."
    if task.exclusive:
        first, second = one.concepts[0], one.concepts[1]
        return f"Could be {first.name!r} ({first.value:.2f}) or {second.name!r} ({second.value:.2f}), and is {new}."
    unsure = int(np.abs(scores - 0.5).argmin())
    return f"Whether it shows {concepts[unsure].name!r} is open ({scores[unsure]:.2f}), and it is {new}."


def _inputs(queries: Queries, anchors: NDArray[np.int64]) -> list[Input | None]:
    """The inputs of input-level annotations, in their order; None where one is gone."""
    rows = anchors.tolist()
    annotations = queries.annotations_by_row(rows)
    inputs = queries.inputs_by_row([annotations[row].input for row in rows if row in annotations])
    found = [inputs.get(annotations[row].input) if row in annotations else None for row in rows]
    return [Input.FromString(record.message) if record else None for record in found]


def _concept(record: ConceptRecord, value: float) -> Concept:
    return Concept(id=record.id, name=record.name, value=value, app_id=Concept.FromString(record.message).app_id)


def _concepts(queries: Queries, app: AppRecord, task: Task) -> list[ConceptRecord]:
    """In the order asked for; those that are not there are left to `training_data.table` to refuse."""
    found = queries.concepts(app.row, task.concepts)
    return [found[one] for one in task.concepts if one in found]


def _some(table: Table, most: int) -> Table:
    """At most so many of the labelled examples, drawn evenly and always the same ones."""
    labelled = np.flatnonzero(~np.isnan(table.labels).all(axis=1))
    if len(labelled) > most:
        labelled = np.sort(np.random.default_rng(_SEED).choice(labelled, most, replace=False))
    return table._replace(anchors=table.anchors[labelled], labels=table.labels[labelled])


def _free(queries: Queries, app: AppRecord, taken: Sequence[NDArray[np.int64]], most: int) -> NDArray[np.int64]:
    """Input-level annotations that are not taken, ascending; at most so many, drawn evenly."""
    free = np.setdiff1d(queries.ready_anchors(app.row), np.concatenate(taken))
    if len(free) > most:
        free = np.sort(np.random.default_rng(_SEED).choice(free, most, replace=False))
    return free


def _space(queries: Queries, app: AppRecord, task: Task, table: Table) -> SpaceRecord:
    """The space asked for, else that of most labelled examples, else, before there are any, that of most vectors."""
    if len(table.anchors):
        return training_data.space_of(queries, app, task, table.anchors)
    spaces = [space for space in queries.spaces(app.row) if space.id == task.space or not task.space]
    usable = [space for space in spaces if space.kind in task.kinds]
    if not usable:
        what = f"space {ids.shown(task.space)}" if task.space else "space with vectors"
        raise _invalid(f"The app has no {what}; add inputs, or name a space that it has")
    return max(usable, key=lambda space: (queries.count_vectors(space.row), -PREFERENCE.index(space.kind)))


def _task(request: SuggestInputsToLabelRequest | FindLabelErrorsRequest, space: str) -> Task:
    concepts = tuple(dict.fromkeys(request.concept_ids))
    _within("the number of concept_ids", len(concepts), 1, MAX_CONCEPTS)
    exclusive = request.concepts_mutually_exclusive
    if exclusive and len(concepts) == 1:
        raise _invalid("Concepts that exclude each other are two at least; name the others, too")
    return Task(concepts, exclusive, space=space, seed=_SEED)


def _within(name: str, value: int, low: int, high: int) -> int:
    if not low <= value <= high:
        raise _invalid(f"{name} is {value}; use {low} to {high}")
    return value


def _invalid(what: str) -> Failure:
    return Failure(StatusCode.MODEL_INVALID_ARGUMENT, f"{what}.")


@contextmanager
def _timed() -> Iterator[None]:
    """Raises a Failure when nobody waits for the answer any more."""
    try:
        yield
    except Stopped as error:
        details = "It took longer than the caller waits; ask with fewer concepts or candidates."
        raise Failure(StatusCode.RPC_REQUEST_TIMEOUT, details) from error


def _over(call: Call) -> Callable[[], bool]:
    """Whether nobody waits for the answer any more."""
    return lambda: not call.active() or call.remaining() <= 0.0
